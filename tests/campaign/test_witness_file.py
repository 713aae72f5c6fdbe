"""Witness files: as their schema says, equal for equal findings, and refused where they are not whole."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.witness_file import WitnessError, read_witness, witness_name, witness_text
from harness.model.contest import Call, Contest
from harness.model.schedule import Failing, Fault
from harness.model.trace import Event, Happening
from harness.model.verdict import KINDS, Finding, Rate
from tests.reports.made import NO_ARBITER, TWICE, finding
from tests.reports.schema import problems

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "witness.schema.json").read_text())
FOUND = finding()
MADE = {
    "duplicate": FOUND,
    "error": finding(violation=TWICE),
    "alone": finding(violation=NO_ARBITER),
    "gated": replace(FOUND, ungated=Rate(39, 1000)),
    "fault": replace(FOUND, schedule=replace(FOUND.schedule, fault=Fault(0, 1, Failing.LOST))),
}


def members(made: Finding = FOUND) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(witness_text(made, digests={"tables": "0123456789ab"}, scenario_file="a/b.py"))
    return read


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_a_witness_is_as_its_schema_says(made: Finding) -> None:
    assert list(problems(members(made), SCHEMA)) == []


def test_every_member_that_is_written_is_described() -> None:
    written = members()
    assert written.keys() == SCHEMA["properties"].keys()
    step = written["schedule"]["steps"][0]
    call = written["contest"]["sessions"][0][0]
    for member, name in ((written["cell"], "cell"), (written["schedule"], "schedule"), (step, "step"), (call, "call")):
        assert member.keys() == SCHEMA["$defs"][name]["properties"].keys()


def test_the_schema_knows_every_kind() -> None:
    assert tuple(SCHEMA["properties"]["kind"]["enum"]) == KINDS


@pytest.mark.parametrize(("path", "value"), [("kind", "odd"), ("line", "h1:what"), ("replays", -1), ("format", 2)])
def test_the_schema_refuses_what_is_wrong(path: str, value: object) -> None:
    assert [problem.split(":")[0] for problem in problems({**members(), path: value}, SCHEMA)] == [f"$.{path}"]


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_reading_gives_the_schedule_back(made: Finding) -> None:
    witness = read_witness(witness_text(made))
    assert witness.schedule() == made.schedule
    assert (witness.kind, witness.explanation) == (made.violation.name, made.violation.explanation)


def test_a_step_is_told_in_the_statements_of_its_session() -> None:
    events = members()["schedule"]["steps"][1]["happens"]
    assert [(event["session"], event["result"]) for event in events] == [("s2", "SELECT 0")]
    assert read_witness(witness_text(FOUND)).steps[1] == ("SELECT 1 FROM item WHERE key = %s -- 'a'",)


def test_of_operations_one_at_a_time_each_is_a_step() -> None:
    trace = tuple(
        Event(step, session, happening, statement, result)
        for step, session, happening, statement, result in [
            (0, 0, Happening.SENT, "SELECT 1", "SELECT 0"),
            (1, 0, Happening.SENT, "INSERT", "INSERT 0 1"),
            (1, 0, Happening.ANSWERED, "put()", "True"),
            (2, 1, Happening.SENT, "SELECT 1", "SELECT 1"),
            (2, 1, Happening.ANSWERED, "put()", "False"),
        ]
    )
    made = replace(MADE["alone"], trace=trace)
    assert read_witness(witness_text(made)).steps == (("SELECT 1", "INSERT"), ("SELECT 1",))


# Equal findings, equal files.


def told(result: str, argument: str = "a") -> str:
    contest = Contest("new", ((Call("put", (("key", argument),)),), (Call("put", (("key", "b"),)),)), "")
    trace = (Event(0, 0, Happening.SENT, f"UPDATE item SET at = now()  -- {result}", f"UPDATE 1: ({result})"),)
    schedule = replace(FOUND.schedule, contest=contest)
    return witness_text(replace(FOUND, contest=contest, schedule=schedule, trace=trace))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-07-01 12:00:00.123456+00", "2026-07-02 09:30:00.5+02"),
        ("2026-07-01T12:00:00.123456Z", "2026-07-02T09:30:00.5Z"),
        (
            "datetime.datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=datetime.timezone.utc)",
            "datetime.datetime(2026, 7, 2, 9, 30, 0, 5)",
        ),
        ("8f14e45f-ceea-467f-a8f1-111111111111", "c9f0f895-fb98-4b1f-9c2e-222222222222"),
    ],
)
def test_what_is_another_each_time_is_not_in_the_file(one: str, other: str) -> None:
    assert told(one) == told(other)


@pytest.mark.parametrize(("one", "other"), [("2026-07-01", "2026-07-02"), ("1", "2"), ("NULL", "''")])
def test_what_stays_the_same_is_in_the_file(one: str, other: str) -> None:
    assert told(one) != told(other)


def test_a_uuid_that_a_call_was_given_stays() -> None:
    given = "8f14e45f-ceea-467f-a8f1-111111111111"
    assert told(given, given) != told("c9f0f895-fb98-4b1f-9c2e-222222222222", given)


def test_two_uuids_stay_two() -> None:
    same = "8f14e45f-ceea-467f-a8f1-111111111111"
    assert told(f"{same}, {same}") != told(f"{same}, c9f0f895-fb98-4b1f-9c2e-222222222222")


def test_a_name_says_which_cell_and_what_and_tells_schedules_apart() -> None:
    name = witness_name(FOUND)
    assert name.startswith("items-Naive-none-new-read_committed-pg18-duplicate-")
    other = replace(FOUND, schedule=replace(FOUND.schedule, choices=FOUND.schedule.choices[:1]))
    assert witness_name(other) != name
    assert witness_name(finding(violation=TWICE)).startswith("items-Naive-none-new-read_committed-pg18-23505-")


def test_a_file_system_takes_the_longest_name() -> None:
    cell = replace(FOUND.schedule.cell, strategy="s" * 400)
    assert len(witness_name(replace(FOUND, schedule=replace(FOUND.schedule, cell=cell)))) < 255


# What is no witness, or not whole.


def test_a_part_of_a_file_is_refused_wherever_it_ends() -> None:
    text = witness_text(FOUND)
    for end in range(0, len(text.rstrip()), 7):
        with pytest.raises(WitnessError, match="no witness file, or a part of one"):
            read_witness(text[:end])


NEEDED = "format line kind sqlstate explanation cell contest digests scenario_file schedule"


@pytest.mark.parametrize("member", NEEDED.split())
def test_a_file_without_what_is_needed_is_refused(member: str) -> None:
    kept = {name: value for name, value in members().items() if name != member}
    with pytest.raises(WitnessError):
        read_witness(json.dumps(kept))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2, "harness": "9.1"}, r"by another harness \(9.1\): expected format 1, found 2; install"),
        ({"line": "h1:items::Naive[none,new,read_committed,pg18]:AAAA"}, "cut short or altered"),
        ({"line": "h2:items::Naive[none,new,read_committed,pg18]:AAAA"}, "written by a newer harness"),
        ({"schedule": {}}, "damaged"),
        ({"contest": []}, "damaged"),
    ],
)
def test_a_damaged_or_newer_file_is_refused_with_the_reason(change: dict[str, object], said: str) -> None:
    with pytest.raises(WitnessError, match=said):
        read_witness(json.dumps({**members(), **change})).schedule()


def test_an_edited_argument_is_not_silently_left_out() -> None:
    edited = members()
    edited["contest"]["sessions"][0][0]["arguments"]["amount"] = 7
    with pytest.raises(WitnessError, match="its words and its line speak of different things"):
        read_witness(json.dumps(edited)).schedule()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"verdict": "safe"}', "h1:..."])
def test_other_files_are_no_witnesses(text: str) -> None:
    with pytest.raises(WitnessError):
        read_witness(text)
