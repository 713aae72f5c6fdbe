"""What is told beside a witness, on a real server: what matters in it, and what survives its contest."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pytest

from harness.campaign.advise import Shown, Wish, advise
from harness.campaign.campaign import Options, explore, select
from harness.model.advice import Advice, Came, Variation
from harness.model.verdict import Finding, Verdict
from harness.reports.advice import repair_lines, what_matters
from harness.reports.causes import hints
from harness.reports.ground import ground
from harness.scenario.discovery import find
from harness.servers.server import Server

pytestmark = pytest.mark.server

FILE = str(Path(__file__).with_name("advised.py"))
SAME, OTHER, NOTHING, OPEN, IMPOSSIBLE = Came


@lru_cache
def finding_of(server: Server, pattern: str) -> Finding:
    wanted = Options(workers=0)
    (result,) = explore(select([f"{FILE}::{pattern}"], wanted, [server.id]), [server], wanted).cells
    (finding,) = result.findings
    return finding


@lru_cache
def advice_on(server: Server, finding: Finding, **wish: bool) -> Advice:
    (scenario,) = find(FILE)
    shown = Shown(finding.schedule, finding.violation.name, scenario)
    return advise([shown], [server], Wish(workers=0, **wish))[shown.key]


def came(variations: Sequence[Variation] | None, part: str) -> dict[str, tuple[Came, str]]:
    return {one.value: (one.came, one.kind) for one in variations or () if one.part == part}


def test_one_part_at_a_time_is_varied_and_the_same_kind_looked_for(server: Server) -> None:
    finding = finding_of(server, "look_then_insert[none,new,read_committed]")
    found = advice_on(server, finding).variations
    assert set(came(found, "amount").values()) == set(came(found, "note").values()) == {(SAME, "duplicate")}
    assert came(found, "layout") == {"unique": (OTHER, "23505")}
    assert came(found, "state") == {"there": (NOTHING, ""), "twice": (NOTHING, "")}
    assert set(came(found, "isolation").values()) == {(SAME, "duplicate")}
    assert what_matters(found or ()) == (
        "any amount; any note; at every isolation level; not from state 'there' or 'twice'; "
        "not on layout unique (23505 there)"
    )


def test_a_part_that_matters_is_told_with_its_values(server: Server) -> None:
    found = advice_on(server, finding_of(server, "careful_with_much[none,new,read_committed]")).variations
    by_amounts = came(found, "amount")
    # Both calls must skip the lock: one that takes it keeps the other's INSERT waiting, though not its look.
    assert {value: kind for value, (_, kind) in by_amounts.items() if value == "2, 1"} == {"2, 1": "duplicate"}
    large = [value for value in by_amounts if all(int(each) >= 5 for each in value.split(", "))]
    assert large and {by_amounts[value] for value in large} == {(NOTHING, "")}


def test_what_the_isolation_level_prevents_is_told(server: Server) -> None:
    found = advice_on(server, finding_of(server, "in_a_transaction[none,new,read_committed]")).variations
    levels = came(found, "isolation")
    assert levels["repeatable read"] == (SAME, "duplicate") and levels["serializable"] == (NOTHING, "")


def test_a_state_that_the_layout_forbids_has_no_say(server: Server) -> None:
    found = advice_on(server, finding_of(server, "look_then_insert[unique,new,read_committed]")).variations
    assert came(found, "state") == {"there": (NOTHING, ""), "twice": (IMPOSSIBLE, "")}
    assert "twice" not in what_matters(found or ())


def test_other_strategies_are_run_on_the_same_contest(server: Server) -> None:
    finding = finding_of(server, "look_then_insert[unique,new,read_committed]")
    advice = advice_on(server, finding, variations=False, repairs=True)
    assert advice.variations is None and advice.repairs is not None
    by_name = {(one.cell.strategy, one.cell.layout): one for one in advice.repairs.tried}
    assert {name for (name, layout), one in by_name.items() if layout == "unique" and one.survives} == {
        "on_conflict",
        "lock_table",
    }
    assert by_name["other_level", "unique"].cell.isolation.value == "serializable"
    assert by_name["on_conflict", "none"].kinds == ("42P10",)
    assert ("look_then_insert", "unique") not in by_name and ("look_then_insert", "none") in by_name
    assert all(one.exhaustive and one.orders for one in by_name.values() if one.survives)
    first, *_ = repair_lines(advice.repairs)
    assert first == "of 5 other strategies 2 survive this contest: on_conflict, lock_table"


def test_a_rewrite_is_verified_by_the_strategy_that_writes_so(server: Server) -> None:
    finding = finding_of(server, "look_then_insert[unique,new,read_committed]")
    repairs = advice_on(server, finding, variations=False, repairs=True).repairs
    (scenario,) = find(FILE)
    with ground(server, scenario, "unique") as facts:
        (hint,) = hints(finding, facts, repairs)
        assert hint.cause == "check-then-act" and hint.rewrite.startswith("INSERT INTO item ... ON CONFLICT (name) DO")
        assert [cell.strategy for cell in hint.verified] == ["on_conflict"]
        (untried,) = hints(finding, facts)
        assert untried.verified == ()


def test_of_a_missing_index_the_doctor_is_asked(server: Server) -> None:
    finding = finding_of(server, "on_conflict[none,new,read_committed]")
    repairs = advice_on(server, finding, variations=False, repairs=True).repairs
    (scenario,) = find(FILE)
    with ground(server, scenario, "none") as facts:
        (hint,) = hints(finding, facts, repairs)
    assert hint.cause == "no-arbiter" and hint.rewrite.startswith("CREATE UNIQUE INDEX")
    assert [(cell.strategy, cell.layout) for cell in hint.verified] == [("on_conflict", "unique")]


def test_workers_come_to_the_same_as_this_process(server: Server) -> None:
    finding = finding_of(server, "look_then_insert[unique,new,read_committed]")
    (scenario,) = find(FILE)
    shown = Shown(finding.schedule, finding.violation.name, scenario)
    crew = advise([shown], [server], Wish(workers=1, repairs=True))[shown.key]
    assert crew.variations == advice_on(server, finding).variations
    assert crew.repairs == advice_on(server, finding, variations=False, repairs=True).repairs
    assert crew.repairs is not None and {one.verdict for one in crew.repairs.tried} == {Verdict.SAFE, Verdict.UNSAFE}
