"""One client fails at each of its commands: who is acquitted, who is condemned, and that the line replays it."""

from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import replay
from harness.model.schedule import Failing, Gates
from harness.model.verdict import CellResult, Verdict
from harness.servers.server import Server
from tests.campaign.exploring import written

pytestmark = pytest.mark.server

SCENARIO = '''
import psycopg
from hypothesis import strategies as st
from harness import READ_COMMITTED, Connection, Key, Own, Scenario

tokens = Scenario(
    "tokens",
    tables="CREATE TABLE token (owner text, value int, active boolean NOT NULL DEFAULT true)",
    states={"there": "INSERT INTO token VALUES (%(owner)s, 0)"},
)
RETIRE = "UPDATE token SET active = false WHERE owner = %s AND active"
INSERT = "INSERT INTO token VALUES (%s, %s)"

@tokens.operation(owner=Key(str), value=Own(st.integers(1, 100)))
def store(connection: Connection, owner: str, value: int) -> bool:
    connection.execute(RETIRE, [owner])
    return connection.execute(INSERT, [owner, value]).rowcount == 1

@store.strategy(isolation=READ_COMMITTED)
def in_one_transaction(connection: Connection, owner: str, value: int) -> bool:
    with connection.transaction():
        connection.execute("LOCK TABLE token IN SHARE ROW EXCLUSIVE MODE")
        return store(connection, owner, value)

@store.strategy(isolation=READ_COMMITTED)
def in_two(connection: Connection, owner: str, value: int) -> bool:
    """Behind a lock of the session, so that nothing but a failure comes between."""
    connection.execute("SELECT pg_advisory_lock(1)")
    try:
        return store(connection, owner, value)
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(1)")

@store.strategy(isolation=READ_COMMITTED)
def says_yes(connection: Connection, owner: str, value: int) -> bool:
    """Takes every failure for a success."""
    try:
        return in_one_transaction(connection, owner, value)
    except psycopg.Error:
        return True
'''


def explored(server: Server, folder: Path, strategy: str, *, faults: bool, **options: Any) -> CellResult:
    return written(server, folder, SCENARIO, strategy, faults=faults, gates=Gates.NONE, **options)


@pytest.mark.parametrize("strategy", ["in_one_transaction", "in_two", "says_yes"])
def test_while_nobody_fails_all_are_safe(server: Server, tmp_path: Path, strategy: str) -> None:
    result = explored(server, tmp_path, strategy, faults=False)
    assert (result.verdict, result.coverage.faults) == (Verdict.SAFE, 0)


def test_one_transaction_is_done_or_not(server: Server, tmp_path: Path) -> None:
    result = explored(server, tmp_path, "in_one_transaction", faults=True)
    assert (result.verdict, result.findings) == (Verdict.SAFE, ())
    # Of each session: LOCK, UPDATE, INSERT cancelled or cut off; COMMIT cut off, or done and its answer lost.
    assert result.coverage.faults >= 2 * (3 * 2 + 2)


def test_two_transactions_may_be_half_done(server: Server, tmp_path: Path) -> None:
    result = explored(server, tmp_path, "in_two", faults=True)
    assert {f.violation.name for f in result.findings} >= {"partial-effect"}
    for finding in result.findings:
        assert finding.schedule.fault is not None
        again = replay(finding.schedule, server, 5, source=str(tmp_path / "scenario.py"))
        assert (again.hits, again.outcome) == (5, finding.found)
        assert again.violation is not None
        assert again.violation.name == finding.violation.name


def test_a_client_that_tells_what_it_does_not_know_tells_what_is_not_true(server: Server, tmp_path: Path) -> None:
    result = explored(server, tmp_path, "says_yes", faults=True)
    (finding,) = (f for f in result.findings if f.violation.name == "lost-update")
    assert finding.schedule.fault is not None
    assert finding.schedule.fault.failing is not Failing.LOST
    assert str(finding.schedule.fault) in finding.violation.explanation


def test_clients_fail_in_contests_that_were_only_sampled_too(server: Server, tmp_path: Path) -> None:
    result = explored(server, tmp_path, "in_two", faults=True, orders_max=2)
    assert not result.coverage.exhaustive
    assert result.coverage.faults
    assert "partial-effect" in {f.violation.name for f in result.findings}
