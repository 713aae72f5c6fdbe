"""A connection in a session is an ordinary one, and nothing of one trial is left for the next."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg.rows import dict_row

from harness.model.cell import Isolation
from harness.schedulers.preemptions import Preemptions
from harness.servers.server import Server
from harness.sessions.arena import Arena
from harness.sessions.connection import GatedConnection, SharedConnection
from tests.sessions.trials import KEYED, Program, Trial, alone, run, script, trials

MakeArena = Callable[..., Arena]


# ---- one connection, two sessions --------------------------------------------------------------------------------


def test_a_connection_used_by_two_sessions_at_once_raises_instead_of_hanging(arena: MakeArena) -> None:
    made = arena(KEYED)
    shared: list[GatedConnection] = []
    told: list[object] = []

    def takes_whatever_is_there(connection: GatedConnection) -> None:
        shared.append(connection)
        try:
            shared[0].execute("SELECT 1")
            shared[0].execute("SELECT 2")
            told.append("fine")
        except SharedConnection as error:
            told.append(error)

    scheduler = Preemptions()
    outcomes = set()
    while scheduler.new_trial():
        shared.clear(), told.clear()
        run(made, scheduler, takes_whatever_is_there, takes_whatever_is_there)
        outcomes.add(tuple(sorted(type(one).__name__ for one in told)))
    assert ("SharedConnection", "str") in outcomes
    # One after the other is no misuse: a process may hand its connection on.
    assert ("str", "str") in outcomes


# ---- nothing leaks -----------------------------------------------------------------------------------------------


def isolation_attribute(connection: GatedConnection) -> None:
    connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE


def read_only_attribute(connection: GatedConnection) -> None:
    connection.read_only = True


def autocommit_attribute(connection: GatedConnection) -> None:
    connection.autocommit = False


def row_factory_attribute(connection: GatedConnection) -> None:
    connection.row_factory = dict_row  # type: ignore[assignment]


def prepare_attribute(connection: GatedConnection) -> None:
    connection.prepare_threshold = 0


def transaction_left_open(connection: GatedConnection) -> None:
    connection.execute("BEGIN")
    connection.execute("INSERT INTO t VALUES (1, 1)")


def failed_transaction_left_open(connection: GatedConnection) -> None:
    connection.execute("BEGIN")
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / 0")


def local_in_an_open_transaction(connection: GatedConnection) -> None:
    connection.execute("BEGIN")
    connection.execute("SET LOCAL x.y = '1'")


DIRTY: list[Program] = [
    isolation_attribute,
    read_only_attribute,
    autocommit_attribute,
    row_factory_attribute,
    prepare_attribute,
    transaction_left_open,
    failed_transaction_left_open,
    local_in_an_open_transaction,
    script("SET x.y = '1'"),
    script("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
    script("SET default_transaction_isolation = 'serializable'"),
    script("SELECT set_config('x.y', '1', false)"),
    script("DO $$ BEGIN PERFORM set_config('x.y', '1', false); END $$"),
    script("BEGIN; SET x.y = '1'; COMMIT"),
    script("CREATE TEMP TABLE t (other int)"),
    script("SELECT 1 AS one INTO TEMP t"),
    script("SELECT pg_advisory_lock(7)"),
    script("SELECT pg_try_advisory_lock_shared(7, 8)"),
    script("LISTEN x"),
    script("PREPARE p AS SELECT 1"),
    script("BEGIN", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "COMMIT"),
]


def looks_around(connection: GatedConnection) -> object:
    """What a session can see of its connection's past."""
    (*seen,) = connection.execute(
        """
        SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'),
               coalesce(current_setting('x.y', true), ''),
               (SELECT count(*) FROM pg_class WHERE relpersistence = 't'),
               (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
               (SELECT count(*) FROM pg_listening_channels()),
               (SELECT count(*) FROM pg_prepared_statements),
               (SELECT count(*) FROM pg_cursors WHERE is_holdable),
               (SELECT count(*) FROM t)
        """
    ).fetchone()  # type: ignore[misc]
    return [*seen, connection.autocommit, connection.isolation_level, connection.prepare_threshold]


