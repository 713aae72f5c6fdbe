"""The doctor's word equals the server's deed, on random tables and random statements; sound ones raise no alarm."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from harness.doctor import plan, sources
from harness.doctor.examine import Examined, examine
from harness.servers.server import Server
from tests.doctor.generators import Upsert, sound_upserts, upserts

ALWAYS = {"42P10", "42704", "42809", "42601", "55000"}
"""What fails whatever the rows are: it is said exactly if it is so."""
TAKEN = {"23505", "23P01"}
quick = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@contextmanager
def made(connection: psycopg.Connection, upsert: Upsert) -> Iterator[None]:
    """Its tables, in a transaction that is rolled back."""
    plan.begin(connection, read_only=False)
    try:
        for command in upsert.tables:
            connection.execute(command.encode())
        connection.execute("SAVEPOINT harness_doctor")
        yield
    finally:
        connection.execute("ROLLBACK")


def examined(connection: psycopg.Connection, upsert: Upsert) -> Examined:
    (found,) = examine(connection, list(sources.statements([], [upsert.sql], None)))
    connection.execute("ROLLBACK TO SAVEPOINT harness_doctor")
    return found


def explained(connection: psycopg.Connection, upsert: Upsert) -> set[str]:
    """The arbiters, asked of the server by the shortest way."""
    try:
        row = connection.execute(f"EXPLAIN (FORMAT JSON) {upsert.sql}".encode()).fetchone()
    except psycopg.Error:
        connection.execute("ROLLBACK TO SAVEPOINT harness_doctor")
        return set()
    assert row is not None
    shown = json.loads(row[0]) if isinstance(row[0], str) else row[0]
    return set(shown[0]["Plan"].get("Conflict Arbiter Indexes", ()))


def executed(connection: psycopg.Connection, *commands: str) -> str:
    try:
        for command in commands:
            connection.execute(command.encode())
    except psycopg.Error as error:
        return error.sqlstate or "?"
    finally:
        connection.execute("ROLLBACK TO SAVEPOINT harness_doctor")
    return ""


@pytest.fixture
def connection(server: Server, database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.dsn(database), autocommit=True, prepare_threshold=None) as connected:
        yield connected


@quick
@given(data=st.data())
def test_what_the_doctor_says_is_what_the_server_does(connection: psycopg.Connection, data: st.DataObject) -> None:
    upsert = data.draw(upserts(connection.info.server_version // 10_000))
    with made(connection, upsert):
        found = examined(connection, upsert)
        assert set(found.arbiters) == explained(connection, upsert)
        alone = executed(connection, upsert.sql)
        really = executed(connection, upsert.before, upsert.sql)
    event(really or "passes")
    codes = {each.code for each in found.diagnoses}
    said = {each.sqlstate for each in found.diagnoses if each.severity == "error"}
    # Alone: where rows are there, a conflict on an older index may come before the one that cannot arbitrate (55000).
    assert (alone in ALWAYS) == bool(said & ALWAYS), (said, alone)
    if alone in ALWAYS:
        assert alone in said
    elif "21000" in said:  # unless a row is refused before
        assert alone in {"21000"} | TAKEN
    if "21000" in (alone, really):
        assert codes & {"D116", "D303"}
    if TAKEN & {alone, really}:
        assert codes & {"D201", "D203"}, found.diagnoses


@quick
@given(data=st.data())
def test_a_sound_statement_raises_no_alarm(connection: psycopg.Connection, data: st.DataObject) -> None:
    upsert = data.draw(sound_upserts(connection.info.server_version // 10_000))
    with made(connection, upsert):
        found = examined(connection, upsert)
        really = executed(connection, upsert.before, upsert.sql)
    assume(really not in TAKEN)  # by a second index: D201, of which the other test makes sure
    assert really == ""
    assert [each for each in found.diagnoses if each.severity == "error"] == []
    assert found.arbiters
