"""Certificates without a server: who gets one, what a file must be to be read, and which difference comes first."""

import json
import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Options, Report, Selection
from harness.model.cell import Cell, Isolation
from harness.model.verdict import CellResult, Coverage, Plan, Verdict
from harness.reports.certificate import BadCertificate, certificate, read_certificate, why_not
from harness.reports.verification import first_difference
from harness.scenario.discovery import harness_version, load
from tests.reports.made import DUPLICATE, SERVER, finding
from tests.reports.schema import problems

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "certificate.schema.json").read_text())
(ITEMS,) = load(ROOT / "tests" / "cli" / "items.py")
UNSAFE, UNKNOWN, RETRY, SAFE = Verdict
PLAN = Plan("INSERT INTO item VALUES (%s)", "Insert on item\n  Conflict Arbiter Indexes: item_name\n  ->  Result")
COVERAGE = Coverage(
    orders=20, classes=6, exhaustive=True, granularity="gates", gates=("BEFORE INSERT ON item",), contests=2, skipped=1,
    contended=True, reduction="table-level sleep sets", aged=4, plans=(PLAN,),
)  # fmt: skip


def result(strategy: str = "on_conflict", verdict: Verdict = SAFE, **changed: Any) -> CellResult:
    cell = Cell("items", strategy, "unique", "new", Isolation.READ_COMMITTED, "pg18", "18.4")
    findings = (finding(violation=DUPLICATE),) if verdict is UNSAFE else ()
    reason = "the budget was spent" if verdict is UNKNOWN else ""
    return CellResult(cell, verdict, reason, findings, replace(COVERAGE, **changed))


def text_of(*results: CellResult) -> str:
    report = Report(results, (SERVER,), Options(seed=7, plans=True), (), (), 1.0)
    return certificate(report, [Selection(ITEMS, tuple(r.cell for r in results))])


def file_of(*results: CellResult) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(text_of(*results))
    return made


# Who gets one.


@pytest.mark.parametrize("verdict", [SAFE, RETRY])
def test_what_passed_and_was_explored_to_its_end_gets_one(verdict: Verdict) -> None:
    file = file_of(result(verdict=verdict))
    assert list(problems(file, SCHEMA)) == []
    assert [e["verdict"] for e in file["certificates"]] == [str(verdict)]
    assert file["without"] == []


@pytest.mark.parametrize(
    ("without", "why"),
    [
        (result(verdict=UNSAFE), "unsafe: duplicate"),
        (result(verdict=UNKNOWN), "unknown: the budget was spent"),
        (result(exhaustive=False), "only sampled: a contest has more orders than were allowed; 20 orders were run"),
        (result(exhaustive=False, not_explored=1), "only sampled: 1 order could not be controlled"),
        (result(verdict=RETRY, exhaustive=False), "only sampled: "),
    ],
)
def test_everything_else_gets_none_and_the_file_says_why(without: CellResult, why: str) -> None:
    file = file_of(without)
    assert file["certificates"] == file["summary"] == []
    (said,) = file["without"]
    assert said["cell"] == without.cell.id
    assert said["why"].startswith(why)
    assert why_not(without) == said["why"]


def test_every_member_that_is_written_is_described() -> None:
    file = file_of(result())
    assert file.keys() == SCHEMA["properties"].keys()
    assert file["certificates"][0].keys() == SCHEMA["$defs"]["certificate"]["properties"].keys()


def test_no_password_is_written() -> None:
    assert "hunter2" not in text_of(result())


def test_the_scope_is_one_sentence_for_a_manager() -> None:
    (entry,) = file_of(result())["certificates"]
    assert entry["scope"] == (
        "No interleaving of two concurrent calls of put with the same or another name, from start state 'new', on "
        "PostgreSQL 18.4 at READ COMMITTED, switched between statements and at one gate inside them, ends in a "
        "duplicate, an unexpected error, a lost update, or anything else that the same calls one after another could "
        "not end in."
    )
    assert entry["not_covered"].startswith("Not covered: more than two sessions, or a second call of one of them; ")
    assert entry["not_covered"].endswith("; 1 contest of which no serial order writes anything.")


