"""`harness hammer` and `harness history` end to end: what is printed, written and kept, the exit code, and Ctrl-C."""

import json
import multiprocessing
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from harness.cli import hammer as verb
from harness.cli.main import main
from harness.model.history import Calls
from harness.runners.hammer import Hammer
from harness.servers import databases
from harness.servers.server import Server
from tests.reports.schema import problems

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "hammer.schema.json").read_text())
ITEMS = str(Path(__file__).with_name("items.py"))
HOPEFUL = f"{ITEMS}::hopeful[none]"


def invoke(server: Server, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    @contextmanager
    def running(spec: str, **_: object) -> Iterator[Server]:
        yield server

    monkeypatch.setattr(verb, "running", running)
    return CliRunner().invoke(main, ["hammer", *words, "--sessions", "4", "--no-hand-over"])


def test_a_race_is_told_written_and_kept(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept, report = tmp_path / "calls.parquet", tmp_path / "report.json"
    made = invoke(server, monkeypatch, HOPEFUL, "--rounds", "20", "--history", str(kept), "--json", str(report))
    assert made.exit_code == 1, made.output
    assert "! unsafe duplicate" in made.output
    assert "2 live rows of item (name)" in made.output or "live rows of item (name)" in made.output
    assert "1 worse than expected; 80 calls" in made.output
    assert max(map(len, made.output.splitlines())) <= 130  # an id and its figures; tables keep to 100
    written = json.loads(report.read_text())
    assert list(problems(written, SCHEMA)) == []
    (cell,) = written["cells"]
    assert (cell["verdict"], cell["rounds"], cell["calls"]) == ("unsafe", 20, 80)
    (found,) = cell["findings"]
    assert found["kind"] == "duplicate"
    assert 0 <= found["low"] < found["hits"] / found["tries"] <= found["high"] <= 1
    shown = CliRunner().invoke(main, ["history", str(kept), "--round", "3"])
    assert shown.exit_code == 0
    assert "  round 3, keys from " in shown.output
    assert shown.output.count("put(name='name") == 4
    assert shown.output.endswith("4 calls\n")
    told = CliRunner().invoke(main, ["history", str(kept), "--answer", "told True", "--session", "1", "--limit", "1"])
    assert told.output.count(" s1 ") == 1
    nothing = CliRunner().invoke(main, ["history", str(kept), "--answer", "no such answer"])
    assert (nothing.exit_code, nothing.output) == (2, "0 calls\n")


def test_what_is_expected_is_no_failure(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    made = invoke(server, monkeypatch, f"{ITEMS}::look_then_insert[unique]", "--rounds", "20")
    assert made.exit_code == 0, made.output
    assert "unsafe 23505" in made.output
    assert "23505 unique_violation: " in made.output
    assert "not retryable" in made.output


def test_an_interrupt_ends_it_with_what_was_found(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter([False, False, True])
    real = Hammer.end

    def end(self: Hammer) -> Calls:
        if next(ends, True):
            raise KeyboardInterrupt
        return real(self)

    names: list[str] = []  # other tests have databases on this server, too
    real_name = databases.unique_name
    monkeypatch.setattr(databases, "unique_name", lambda label: names.append(real_name(label)) or names[-1])
    monkeypatch.setattr(Hammer, "end", end)
    cell = "purchases::on_conflict_with_predicate[partial,new,read_committed]"
    made = invoke(server, monkeypatch, cell, "--seconds", "60s")
    assert made.exit_code == 130, made.output
    assert "    interrupted\n" in made.output
    assert re.search(r"; (64|128|192) calls; seed 0", made.output)  # of batches that ended, 16 rounds the first
    assert "warning: interrupted: 1 of 1 cells were hammered" in made.output
    assert not multiprocessing.active_children()
    with psycopg.connect(server.dsn()) as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname = ANY (%s)", (names,)).fetchall()
    assert names and not left


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["hammer", HOPEFUL, "--sessions", "65"], 3, "error: sessions=65: expected at most 64\n"),
        (["hammer", HOPEFUL, "--seconds", "soon"], 3, "expected a time such as 30s"),
        (["hammer", HOPEFUL, "--each", "3"], 3, "--each 3: of what? expected --faults or --fault KIND beside it"),
        (["hammer", "no_such_scenario"], 2, "no_such_scenario"),
        (["history", ITEMS], 2, "expected a history, as 'harness hammer --history FILE' writes it"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(words: list[str], code: int, said: str) -> None:
    made = CliRunner().invoke(main, words)
    assert made.exit_code == code
    assert said in made.output
