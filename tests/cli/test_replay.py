"""`harness replay` end to end: witness files, lines, journals; every time, and past what has changed."""

import re
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import explore, replay
from harness.cli.main import main
from harness.servers.server import Server

ITEMS = Path(__file__).with_name("items.py").read_text()
Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a scenario in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "items.py").write_text(ITEMS)
    return tmp_path


@pytest.fixture
def run(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    @contextmanager
    def running(spec: str):  # type: ignore[no-untyped-def]
        yield server

    monkeypatch.setattr(explore, "running", running)
    monkeypatch.setattr(replay, "running", running)
    return lambda *words: CliRunner().invoke(main, list(words))


@pytest.fixture
def witness(run: Run, folder: Path) -> str:
    """Of a strategy that looks, then inserts: a duplicate."""
    made = run("explore", "items.py::hopeful[none]", "--workers", "0", "--witnesses", "none", "--store", "kept")
    assert made.output.endswith("\nstore kept: 1 written to witnesses/\n"), made.output
    (path,) = (folder / "kept" / "witnesses").iterdir()
    return str(path.relative_to(folder))


def rewrite(folder: Path, body: str) -> None:
    """The strategy `hopeful` does this instead."""
    before, name, after = (folder / "items.py").read_text().partition("def hopeful")
    assert PUT in after
    (folder / "items.py").write_text(before + name + after.replace(PUT, body, 1))


PUT = "    return put(connection, name, colour, amount)\n"
OTHER_LOOK = '    connection.execute("UPDATE item SET amount = amount WHERE name = %s", [name])\n' + PUT
LOCKED = f"""\
    with connection.transaction():
        connection.execute("LOCK TABLE item")
    {PUT}"""


def test_every_witness_replays_100_times_of_100(run: Run, folder: Path) -> None:
    made = run("explore", "items.py", "--workers", "0", "--witnesses", "none", "--store", "kept")
    assert re.search(r"\nstore kept: 5 written to witnesses/\n$", made.output), made.output
    for kind in ("look_then_insert-none-*-duplicate", "look_then_insert-unique-*-23505", "on_conflict-none-*-42P10"):
        (path,) = folder.glob(f"kept/witnesses/items-{kind}-*.json")
        made = run("replay", str(path), "--times", "100")
        assert made.output.endswith("replayed to the same outcome: 100/100\n"), made.output
        assert made.exit_code == 0


def test_a_departure_is_told_in_statements_and_can_be_gone_past(run: Run, folder: Path, witness: str) -> None:
    (line,) = re.findall(r'"line": "(.*)"', (folder / witness).read_text())
    rewrite(folder, OTHER_LOOK)
    told = (
        "departure: the schedule departs at step 1: expected {}, found UPDATE item SET amount = amount WHERE name = %s"
    )
    for words, expected in (
        ([witness], "SELECT 1 FROM item WHERE name = %s  -- 'name1'"),
        ([line, "--from", "items.py"], "the statement that was recorded ("),
    ):
        made = run("replay", *words)
        assert made.exit_code == 2
        before, _, after = told.format(expected).partition(", found")
        assert " ".join(before.split()) in made.output and after in made.output, made.output

    made = run("replay", witness, "--go-on", "--times", "3")
    assert made.exit_code == 1, made.output  # it went on, and there they are: two rows
    assert "\nduplicate: 2 live rows of item (name)" in made.output
    assert "; went on\n" in made.output
    assert made.output.endswith("replayed to the same outcome: 3/3\n")


def test_past_a_departure_what_is_fixed_is_0(run: Run, folder: Path, witness: str) -> None:
    rewrite(folder, LOCKED)
    made = run("replay", witness, "--go-on")
    assert made.exit_code == 0, made.output
    assert "no violation: the outcome is allowed\nrecorded was duplicate: 2 live rows" in made.output
    assert "found LOCK TABLE item; went on" in made.output
    assert run("replay", witness).exit_code == 2


def test_a_witness_that_takes_its_steps_and_shows_another_thing_is_2(run: Run, folder: Path, witness: str) -> None:
    text = (folder / witness).read_text()
    (folder / witness).write_text(text.replace('"kind": "duplicate"', '"kind": "hang"'))
    made = run("replay", witness)
    assert made.exit_code == 2
    assert "\nrecorded was hang: " in made.output


def test_what_has_changed_is_named(run: Run, folder: Path, witness: str) -> None:
    (folder / "items.py").write_text(ITEMS.replace("amount int NOT NULL", "amount bigint NOT NULL"))
    made = run("replay", witness)
    assert made.exit_code == 2
    assert "error: tables of items changed since this line was written: expected digest" in made.output


# It leaves when it finds the other session inside a transaction, which it never does alone.
LEAVES = """\
    inside = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state = 'idle in transaction'"
    )
    with connection.transaction():
        if connection.execute(inside).fetchone() == (1,):
            __import__("os")._exit(7)
    """


def test_what_a_process_died_in_is_named_and_run_again_apart(run: Run, folder: Path) -> None:
    rewrite(folder, LEAVES + PUT)
    explored = ("explore", "items.py::hopeful[none]", "--workers", "1", "--witnesses", "none", "--store", "kept")
    made = run(*explored)
    assert made.exit_code == 2, made.output
    (journal,) = (folder / "kept" / "running").iterdir()
    assert "exited with status 7" in made.output
    assert f"harness replay {journal.relative_to(folder)}" in made.output
    again = run("replay", str(journal.relative_to(folder)))
    assert again.exit_code == 2
    died = r"process died (in step [2-9] of the contest from 'new' .*; steps taken: s1[s12 ]+)"
    assert re.search(died, again.output), again.output
    assert "error: the process that ran it exited with status 7, in step" in again.output

    rewrite_back = (folder / "items.py").read_text().replace(LEAVES, "")
    (folder / "items.py").write_text(rewrite_back)
    made = run(*explored)
    assert re.search(died, made.output), made.output  # told at the beginning
    assert "explored, and nothing died; moved to kept/retired/" in made.output


def test_a_torn_witness_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "torn.json").write_text('{\n  "allowed": [\n')
    made = CliRunner().invoke(main, ["replay", "torn.json"])
    assert made.exit_code == 3
    assert made.output.startswith("error: torn.json: this is no witness file, or a part of one")


def test_an_empty_journal_is_refused(folder: Path) -> None:
    (folder / "one.journal").write_bytes(b"harness1" + bytes(100))
    made = CliRunner().invoke(main, ["replay", "one.journal"])
    assert made.exit_code == 3
    assert "nothing had begun to run when this journal was left" in made.output


def test_a_store_that_is_a_file_is_refused_before_anything_starts(folder: Path) -> None:
    (folder / "kept").write_text("")
    made = CliRunner().invoke(main, ["explore", "items.py", "--store", "kept"])
    assert made.exit_code == 3
    assert "'kept' is no folder" in made.output
