"""kill -9 at any moment of an exploration: the store is readable, and says what ran."""

import json
import os
import random
import re
import signal
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

from harness.campaign.witness_file import read_witness
from harness.runners.journal import Running as Noted
from harness.runners.journal import Way, read_journal
from tests.bad_input.conftest import WITHIN_S, Running, Start
from tests.reports.schema import problems

pytestmark = pytest.mark.server

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "witness.schema.json").read_text())
KILLS = 4
SEED = 4


def noted(path: Path) -> Noted | None:
    """What the process says that it runs: it can be read at every moment."""
    try:
        return read_journal(path.read_bytes())
    except FileNotFoundError:  # ended, or was given its name, meanwhile
        return None


def left(folder: Path) -> list[Noted]:
    return [one for path in folder.glob("running/*.journal") if (one := noted(path)) is not None]


def workers_in_a_trial(one: Running, folder: Path, changes: int) -> Iterator[tuple[int, Path]]:
    """Workers seen at so many different points of trials: the pid, and its journal, as its memory map says."""
    seen: dict[Path, list[Noted]] = {}
    while True:
        for path in folder.glob("running/*.journal"):
            running, mine = noted(path), seen.setdefault(path, [])
            if running is None or running.way is Way.NONE or (mine and mine[-1] == running):
                continue
            mine.append(running)
            if len(mine) > changes:
                for pid in one.processes():
                    if str(path) in Path(f"/proc/{pid}/maps").read_text():
                        yield pid, path
        assert one.process.poll() is None, one.process.communicate()


def kill_in_a_trial(one: Running, folder: Path, changes: int, ways: Container[Way]) -> None:
    for pid, journal in workers_in_a_trial(one, folder, changes):
        os.kill(pid, signal.SIGSTOP)  # it may be further on than it was seen
        stopped = noted(journal)
        if stopped is not None and stopped.way in ways:
            os.kill(pid, signal.SIGKILL)
            return
        os.kill(pid, signal.SIGCONT)


def test_the_store_is_readable_whenever_processes_are_killed(start: Start, tmp_path: Path, address: str) -> None:
    luck = random.Random(SEED)
    folder = tmp_path / ".harness"
    words = ("explore", "purchases", "--server", "embedded", "--workers", "2", "--witnesses", "none")
    one = start(*words, HARNESS_STORE=".harness", HARNESS_TRIAL_S="20")
    for _ in range(KILLS):
        kill_in_a_trial(one, folder, luck.randrange(150), set(Way) - {Way.NONE})
    kill_in_a_trial(one, folder, 1, {Way.CHOSEN})
    next(workers_in_a_trial(one, folder, 20))
    os.kill(one.process.pid, signal.SIGKILL)  # and everything else with it
    one.process.communicate(timeout=WITHIN_S)
    one.nothing_is_left()

    for path in folder.glob("witnesses/*.json"):
        assert list(problems(json.loads(path.read_text()), SCHEMA)) == []
        read_witness(path.read_text())
    ran = left(folder)
    assert len(ran) >= KILLS / 2  # equal deaths have one name; between two contests nothing runs
    assert Way.CHOSEN in {died.way for died in ran}
    first, *others = sorted({died.cell_id for died in ran})
    assert first.startswith("purchases::")

    again = start("explore", first, "--server", address, HARNESS_STORE=".harness").finish()
    assert "Traceback" not in again.err
    told = re.findall(r"^(\S+): a process died .*; harness replay \S+$", again.err, re.M)
    assert set(told) == {first}
    assert "explored, and nothing died; moved to " in again.err
    assert sorted({died.cell_id for died in left(folder)}) == others
