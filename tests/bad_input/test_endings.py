"""Ctrl-C and kill at any moment: no traceback, no process and no folder is left."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.bad_input.conftest import MISBEHAVING, WITHIN_S, Running, Start
from tests.pytest_plugin.conftest import CONFTEST

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("server")]

# Each is a moment of the run: a descendant whose command line matches is there.
MOMENTS = {
    "the supervisor has begun": r"supervisor\.py",
    "initdb runs": r"initdb|--boot|--single",
    "the server starts": r"bin/postgres -D",
    "workers start": "spawn_main",
    "databases are made": "postgres: postgres postgres",
    "trials run": "postgres: .* harness_misbehaving",
}


def moments(*, for_cell: str) -> list[object]:
    return [pytest.param(MOMENTS[name], for_cell, id=f"{name}, {for_cell}") for name in MOMENTS]


@pytest.mark.parametrize(
    ("moment", "strategy"),
    [
        *moments(for_cell="behaves"),
        (MOMENTS["trials run"], "runs_for_ever"),
        (MOMENTS["trials run"], "will_not_be_interrupted"),
    ],
)
def test_ctrl_c_ends_everything(start: Start, moment: str, strategy: str) -> None:
    one = start("explore", f"{MISBEHAVING}::{strategy}", "--server", "embedded", HARNESS_TRIAL_S="30")
    one.wait_for(moment)
    one.interrupt()
    finished = one.finish()
    one.nothing_is_left()
    assert "Traceback" not in finished.out + finished.err
    # A short run may have come to its end in the moment between.
    assert finished.code == 130 or (strategy, finished.code) == ("behaves", 0), finished


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "kill"])
@pytest.mark.parametrize(
    ("moment", "strategy"),
    [
        *moments(for_cell="behaves"),
        (MOMENTS["trials run"], "runs_for_ever"),
        (MOMENTS["trials run"], "will_not_be_interrupted"),
    ],
)
def test_kill_leaves_nothing(start: Start, moment: str, strategy: str, number: signal.Signals) -> None:
    one = start("explore", f"{MISBEHAVING}::{strategy}", "--server", "embedded", HARNESS_TRIAL_S="30")
    one.wait_for(moment)
    os.kill(one.process.pid, number)
    one.process.communicate(timeout=WITHIN_S)
    one.nothing_is_left()


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_pytest_leaves_nothing_either(tmp_path: Path, workers: str, number: signal.Signals) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "conftest.py").write_text(CONFTEST)
    shutil.copy(MISBEHAVING, tmp_path / "scenarios")
    words = ("-k", "runs_for_ever", "-p", "no:cacheprovider", "-n", workers, "--harness-server", "embedded")
    one = Running(words, tmp_path, {"HARNESS_TRIAL_S": "30"}, module="pytest")
    one.wait_for("postgres: .* harness_misbehaving")
    os.killpg(one.process.pid, number) if number is signal.SIGINT else one.process.send_signal(number)
    out, _ = one.process.communicate(timeout=WITHIN_S)
    one.nothing_is_left()
    if number is signal.SIGINT:
        assert "KeyboardInterrupt" in out
        assert one.process.returncode == pytest.ExitCode.INTERRUPTED
