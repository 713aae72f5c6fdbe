"""How the server is asked: in batches, each statement for itself, with nothing left behind."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.abc import PQGen

from harness.doctor import plan, sources
from harness.doctor.examine import examine
from harness.doctor.plan import Question
from harness.servers.server import Server

NO_ARBITER = "INSERT INTO t VALUES (1) ON CONFLICT (b) DO NOTHING"
SOUND = "INSERT INTO t VALUES ($1) ON CONFLICT (a) DO NOTHING"


class Counting(psycopg.Connection[Any]):
    """Counts how often it waits for the server."""

    waits = 0

    def wait(self, gen: PQGen[Any], *arguments: Any, **options: Any) -> Any:
        self.waits += 1
        return super().wait(gen, *arguments, **options)


@pytest.fixture
def connection(server: Server, database: str) -> Iterator[Counting]:
    with Counting.connect(server.dsn(database), autocommit=True, prepare_threshold=None) as connected:
        connected.execute("CREATE TABLE t (a int UNIQUE, b int); CREATE UNIQUE INDEX t_b ON t (b) WHERE a > 0")
        plan.begin(connected, read_only=True)
        yield connected
        connected.execute("ROLLBACK")


def asked(connection: Counting, *questions: Question) -> list[str]:
    """The arbiters, or the SQLSTATE."""
    return [
        one.refusal.sqlstate if one.refusal else ", ".join(one.arbiters) for one in plan.plans(connection, questions)
    ]


def test_an_error_costs_its_own_statement_only(connection: Counting) -> None:
    questions = [Question(NO_ARBITER, 0), Question(SOUND, 1), Question("INSERT INTO", 0), Question(SOUND, 1)]
    assert asked(connection, *questions) == ["42P10", "t_a_key", "42601", "t_a_key"]


def test_generic_and_custom_plans_are_told_apart(connection: Counting) -> None:
    sql = "INSERT INTO t (b) VALUES ($1) ON CONFLICT (b) WHERE a > $2 DO NOTHING"
    questions = [Question(sql, 2), Question(sql, 2, ("NULL", "1")), Question(sql, 2, ("NULL", "-1")), Question(sql, 2)]
    assert asked(connection, *questions) == ["42P10", "t_b", "42P10", "42P10"]


def test_no_prepared_statement_and_no_lock_is_left(connection: Counting) -> None:
    asked(connection, Question(SOUND, 1), Question(NO_ARBITER, 0), Question(SOUND, 1, ("1",)))
    assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    held = connection.execute("SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass").fetchone()
    assert held == (0,)


def test_a_thousand_statements_take_a_few_round_trips(connection: Counting) -> None:
    statements = list(sources.statements([], [f"{SOUND};" * 1000], None))
    before = connection.waits
    found = examine(connection, statements)
    assert [one.arbiters for one in found] == [("t_a_key",)] * 1000
    assert connection.waits - before < 50  # ten batches, asked and cleaned up after; three reads of the catalogues
