"""The words below an interleaving, made of values: what matters, what survives, what another server lacks."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.replay import Replayed, ReplayError, replay
from harness.model.advice import Advice, Came, Hint, Repairs, Tried, Variation
from harness.model.verdict import Verdict
from harness.reports.advice import advice_lines, repair_lines, what_matters
from harness.reports.elsewhere import elsewhere
from harness.reports.witness import witness
from harness.scenario.discovery import digest, find
from harness.scenario.features import lacking
from tests.reports.made import DUPLICATE, SERVER, cell, finding
from tests.reports.traces import trace

SAME, OTHER, NOTHING, OPEN, IMPOSSIBLE = Came
UNSAFE, UNKNOWN, RETRY, SAFE = Verdict
HERE = cell("Naive none new rc")
PG16 = replace(SERVER, id="pg16", version="16.14", version_num=160014)


def varied(text: str) -> list[Variation]:
    """`layout:full:other:23505 amount!:7:same`"""
    made = []
    for word in text.split():
        part, value, came, kind = (*word.split(":"), "")[:4]
        made.append(Variation(part.rstrip("!"), value, Came(came), kind, part.endswith("!")))
    return made


@pytest.mark.parametrize(
    ("variations", "told"),
    [
        ("", ""),
        ("amount!:1:same amount!:9:same", "any amount"),
        ("amount!:1:same amount!:9:nothing", "not with amount (9)"),
        ("amount!:1:same amount!:9:open", "not seen with amount (9)"),
        ("layout:full:same", "either layout"),
        ("layout:full:same layout:none:same", "every layout"),
        ("layout:full:same layout:none:other:duplicate", "also on layout full, not on layout none (duplicate there)"),
        ("layout:full:open:23505", "not seen on layout full (23505 there)"),
        ("state:owned:nothing state:old:impossible", "not from state 'owned'"),
        ("state:old:impossible", ""),
        ("isolation:serializable:same isolation:x:same", "at every isolation level"),
        ("server:pg16:same", "either server"),
        ("server:pg16:nothing server:pg17:same", "also on pg17, not on pg16"),
    ],
)
def test_what_matters_in_one_line(variations: str, told: str) -> None:
    assert what_matters(varied(variations)) == told


def tried(where: str, verdict: Verdict, *kinds: str, exhaustive: bool = True, reason: str = "") -> Tried:
    return Tried(cell(where), verdict, kinds, reason, 60, exhaustive)


def test_who_survives_with_what_is_to_be_known_of_it() -> None:
    repairs = Repairs(
        HERE,
        (
            tried("Upsert none new rc", SAFE),
            tried("Again none new s", RETRY, exhaustive=False),
            tried("Partial full new rc", SAFE),
            tried("Upsert full new rc", SAFE),
            tried("Partial none new rc", UNSAFE, "42P10"),
            tried("Odd none new rc", UNKNOWN, reason="never contended"),
        ),
    )
    assert list(repair_lines(repairs)) == [
        "of 4 other strategies 2 survive this contest: Upsert, Again (retry, at serializable, in 60 orders, not all)",
        "  on layout full also Partial",
        "  in the same contest unsafe: Partial (42P10)",
        "  not judged: Odd (never contended)",
    ]


def test_nobody_survives_or_nobody_is_there() -> None:
    assert list(repair_lines(Repairs(HERE, ()))) == ["no other strategy of the scenario has these operations"]
    first, *_ = repair_lines(Repairs(HERE, (tried("A none new rc", UNSAFE, "23505"),)))
    assert first == "the only other strategy does not survive this contest"


def test_advice_stands_between_how_sure_it_is_and_the_line_that_replays_it() -> None:
    hint = Hint("check-then-act", "s2 looked", "INSERT ...\n(DO NOTHING)", (cell("Upsert none new rc"),))
    advice = Advice((hint,), tuple(varied("amount!:1:same")), None)
    lines = witness(replace(finding(), advice=advice)).splitlines()
    assert lines[-7].startswith("run between statements") and lines[-1].startswith("replay with")
    assert lines[-6:-1] == [
        "cause: s2 looked",
        "write instead: INSERT ...",
        "  (DO NOTHING)",
        "  verified here by `Upsert`",
        "the same with any amount",
    ]
    assert advice_lines(None, HERE) == []


# Another server.


@pytest.mark.parametrize(
    ("sql", "major", "names"),
    [
        ("MERGE INTO item USING ...", 14, ["MERGE"]),
        ("MERGE INTO item USING ... RETURNING id", 16, ["MERGE ... RETURNING"]),
        ("MERGE INTO item USING ... RETURNING id", 17, []),
        ("INSERT INTO item VALUES ('merge into') RETURNING id", 14, []),
        ("CREATE UNIQUE INDEX ON item (a) NULLS NOT DISTINCT", 14, ["UNIQUE NULLS NOT DISTINCT"]),
        ("CREATE UNIQUE INDEX ON item (a) NULLS NOT DISTINCT", 15, []),
        ("UPDATE item SET a = 1 RETURNING old.a", 17, ["RETURNING OLD and NEW"]),
    ],
)
def test_what_a_server_lacks(sql: str, major: int, names: list[str]) -> None:
    assert [feature.name for feature in lacking(sql, major)] == names


def replayed(text: str, *, violation: bool = True, departures: tuple[str, ...] = ()) -> Replayed:
    one = finding()
    return Replayed(1, 1, departures, trace(text), one.found, DUPLICATE if violation else None)


def test_a_line_on_another_server_says_precisely_why_it_is_not_the_same() -> None:
    schedule = finding().schedule
    returning = "s2 MERGE INTO item USING v ON true WHEN MATCHED THEN DO NOTHING RETURNING a => 42601 syntax_error"
    warning = "warning: recorded on pg18, replayed on pg16"
    assert list(elsewhere(schedule, PG16, replayed(returning))) == [
        warning,
        "pg16 has no MERGE ... RETURNING, which came with PostgreSQL 17: s2 met 42601 syntax_error at step 1",
    ]
    fine = "s1 INSERT INTO item VALUES (1) => INSERT 0 1"
    assert list(elsewhere(schedule, PG16, replayed(fine))) == [warning]
    allowed = list(elsewhere(schedule, PG16, replayed(fine, violation=False)))
    assert allowed[1:] == ["not shown on pg16: the same steps were taken there, and come to an allowed outcome"]
    departed = list(elsewhere(schedule, PG16, replayed(fine, departures=("the schedule departs at step 3",))))
    assert departed[1].startswith("not the same on pg16: ")
    pg14 = replace(SERVER, id="pg14", version="14.23", version_num=140023)
    for quoted in ("found MERGE INTO item USING v", "found another (2d41): MERGE INTO item USING v"):
        told = f"the schedule departs at step 1: expected the statement that was recorded (9f02), {quoted}"
        assert list(elsewhere(schedule, pg14, replayed(fine, departures=(told,))))[1:] == [
            "pg14 has no MERGE, which came with PostgreSQL 15: hence the schedule departs at step 1"
        ]
    assert list(elsewhere(schedule, SERVER, replayed(returning))) == []  # where it was recorded


def test_a_layout_that_the_server_cannot_make_is_refused_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "spans.py"
    path.write_text(
        """from harness import Connection, Key, Scenario

spans = Scenario(
    "spans",
    tables="CREATE TABLE span (id int, valid daterange)",
    layouts={"temporal": "ALTER TABLE span ADD PRIMARY KEY (id, valid WITHOUT OVERLAPS)"},
)


@spans.operation(id=Key(int))
def put(connection: Connection, id: int) -> None: ...


@put.strategy
def other(connection: Connection, id: int) -> None: ...
"""
    )
    schedule = finding().schedule
    here = replace(schedule.cell, scenario="spans", strategy="other", layout="temporal")
    (scenario,) = find(path)
    line = replace(schedule, cell=here, digest=digest(scenario, "temporal"))
    with pytest.raises(ReplayError, match="pg16 has no WITHOUT OVERLAPS, which stands in layout temporal of spans"):
        replay(line, PG16, source=str(path))
