"""Servers that are not there, too old, or die in the middle; and passwords, which nobody gets to see."""

import os
import signal
from pathlib import Path

import pytest

from tests.bad_input.conftest import MISBEHAVING, Run, Start

SECRET = "s3cr3tAndLong"
BEHAVES = f"{MISBEHAVING}::behaves[unique]"


@pytest.mark.parametrize(
    ("server", "told", "code"),
    [
        ("postgresql://me@127.0.0.1:1/shop", "error: cannot use postgresql://me@127.0.0.1:1/shop: .*refused.*", 2),
        ("path:/nowhere", r"error: .*'path:/nowhere': expected the programs initdb and postgres in /nowhere.*", 3),
        ("embedded:17", r"error: .*'embedded:17'.*18 and 16.*", 3),
        ("container:12", r"error: .*'container:12': PostgreSQL 12 is too old: 13 or newer is needed", 3),
        ("mysql://me:s3cr3tAndLong@db/shop", r"error: .*'mysql://\.\.\.@db/shop' is none of .*", 3),
    ],
)
def test_a_server_that_is_not_there_is_told(run: Run, server: str, told: str, code: int) -> None:
    run("explore", BEHAVES, "--server", server).complains(told, code=code)


def test_a_server_that_is_too_old_is_told(run: Run, tmp_path: Path) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 12.22'\n")
        (tmp_path / name).chmod(0o755)
    told = "error: PostgreSQL 12.22 is too old: 13 or newer is needed; try --server embedded, .*"
    run("explore", BEHAVES, "--server", f"path:{tmp_path}").complains(told, code=2)


@pytest.mark.server
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT], ids=["killed", "shut down"])
def test_a_server_that_dies_in_the_middle_ends_the_run_in_one_line(
    start: Start, server: object, number: signal.Signals
) -> None:
    one = start("explore", f"{MISBEHAVING}::runs_for_ever", "--server", "embedded", HARNESS_TRIAL_S="8")
    one.wait_for("postgres: .* harness_misbehaving")  # a session's backend: the run is in the middle of something
    os.kill(one.wait_for(r"bin/postgres -D"), number)
    finished = one.finish()
    finished.complains("error: .*(the server went away in the middle of misbehaving, layout|cannot connect).*", code=2)
    one.nothing_is_left()


# Passwords.


def test_a_password_is_not_told_by_a_server_that_is_not_there(run: Run) -> None:
    for address in (
        f"postgresql://me:{SECRET}@127.0.0.1:1/shop",
        f"postgresql://127.0.0.1:1/shop?password={SECRET}&user=me",
        f"postgresql://me:{SECRET}%zz@127.0.0.1:1/shop",
        f"postgres:/me:{SECRET}@127.0.0.1:1/shop",
    ):
        for words in (("--server", address), ("--server", address, "--debug")):
            ran = run("explore", BEHAVES, *words)
            assert SECRET not in ran.out + ran.err
            assert ran.code in (2, 3)
        assert SECRET not in (ran := run("explore", BEHAVES, HARNESS_SERVER=address)).out + ran.err
        assert ran.code == 2


@pytest.mark.server
def test_a_password_is_in_no_output_and_in_no_file(run: Run, address: str, tmp_path: Path) -> None:
    """The server asks for none; but it is given one, as a user would."""
    files = [word for kind in ("json", "html", "markdown", "junit") for word in (f"--{kind}", f"report.{kind}")]
    words = ("--server", f"{address}&password={SECRET}", "--witnesses", "all", "--debug", *files)
    ran = run("explore", f"{MISBEHAVING}[none,new]", *words)
    assert ran.code == 1
    line = ran.out.partition("harness replay ")[2].partition("\n")[0]
    (tmp_path / "witness.txt").write_text(line)
    again = run("replay", "witness.txt", "--from", MISBEHAVING, *words[:2])
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 5
    assert all(SECRET not in text for text in (ran.out, ran.err, again.out, again.err, *written))


@pytest.mark.server
def test_a_password_is_not_told_when_the_server_goes_away(start: Start, server: object, address: str) -> None:
    one = start("explore", f"{MISBEHAVING}::runs_for_ever", "--server", f"{address}&password={SECRET}", "--debug")
    one.wait_for("spawn_main")
    os.kill(one.wait_for("spawn_main"), signal.SIGKILL)  # the worker's end is told; the rest goes on
    finished = one.finish()
    assert SECRET not in finished.out + finished.err
    one.nothing_is_left()