@pytest.mark.parametrize("isolation", [Isolation.READ_COMMITTED, Isolation.REPEATABLE_READ])
def test_nothing_a_session_does_to_its_connection_reaches_the_next_trial(
    arena: MakeArena, isolation: Isolation
) -> None:
    made = arena(KEYED)
    clean = alone(made, looks_around, isolation=isolation).told
    assert clean == ([isolation.sql, "off", "", 0, 0, 0, 0, 0, 0, True, None, None],)
    seen = {}
    for number, program in enumerate(DIRTY):
        alone(made, program, isolation=isolation)
        seen[number] = alone(made, looks_around, isolation=isolation).told
    assert seen == dict.fromkeys(range(len(DIRTY)), clean)


def test_each_trial_has_its_own_isolation_level(arena: MakeArena) -> None:
    made = arena(KEYED)
    program = script("SELECT current_setting('transaction_isolation')")
    levels = [*Isolation, Isolation.READ_COMMITTED, Isolation.SERIALIZABLE]
    assert [alone(made, program, isolation=level).told for level in levels] == [([(level.sql,)],) for level in levels]


# ---- a connection that dies --------------------------------------------------------------------------------------


def kill(server: Server, pid: int) -> None:
    """Ends a backend, and returns when it has ended."""
    with psycopg.connect(server.dsn(), autocommit=True) as outside:
        outside.execute("SELECT pg_terminate_backend(%s, 30000)", (pid,))


def dies_between_statements(server: Server) -> Program:
    def program(connection: GatedConnection) -> None:
        connection.execute("INSERT INTO t VALUES (1, 1)")
        kill(server, connection.pid)
        connection.execute("INSERT INTO t VALUES (2, 2)")

    return program


def dies_in_a_transaction_and_leaves(server: Server) -> Program:
    def program(connection: GatedConnection) -> None:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO t VALUES (1, 1)")
        kill(server, connection.pid)

    return program


def check_goes_on(made: Arena, died: Trial) -> None:
    assert died.told[0] in ("57P01", "the connection is closed")
    assert alone(made, script("SELECT 1")).told == ([(1,)],)


def test_a_backend_killed_from_outside_is_an_answer_and_the_next_trial_has_a_new_one(
    arena: MakeArena, server: Server
) -> None:
    made = arena(KEYED)
    check_goes_on(made, alone(made, dies_between_statements(server)))


def test_nobody_notices_a_backend_killed_after_the_last_statement(arena: MakeArena, server: Server) -> None:
    made = arena(KEYED)
    trial = alone(made, dies_in_a_transaction_and_leaves(server))
    assert (trial.told, trial.rows) == ((None,), ())
    assert alone(made, script("SELECT 1")).told == ([(1,)],)


def test_a_killed_waiter_is_an_answer_too(arena: MakeArena, server: Server) -> None:
    made = arena("CREATE TABLE t (k int PRIMARY KEY, n int)")
    pids: list[int] = []

    def waits(connection: GatedConnection) -> None:
        pids.append(connection.pid)
        connection.execute("INSERT INTO t VALUES (1, 1)")

    def kills_who_waits(connection: GatedConnection) -> None:
        with connection.transaction():
            connection.execute("INSERT INTO t VALUES (1, 2)")
            connection.execute("SELECT 1")
            if pids:
                kill(server, pids.pop())

    found = [trial for trial in trials(made, waits, kills_who_waits) if trial.ended.waits and trial.told[0] == "57P01"]
    assert found and all(trial.rows == (("1", "2"),) for trial in found)
    assert alone(made, script("SELECT 1")).told == ([(1,)],)


def test_a_connection_that_died_between_two_trials_is_replaced(arena: MakeArena, server: Server) -> None:
    made = arena(KEYED)
    pids: list[int] = []
    alone(made, lambda connection: pids.append(connection.pid))
    kill(server, pids[0])
    assert alone(made, script("SELECT 1")).told == ([(1,)],)


def test_a_gated_connection_that_died_gets_a_turnstile_again(arena: MakeArena, server: Server) -> None:
    made = arena(KEYED, gates=True)
    alone(made, dies_between_statements(server))
    trial = alone(made, script("INSERT INTO t VALUES (1, 1)"))
    assert (trial.rows, len(trial.ended.gates)) == ((("1", "1"),), 1)