def test_start_states_of_which_the_same_is_said_share_a_sentence() -> None:
    (items,) = load(ROOT / "tests" / "cli" / "items.py")
    items.state("taken", "INSERT INTO item VALUES (%(name)s, 'red', 1)")
    both = [result(), replace(result(), cell=replace(result().cell, state="taken"))]
    report = Report(tuple(both), (SERVER,), Options(), (), (), 1.0)
    file = json.loads(certificate(report, [Selection(items, tuple(r.cell for r in both))]))
    assert len(file["certificates"]) == 2
    (sentence,) = file["summary"]
    assert "from any of two start states ('new', 'taken')" in sentence


# Reading.


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    path.write_text(text_of(result()))
    file = file_of(result())
    del file["seal"]
    assert read_certificate(path) == file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected JSON, found "),
        ("[]", "expected a file of kind 'upsert-harness certificate', found None"),
        ('{"format": 1, "cells": []}', "expected a file of kind 'upsert-harness certificate', found None"),
        (text_of(result()).replace('"format": 1', '"format": 2'), "expected format 1, found 2"),
        (text_of(result()).replace('"classes": 6', '"classes": 7'), "altered since it was written"),
        (text_of(result(verdict=RETRY)).replace('"retry"', '"safe"'), "altered since it was written"),
        (re.sub(r',\s*"seal": "\w+"', "", text_of(result())), "altered since it was written"),
    ],
    ids=["empty", "list", "report", "newer", "count", "verdict", "unsealed"],
)
def test_a_foreign_or_altered_file_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    path.write_text(text)
    with pytest.raises(BadCertificate, match=re.escape(f"{path}: {said}")):
        read_certificate(path)


# Comparing.

CERTIFIED = file_of(result())["certificates"][0]


def compared(now: dict[str, Any]) -> str | None:
    difference = first_difference(CERTIFIED, now, written_by=harness_version())
    return None if difference is None else str(difference)


def test_an_equal_cell_holds() -> None:
    assert compared(file_of(result())["certificates"][0]) is None


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("verdict", "retry", "verdict: expected safe, found retry; "),
        ("digests.scenario", "0" * 12, "scenario file: expected "),
        ("digests.schema", "0" * 12, "schema: expected "),
        ("server.version", "18.5", "server version: expected 18.4, found 18.5; "),
        ("oracles", ["duplicate"], "oracles: expected "),
        ("sessions", 3, "sessions: expected 2, found 3; "),
        ("gates", [], "gates: expected ['BEFORE INSERT ON item'], found []; "),
        ("skipped", 0, "contests: expected (2, 1), found (2, 0); "),
        ("ages", {}, "ages: expected "),
        ("exhaustive", False, "exhaustive: expected True, found False; "),
        ("classes", 5, "classes: expected 6, found 5; "),
        ("orders", 19, "orders: expected 20, found 19; "),
    ],
)
def test_a_member_that_differs_is_named(path: str, value: object, said: str) -> None:
    now = deepcopy(CERTIFIED)
    *folders, last = path.split(".")
    place = now
    for folder in folders:
        place = place[folder]
    place[last] = value
    found = compared(now)
    assert found is not None and found.startswith(said)


def test_the_verdict_comes_first_and_counts_last() -> None:
    now = {**deepcopy(CERTIFIED), "classes": 5, "verdict": "unsafe", "plans": []}
    assert (compared(now) or "").startswith("verdict: ")
    assert (compared({**now, "verdict": "safe"}) or "").startswith("plan of ")


def test_a_plan_that_changed_is_shown_as_it_was_and_is() -> None:
    plan = {**CERTIFIED["plans"][0], "plan": "Insert on item\n  ->  Result", "fingerprint": "0" * 12}
    assert (compared({**deepcopy(CERTIFIED), "plans": [plan]}) or "").startswith(
        "plan of INSERT INTO item VALUES (%s): expected Insert on item | Conflict Arbiter Indexes: item_name | "
        "->  Result, found Insert on item | ->  Result; an index or the planner's choice has changed"
    )
    assert "found no such statement" in (compared({**deepcopy(CERTIFIED), "plans": []}) or "")


def test_another_harness_is_named_as_a_reason() -> None:
    difference = first_difference(CERTIFIED, {**deepcopy(CERTIFIED), "classes": 5}, written_by="0.0.1")
    assert difference is not None and "(written by harness 0.0.1, this is " in difference.todo
