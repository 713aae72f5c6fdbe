"""After each step every session has its answer or is seen to wait: for a lock, for a pool's slot, for each other."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from harness.runners.trial import run_trial
from harness.schedulers.preemptions import Preemptions
from harness.servers.server import Server
from harness.sessions.arena import Arena
from harness.sessions.connection import GatedConnection
from harness.sessions.control import ControlLost
from harness.sessions.hub import Hub
from harness.sessions.session import Operation, Session
from harness.sessions.steering import Ended, OutOfTime, Steering, Uncontrolled
from tests.sessions.trials import (
    KEYED,
    ONE_ROW,
    READ_COMMITTED,
    STEERING,
    UNIQUE,
    Program,
    alone,
    follow,
    script,
    tally,
    transaction,
    trials,
)

MakeArena = Callable[..., Arena]
TWO_ROWS = "INSERT INTO t VALUES (1, 0), (2, 0)"


def add_one(k: int) -> str:
    return f"UPDATE t SET n = n + 1 WHERE k = {k}"


# ---- waiting for a lock ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "lets_go", "told"),
    [
        ("INSERT INTO t VALUES (2, 0)", "COMMIT", "23505"),
        ("INSERT INTO t VALUES (2, 0)", "ROLLBACK", None),
        (add_one(1), "COMMIT", None),
        ("SELECT FROM t WHERE k = 1 FOR UPDATE", "COMMIT", None),
        ("LOCK TABLE t", "COMMIT", None),
        ("SELECT pg_advisory_xact_lock(1)", "ROLLBACK", None),
        ("TRUNCATE t", "COMMIT", None),
    ],
)
def test_who_waits_is_seen_to_wait_and_wakes(arena: MakeArena, statement: str, lets_go: str, told: str | None) -> None:
    program = script("BEGIN", statement, lets_go)
    # a takes the lock, b waits, a lets go (b wakes in that step), b ends, unless it failed
    trial = follow(arena(UNIQUE, ONE_ROW), "aba" if told else "abab", program, program)
    assert (trial.told, trial.ended.waits) == ((None, told), 1)
    assert trial.ended.choices[2][1] == (0,)


def test_an_advisory_lock_given_up_inside_an_open_transaction_wakes_the_waiter(arena: MakeArena) -> None:
    gives_up_early = transaction("SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)", "SELECT 1")
    waits = script("SELECT pg_advisory_lock(1)", "INSERT INTO t VALUES (1, 1)")
    trial = follow(arena(KEYED), "ababaa", gives_up_early, waits)
    assert trial.ended.choices[3][1] == (0, 1), "the waiter can go on before the transaction ends"
    assert trial.rows == (("1", "1"),)


def test_rolling_back_to_a_savepoint_wakes_the_waiter(arena: MakeArena) -> None:
    backs_out = script("BEGIN", "SAVEPOINT a", add_one(1), "ROLLBACK TO SAVEPOINT a", "SELECT 1", "COMMIT")
    trial = follow(arena(UNIQUE, ONE_ROW), "abaaa", backs_out, script(add_one(1)))
    assert (trial.ended.waits, trial.rows) == (1, (("1", "1"),))


def test_a_serializable_deferrable_transaction_waits_for_a_safe_snapshot(arena: MakeArena) -> None:
    writes = script("BEGIN ISOLATION LEVEL SERIALIZABLE", add_one(1), "COMMIT")
    reads = script("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", "SELECT n FROM t", "COMMIT")
    trial = follow(arena(UNIQUE, ONE_ROW), "abab", writes, reads)
    assert trial.ended.waits == 1


def test_a_stranger_who_holds_the_lock_is_waited_for_until_the_deadline(
    arena: MakeArena, server: Server, database: str
) -> None:
    made = arena(KEYED)
    with psycopg.connect(server.dsn(database), autocommit=True) as stranger:
        stranger.execute("SELECT pg_advisory_lock(1)")
        with pytest.raises(OutOfTime, match=r"no answer within 0\.2 s: s1 waits for a lock"):
            alone(made, script("SELECT pg_advisory_xact_lock(1)"), steering=Steering(deadline_s=0.2))
        # A trial that is given up leaves nothing behind.
        assert alone(made, script("SELECT count(*) FROM t")).told == ([(0,)],)


def test_wherever_the_deadline_strikes_the_next_trial_starts_clean(
    arena: MakeArena, server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = arena(KEYED)
    check_time, asked = Hub._check_time, 0

    def strikes(hub: Hub) -> None:
        nonlocal asked
        asked -= 1
        hub.deadline = hub.deadline if asked else 0.0
        check_time(hub)

    monkeypatch.setattr(Hub, "_check_time", strikes)
    with psycopg.connect(server.dsn(database), autocommit=True) as stranger:
        stranger.execute("SELECT pg_advisory_lock(1)")
        for number in range(1, 9):
            asked = number
            with pytest.raises(OutOfTime):
                alone(made, script("SELECT pg_advisory_xact_lock(1)"))
            asked = 0
            assert alone(made, script("SELECT count(*) FROM t")).told == ([(0,)],)


def test_the_harness_losing_its_own_connection_is_not_the_session_s_error(arena: MakeArena, server: Server) -> None:
    made = arena(KEYED)

    def cuts_the_line(connection: GatedConnection) -> None:
        with psycopg.connect(server.dsn(), autocommit=True) as outside:
            outside.execute("SELECT pg_terminate_backend(%s, 30000)", (made.control.pid,))
        connection.execute("SELECT pg_sleep(0.05)")  # late, so that the server is asked about it

    with pytest.raises(ControlLost):
        alone(made, cuts_the_line)


# ---- deadlock -------------------------------------------------------------------------------------------------------


def test_a_deadlock_is_broken_at_once_and_either_may_lose(arena: MakeArena) -> None:
    made = arena(UNIQUE, TWO_ROWS)
    one_then_two, two_then_one = transaction(add_one(1), add_one(2)), transaction(add_one(2), add_one(1))
    found = list(trials(made, one_then_two, two_then_one))
    lost = {(None, None): "nobody", ("40P01", None): "s1", (None, "40P01"): "s2"}
    assert tally(found, lambda trial: lost[trial.told]) == {"nobody": 4, "s1": 4, "s2": 4}  # type: ignore[index]
    for trial in found:
        victims = [session for session, _, event in trial.ended.choices if event == "victim"]
        assert [trial.told[victim] for victim in victims] == ["40P01"] * len(victims)


def test_the_client_of_the_victim_sees_what_the_server_would_say(arena: MakeArena) -> None:
    def catches(connection: GatedConnection) -> object:
        try:
            transaction(add_one(1), add_one(2))(connection)
        except psycopg.errors.DeadlockDetected as error:
            return error.sqlstate, connection.info.transaction_status.name
        return None

    trial = follow(arena(UNIQUE, TWO_ROWS), "ababA", catches, transaction(add_one(2), add_one(1)))
    assert trial.told == (("40P01", "IDLE"), None)


def test_a_deadlock_of_three_has_three_possible_victims(arena: MakeArena) -> None:
    made = arena(UNIQUE, "INSERT INTO t VALUES (1, 0), (2, 0), (3, 0)")
    around = [transaction(add_one(1 + i), add_one(1 + (i + 1) % 3)) for i in range(3)]
    for victim in "ABC":
        trial = follow(made, f"abcabc{victim}", *around)
        assert [told == "40P01" for told in trial.told] == [letter == victim for letter in "ABC"]
        assert trial.ended.choices[6] == ("ABC".index(victim), (0, 1, 2), "victim")


# ---- waits that the server does not see -----------------------------------------------------------------------------


def pooled(made: Arena, max_size: int, *bodies: Callable[[Any], object]) -> Iterator[tuple[Ended, list[object]]]:
    """Every order of sessions that share a pool."""
    scheduler = Preemptions()
    while scheduler.new_trial():
        pool = made.pool(max_size=max_size)
        told: list[object] = [None] * len(bodies)

        def operation(body: Callable[[Any], object], pool: Any = pool, told: list[object] = told) -> Operation:
            def run(session: Session) -> None:
                try:
                    told[session.index] = body(pool)
                except psycopg.Error as error:
                    told[session.index] = error.sqlstate

            return run

        ran = run_trial(made, [[operation(body)] for body in bodies], scheduler, READ_COMMITTED, STEERING)
        yield ran.ended, told


def waits_for_itself(pool: Any) -> None:
    with pool.connection() as first, first.transaction():
        first.execute("INSERT INTO t VALUES (1, 1)")
        with pool.connection() as second:
            second.execute("INSERT INTO t VALUES (1, 2)")


def takes_two(pool: Any) -> str:
    with pool.connection() as first:
        first.execute("SELECT 1")
        with pool.connection() as second:
            second.execute("SELECT 2")
    return "fine"


def takes_one(pool: Any) -> str:
    with pool.connection() as connection:
        connection.execute("SELECT 1")
        connection.execute("SELECT 2")
    return "fine"


def test_a_session_whose_second_connection_waits_for_its_first_hangs(arena: MakeArena) -> None:
    ((ended, _),) = pooled(arena(UNIQUE), 2, waits_for_itself)
    assert ended.hang == "s1 waits for a lock that s1 holds"


def test_two_sessions_that_each_hold_a_slot_and_want_another_hang(arena: MakeArena) -> None:
    found = list(pooled(arena(KEYED), 2, takes_two, takes_two))
    stuck = [ended.hang for ended, _ in found if ended.hang]
    assert set(stuck) == {
        "s1 waits for a pool connection that s1, s2 holds; s2 waits for a pool connection that s1, s2 holds"
    }
    assert [told for ended, told in found if not ended.hang] == [["fine", "fine"]] * (len(found) - len(stuck))


def test_who_finds_no_free_slot_waits_for_one(arena: MakeArena) -> None:
    found = list(pooled(arena(KEYED), 1, takes_one, takes_one))
    assert found and all((ended.hang, told) == (None, ["fine", "fine"]) for ended, told in found)
    assert {"".join("ab"[s] for s, _, _ in ended.choices) for ended, _ in found} >= {"aabb", "bbaa"}


def test_after_a_hang_the_next_trial_starts_clean(arena: MakeArena) -> None:
    made = arena(UNIQUE)
    for _ in range(3):
        ((ended, _),) = pooled(made, 2, waits_for_itself)
        assert ended.hang
    assert alone(made, script("SELECT * FROM t")).told == ([],)


# ---- spinning -------------------------------------------------------------------------------------------------------


def spins(connection: GatedConnection) -> str:
    while connection.execute("SELECT pg_try_advisory_xact_lock(1)").fetchone() != (True,):
        pass
    return "got it"


def test_who_spins_on_a_try_lock_lets_the_others_go_first(arena: MakeArena) -> None:
    holds = transaction("SELECT pg_advisory_xact_lock(1)", "SELECT 1", "SELECT 2")
    made = arena(KEYED)
    assert follow(made, "abbbb", holds, spins).told[1] == "got it"
    found = list(trials(made, holds, spins, bound=1))
    assert found and all(trial.told[1] == "got it" for trial in found)


def test_who_spins_for_ever_is_said_to(arena: MakeArena) -> None:
    def never(connection: GatedConnection) -> None:
        while True:
            connection.execute("SELECT 1")

    made = arena(KEYED)
    with pytest.raises(Uncontrolled, match="s1 repeats the same statement for ever: SELECT 1"):
        alone(made, never)
    assert alone(made, script("SELECT 1")).told == ([(1,)],)


def test_a_loop_over_rows_is_no_spin(arena: MakeArena) -> None:
    def inserts(first: int) -> Program:
        def program(connection: GatedConnection) -> None:
            for k in range(first, first + 7):
                connection.execute("INSERT INTO t VALUES (%s, 0)", (k,))

        return program

    made = arena(UNIQUE)
    assert [trial.order for trial in trials(made, inserts(0), inserts(100), bound=0)] == [
        "aaaaaaabbbbbbb",
        "bbbbbbbaaaaaaa",
    ]
