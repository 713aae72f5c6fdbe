"""Stories of races whose course follows by hand from PostgreSQL's rules; and what must not be told of others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.replay import replay
from harness.model.schedule import Gates
from harness.model.trace import Explained, Observed, Ran
from harness.model.verdict import Finding, Verdict
from harness.reports.details import details
from harness.reports.story import story
from harness.servers.server import Server
from tests.campaign.exploring import explored

SPECIMENS = Path(__file__).with_name("specimens")
Found = Callable[..., Finding]


@pytest.fixture
def found(server: Server) -> Found:
    """`found("stock::look_then_insert[none,new,read_committed]")`: the one finding of the cell, which was explained."""

    def finding(cell: str, kind: str = "", gates: Gates = Gates.NONE) -> Finding:
        source = cell if cell.startswith("platform") else f"{SPECIMENS}/{cell.replace('::', '.py::')}"
        findings = explored(server, source, gates=gates, overlaps=1).findings
        (one,) = [f for f in findings if kind in ("", f.violation.name)]
        assert one.explained is not None, "it came to something else while it was watched"
        return one

    return finding


def seen(finding: Finding) -> Observed:
    assert finding.explained is not None
    return finding.explained.observed


def statement(finding: Finding, session: int, word: str) -> Ran:
    (one,) = [r for r in seen(finding).statements if r.session == session and r.text.startswith(word)]
    return one


# Two look, two insert: neither look can have seen an insert that was sent after it.

BOTH_LOOKED = "s1's SELECT (step 1) and s2's SELECT (step 2) both read no row, because s2's INSERT (step 3) and"


def test_both_looked_before_either_inserted(found: Found) -> None:
    finding = found("stock::look_then_insert[none,new,read_committed]")
    assert story(finding) == (
        f"{BOTH_LOOKED} s1's INSERT (step 4) came later.",
        "After s1, s2 reads the row (1); after s2, s1 reads the row (2).",
        "Both rows stayed, that of s2's INSERT (step 3) and that of s1's INSERT (step 4).",
    )
    assert [version.writer for version in seen(finding).left] == [
        statement(finding, 1, "INSERT").transaction,
        statement(finding, 0, "INSERT").transaction,
    ]


def test_with_an_index_the_second_insert_meets_the_row_of_the_first(found: Found) -> None:
    told = story(found("stock::look_then_insert[unique,new,read_committed]"))
    assert told[0] == f"{BOTH_LOOKED} s1's INSERT (step 4) came later."
    assert told[1] == "After s1, s2 reads the row (1); after s2, s1 reads the row (2), and s1 succeeds."
    assert told[2] == (
        "s1's INSERT (step 4) met 23505 unique_violation:"
        " by_item already had (item) = (item1), in the row written by s2's INSERT (step 3)."
    )


def test_a_lock_on_a_row_that_is_not_there_keeps_nobody_out(found: Found) -> None:
    finding = found("stock::lock_what_is_not_there[none,new,read_committed]")
    assert story(finding)[0] == f"{BOTH_LOOKED} s1's INSERT (step 5) came later."
    assert not any(ran.waits for ran in seen(finding).statements)


def test_a_lost_update_says_who_overwrote_whom(found: Found) -> None:
    finding = found("stock::read_and_write_back[none,there,read_committed]", "lost-update")
    told = story(finding)
    assert told[0].startswith("s1's SELECT (step 1) and s2's SELECT (step 2) both read the row (0), because s2's")
    assert told[-1] == "s1's UPDATE (step 5) overwrote what s2's UPDATE (step 3) had written."
    last = seen(finding).transactions[statement(finding, 0, "UPDATE").transaction]
    assert [(v.row, v.writer) for v in last.removed] == [(("item1", "2"), statement(finding, 1, "UPDATE").transaction)]


def test_a_serialization_failure_says_which_commit_was_too_late(found: Found) -> None:
    told = story(found("stock::read_and_write_back[none,there,repeatable_read]"))
    assert told[-1] == (
        's1\'s UPDATE (step 5) met 40001 serialization_failure, "could not serialize access due to concurrent update":'
        " its snapshot is of step 1, and s2's UPDATE (step 3) was committed after that, in step 4."
    )


def test_write_skew_is_two_looks_at_what_the_other_is_about_to_delete(found: Found) -> None:
    told = story(found("watch::look_and_go[repeatable_read]"))
    assert told == (
        "s1's SELECT (step 1) read the row (person2), which fits only s1 before s2; after s2 it reads no row.",
        "s2's SELECT (step 2) read the row (person1), because s1's DELETE (step 5) came later;"
        " in the order s1, s2 it reads no row, and s2 is told False.",
    )


def test_a_deadlock_names_what_each_held(found: Found) -> None:
    finding = found("shelves::as_they_come[read_committed]")
    assert story(finding) == (
        "s2's UPDATE (steps 3 to 4) waited for a row of shelf, held by s1's UPDATE (step 1), and"
        " s1's UPDATE (step 4) waited for a row of shelf, held by s2's UPDATE (step 2);"
        " s1's UPDATE (step 4) met 40P01 deadlock_detected.",
    )
    waits = [wait for ran in seen(finding).statements for wait in ran.waits]
    assert {(wait.kind, wait.mode, wait.holders) for wait in waits} == {
        ("transactionid", "ShareLock", (0,)),
        ("transactionid", "ShareLock", (1,)),
    }
    assert {wait.on for wait in waits} == {"shelf (0,1)", "shelf (0,2)"}


def test_a_function_does_not_delete_what_was_committed_after_its_delete_began(found: Found) -> None:
    told = " ".join(story(found("anew::in_a_function[read_committed]", "duplicate", Gates.USUAL)))
    assert "s1's put_anew (steps 1 to 6) did not remove (count=2)," in told
    assert "for its DELETE had begun (step 1) before s2 committed (step 4)" in told


def test_who_looks_between_a_restore_and_its_update_sees_the_one_and_not_the_other(found: Found) -> None:
    told = " ".join(story(found("platform_connections::shipped_fix[none,deleted,read_committed]", "wrong-answer")))
    assert "because s1's UPDATE (step 2) had been committed, but s1's UPDATE" in told
    assert "came later" in told


def test_the_repaired_twin_has_no_story(server: Server) -> None:
    result = explored(server, f"{SPECIMENS}/shelves.py::by_name[read_committed]", gates=Gates.NONE)
    assert (result.verdict, result.findings) == (Verdict.SAFE, ())


# What must not be told where the facts are others.


def explained_as(finding: Finding, change: Callable[[Ran], Ran]) -> Finding:
    explained = finding.explained
    assert explained is not None
    statements = tuple(map(change, explained.observed.statements))
    return replace(finding, explained=replace(explained, observed=replace(explained.observed, statements=statements)))


@pytest.fixture
def race(found: Found) -> Finding:
    return found("stock::look_then_insert[none,new,read_committed]")


def test_who_read_what_the_order_has_it_read_is_not_told_to_have_missed_it(race: Finding) -> None:
    def reads_it(ran: Ran) -> Ran:
        if ran.session == 1 and ran.text.startswith("SELECT"):
            return replace(ran, rows=(("1",),), returned=1, status="SELECT 1", columns=("count",))
        return ran

    assert not any("read no row" in sentence for sentence in story(explained_as(race, reads_it)))


def test_no_order_is_ruled_out_for_good_where_not_all_were_run(race: Finding) -> None:
    assert race.explained is not None
    some = replace(race, explained=replace(race.explained, every_order=False))
    assert story(some) == story(race)[-1:]


def test_a_commit_before_the_snapshot_is_no_reason(race: Finding) -> None:
    """Had s2 looked after both inserts and still read nothing, nobody could say why."""
    late = explained_as(
        race, lambda ran: replace(ran, began=8, ended=8) if ran.session == 1 and "SELECT" in ran.text else ran
    )
    assert not any("because s1's" in sentence for sentence in story(late))


def test_a_parameter_that_is_another_leaves_the_reason_open(race: Finding) -> None:
    other = explained_as(
        race, lambda ran: replace(ran, statement=f"{ran.statement}, 'x'") if "SELECT" in ran.text else ran
    )
    assert not any("because" in sentence for sentence in story(other))


def test_where_nothing_was_watched_nothing_is_told(race: Finding) -> None:
    assert story(replace(race, explained=None)) == ()
    nothing = Explained(Observed((), (), one_snapshot=False), (), every_order=True)
    assert story(replace(race, explained=nothing)) == ()


# In full.


def test_a_replay_is_explained_statement_by_statement(server: Server, race: Finding) -> None:
    again = replay(race.schedule, server, source=str(SPECIMENS / "stock.py"), explained=True)
    assert again.explained is not None
    text = "\n".join(details(again.explained.observed))
    assert "step 2, s2: SELECT count FROM stock WHERE item = %s -- 'item1'\n  snapshot: of step 2, has nothing" in text
    assert "=> INSERT 0 1\n  added   stock (0,1) (item=item1, count=2), xmin s2's (committed in step 3)" in text
    assert "snapshot: of step 4, has s2's INSERT (step 3)" in text


def test_what_is_watched_comes_to_the_same_schedule(server: Server, found: Found) -> None:
    """Waiters are let go one by one while they are watched: no choice of the schedule may come or go by it."""
    finding = found("shelves::as_they_come[read_committed]")
    again = replay(finding.schedule, server, 3, source=str(SPECIMENS / "shelves.py"), explained=True)
    assert (again.hits, again.departures, again.outcome) == (3, (), finding.found)
    assert again.explained is not None
