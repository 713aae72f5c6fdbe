"""Failures first: what a run found is replayed at the beginning of the next, and put away once it is fixed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Note, Options, explore, select
from harness.campaign.job import _loaded
from harness.campaign.store import Store
from harness.campaign.witness_file import read_witness
from harness.model.verdict import CellResult, Verdict
from harness.servers.server import Server
from tests.reports.schema import problems

pytestmark = pytest.mark.server

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "witness.schema.json").read_text())
LOOK = 'connection.execute("SELECT 1 FROM item WHERE name = %s", [name]).fetchone()'
SCENARIO = """
from harness import READ_COMMITTED, Connection, Identity, Key, Scenario, unsafe

items = Scenario("items", tables="CREATE TABLE item (name text NOT NULL)", identity=Identity("item", by="name"))

@items.operation(name=Key(str))
def put(connection: Connection, name: str) -> bool:
    if LOOK:
        return False
    connection.execute("INSERT INTO item VALUES (%s)", [name])
    return True

@put.strategy(isolation=READ_COMMITTED)
def careless(connection: Connection, name: str) -> bool:
    return put(connection, name)
"""
FIXED = """
@put.strategy(isolation=READ_COMMITTED)
def careless(connection: Connection, name: str) -> bool:
    with connection.transaction():
        connection.execute("LOCK TABLE item")
        return put(connection, name)
"""
CARELESS = SCENARIO.replace("LOOK", LOOK)
CAREFUL = CARELESS[: CARELESS.index("@put.strategy")] + FIXED

Explore = Callable[..., tuple[CellResult, list[str]]]


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Explore:
    """Explore a scenario's text with the store of this test: the result of its one cell, and what was said."""

    def run_one(text: str, **options: Any) -> tuple[CellResult, list[str]]:
        path = tmp_path / "items.py"
        path.write_text(text)
        _loaded.clear()  # a worker that lives for one run loads a file once
        said: list[str] = []
        wanted = Options(workers=0, **options)
        store = Store(tmp_path / ".harness")
        report = explore(
            select([str(path)], wanted, [server.id]),
            [server],
            wanted,
            lambda event: said.append(event.text) if isinstance(event, Note) else None,
            store,
        )
        (result,) = report.cells
        return result, [*said, store.summary().partition(".harness: ")[2]]

    return run_one


def kept(folder: Path, *, where: str = "witnesses") -> list[str]:
    """Kinds of the witnesses there, each of them as the schema says."""
    texts = [path.read_text() for path in sorted((folder / ".harness" / where).glob("*.json"))]
    assert [problem for text in texts for problem in problems(json.loads(text), SCHEMA)] == []
    return [read_witness(text).kind for text in texts]


def test_what_still_shows_is_told_before_the_cell_is_explored(run: Explore, tmp_path: Path) -> None:
    first, said = run(CARELESS)
    assert said == ["1 written to witnesses/"]
    assert kept(tmp_path) == ["duplicate"]
    again, said = run(CARELESS)
    assert "a known duplicate still shows; " in said[0]
    assert said[1:] == ["1 known witness replayed first, 1 still show"]
    assert [f.violation for f in again.findings] == [f.violation for f in first.findings]
    assert again.coverage == first.coverage


def test_what_a_rule_expects_is_counted_and_not_told(run: Explore) -> None:
    expected = CARELESS.replace("strategy(isolation", 'strategy(expect=[unsafe("duplicate")], isolation')
    run(expected)
    _, said = run(expected)
    assert said == ["1 known witness replayed first, 1 still show"]


def test_what_is_fixed_is_put_away(run: Explore, tmp_path: Path) -> None:
    run(CARELESS)
    result, said = run(CAREFUL)
    assert result.verdict is Verdict.SAFE
    assert re.search(
        r"explored again: the schedule departs at step 1: expected SELECT .*, found LOCK TABLE item", said[0]
    )
    assert "fixed: the known duplicate no longer shows; moved to " in said[1]
    assert said[2] == "1 known witness replayed first, 0 still show; 1 moved to retired/"
    assert (kept(tmp_path), kept(tmp_path, where="retired")) == ([], ["duplicate"])
    assert run(CAREFUL)[1] == [""]


def test_what_comes_back_is_found_again(run: Explore, tmp_path: Path) -> None:
    for text in (CARELESS, CAREFUL, CARELESS):
        run(text)
    assert kept(tmp_path) == ["duplicate"]


def test_of_a_scenario_that_changed_it_is_said_what_and_the_witness_follows(run: Explore, tmp_path: Path) -> None:
    run(CARELESS)
    changed = CARELESS.replace("name text NOT NULL", "name text NOT NULL, n int")
    changed = changed.replace("INSERT INTO item VALUES", "INSERT INTO item (name) VALUES")
    _, said = run(changed)
    assert "a known duplicate is explored again: operation put, tables of items changed" in said[0]
    assert (kept(tmp_path), kept(tmp_path, where="retired")) == (["duplicate"], ["duplicate"])
    assert run(changed)[1][-1] == "1 known witness replayed first, 1 still show"


def test_a_changed_scenario_that_is_safe_now_retires_it(run: Explore, tmp_path: Path) -> None:
    run(CARELESS)
    _, said = run(CAREFUL.replace("name text NOT NULL", "name varchar NOT NULL"))
    assert "tables of items changed" in said[0]
    assert kept(tmp_path) == []


def test_calls_that_are_no_more_cannot_be_run(run: Explore, tmp_path: Path) -> None:
    run(CARELESS)
    _, said = run(
        CAREFUL.replace("name=Key", "called=Key")
        .replace("name: str", "called: str")
        .replace("[name]", "[called]")
        .replace(", name)", ", called)")
    )
    assert "its calls are not those of items any more" in said[0]
    assert kept(tmp_path, where="retired") == ["duplicate"]


def test_without_the_time_to_explore_nothing_is_retired(run: Explore, tmp_path: Path) -> None:
    run(CARELESS)
    result, said = run(CAREFUL, budget_s=1e-6)
    assert result.verdict is Verdict.UNKNOWN
    assert kept(tmp_path) == ["duplicate"]
    assert said == [""]


def test_a_witness_beyond_the_bounds_of_this_run_condemns_its_cell(run: Explore, tmp_path: Path) -> None:
    """At most two of a name: two calls from nothing cannot break that, three can."""
    two = CARELESS.replace(
        LOOK, '(connection.execute("SELECT count(*) FROM item WHERE name = %s", [name]).fetchone() or [0])[0] > 1'
    )
    alone, _ = run(two)
    assert alone.findings == ()
    wide, _ = run(two, sessions=3, orders_max=200)
    (kind,) = kept(tmp_path)
    narrow, said = run(two)
    assert [f.violation for f in narrow.findings] == [f.violation for f in wide.findings]
    assert (narrow.verdict, len(narrow.findings[0].contest.sessions)) == (Verdict.UNSAFE, 3)
    assert f"a known {kind} still shows" in said[0]


def test_equal_findings_make_equal_files(run: Explore, tmp_path: Path) -> None:
    run(CARELESS)
    (path,) = (tmp_path / ".harness" / "witnesses").iterdir()
    before = path.read_bytes()
    path.unlink()
    run(CARELESS)
    assert path.read_bytes() == before
