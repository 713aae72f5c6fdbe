"""What is one step: a command that others can see, alone or with those that nobody can."""

from collections.abc import Callable

import psycopg
import pytest

from harness.sessions.arena import Arena
from harness.sessions.connection import GatedConnection
from tests.sessions.trials import KEYED, UNIQUE, Program, alone, script, transaction, trials

MakeArena = Callable[..., Arena]
INSERT = "INSERT INTO t VALUES (1, 1)"


def check(arena: MakeArena, steps: int, *programs: Program, table: str = KEYED, autocommit: bool = True) -> None:
    made = arena(table)
    counts = [len(alone(made, program, autocommit=autocommit).order) for program in programs]
    assert counts == [steps] * len(programs)


def test_a_statement_is_a_step(arena: MakeArena) -> None:
    check(arena, 1, script("SELECT 1"), script(INSERT), script("BEGIN; " + INSERT + "; COMMIT"))


def test_a_transaction_is_its_statements_and_its_commit(arena: MakeArena) -> None:
    check(
        arena,
        3,
        transaction("SELECT 1", INSERT),
        script("BEGIN", "SELECT 1", INSERT, "COMMIT"),
        script("/* mine */ BEGIN ISOLATION LEVEL SERIALIZABLE", "SELECT 1", INSERT, "ROLLBACK"),
        script("SET TRANSACTION READ ONLY", "SET x.y = 1", "BEGIN", "SET LOCAL x.y = 2", "SELECT 1", "SELECT 1", "END"),
    )


def test_so_it_is_with_the_habit_of_psycopg(arena: MakeArena) -> None:
    def commits(connection: GatedConnection) -> None:
        connection.execute("SELECT 1")
        connection.execute(INSERT)
        connection.commit()

    check(arena, 3, commits, autocommit=False)


def test_savepoints_go_with_what_follows_them(arena: MakeArena) -> None:
    def nested(connection: GatedConnection) -> None:
        with connection.transaction():
            connection.execute("SELECT 1")
            with connection.transaction():
                connection.execute(INSERT)

    by_hand = script("BEGIN", "SELECT 1", "SAVEPOINT a", INSERT, "RELEASE SAVEPOINT a", "COMMIT")
    check(arena, 3, nested, by_hand)


def test_the_rollback_of_a_failed_transaction_goes_with_the_error(arena: MakeArena) -> None:
    def gives_up(connection: GatedConnection) -> None:
        with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
            connection.execute("SELECT 1 / 0")

    def rolls_back(connection: GatedConnection) -> None:
        connection.execute("BEGIN")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        connection.rollback()

    def by_hand(connection: GatedConnection) -> None:
        connection.execute("BEGIN")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        connection.execute("ROLLBACK")

    check(arena, 1, gives_up, rolls_back, by_hand)


def test_rolling_back_what_has_not_failed_is_a_step(arena: MakeArena) -> None:
    to_savepoint = script("BEGIN", "SAVEPOINT a", INSERT, "ROLLBACK TO SAVEPOINT a")
    check(arena, 2, script("BEGIN", INSERT, "ROLLBACK"), to_savepoint)


def executemany(connection: GatedConnection) -> None:
    connection.cursor().executemany("INSERT INTO t VALUES (%s, %s)", [(k, 1) for k in range(5)])


def pipelined(connection: GatedConnection) -> None:
    with connection.pipeline():
        for k in range(5):
            connection.execute("INSERT INTO t VALUES (%s, %s)", (k, 1))


def copied_in(connection: GatedConnection) -> None:
    with connection.cursor().copy("COPY t FROM STDIN") as copy:
        for k in range(5):
            copy.write_row((k, 1))


def copied_out(connection: GatedConnection) -> None:
    with connection.cursor().copy("COPY (SELECT generate_series(1, 5)) TO STDOUT") as copy:
        assert len(list(copy.rows())) == 5


def streamed(connection: GatedConnection) -> None:
    assert len(list(connection.cursor().stream("SELECT generate_series(1, 5)"))) == 5


IN_FLIGHT = [executemany, pipelined, copied_in, copied_out, streamed]


def test_what_stays_in_flight_is_one_step(arena: MakeArena) -> None:
    check(arena, 1, *IN_FLIGHT)


@pytest.mark.parametrize("program", [executemany, pipelined, copied_in])
def test_two_at_once_are_not_let_race_in_the_server(arena: MakeArena, program: Program) -> None:
    found = list(trials(arena(KEYED), program, program))
    assert [trial.order for trial in found] == ["ab", "ba"]
    assert all(len(trial.rows) == 10 for trial in found)


@pytest.mark.parametrize("program", [executemany, pipelined, copied_in])
def test_one_that_has_to_wait_goes_on_to_its_end_when_it_wakes(arena: MakeArena, program: Program) -> None:
    made = arena(UNIQUE)
    found = list(trials(made, transaction("INSERT INTO t VALUES (3, 0)"), program))
    assert {trial.told for trial in found} == {(None, "23505"), ("23505", None)}
    assert any(trial.ended.waits for trial in found)
    assert {len(trial.rows) for trial in found} == {1, 5}


def test_fetches_of_a_server_side_cursor_are_steps(arena: MakeArena) -> None:
    def fetches(connection: GatedConnection) -> None:
        with connection.transaction(), connection.cursor("named") as cursor:
            cursor.execute("SELECT generate_series(1, 2)")
            assert cursor.fetchone() == (1,)
            assert cursor.fetchone() == (2,)

    # DECLARE, two FETCH, CLOSE, COMMIT
    check(arena, 5, fetches)
