"""Equal schedules, equal trials: choices, waits, answers and rows, 100 times out of 100, for 2 to 5 sessions."""

from collections.abc import Callable, Sequence

import pytest

from harness.runners.recorder import Recorder
from harness.schedulers.protocol import Departure
from harness.schedulers.random_walk import RandomWalk
from harness.schedulers.replay import Replay
from harness.servers.server import Server
from harness.sessions.arena import Arena
from harness.sessions.steering import OrderLost, Steering
from tests.sessions.trials import KEYED, ONE_ROW, UNIQUE, Program, Trial, follow, run, script, transaction, trials

MakeArena = Callable[..., Arena]
TIMES = 100

DO_UPDATE = "INSERT INTO t VALUES (1, {n}) ON CONFLICT (k) DO UPDATE SET n = t.n * 10 + {n}"
APPEND = "UPDATE t SET n = n * 10 + {n} WHERE k = 1"
TWO_ROWS = "INSERT INTO t VALUES (1, 0), (2, 0)"


def each(count: int, *statements: str) -> list[Program]:
    """The same transaction in every session, {n} being its number: the rows then tell the order."""
    return [transaction(*(sql.replace("{n}", str(n + 1)) for sql in statements)) for n in range(count)]


@pytest.fixture
def orderly(server: Server) -> None:
    if server.wake_order != "signal":
        pytest.skip(f"backends of the {server.provider} server cannot be stopped by signals from here")


def same(made: Arena, once: Trial, programs: Sequence[Program], times: int = TIMES) -> Trial:
    for _ in range(times):
        replay = Replay(once.ended.choices)
        assert replay.new_trial()
        again = run(made, replay, *programs)
        # In the order of the heap only right after a TRUNCATE: see the last test but one.
        assert (again.told, sorted(again.rows)) == (once.told, sorted(once.rows))  # type: ignore[type-var]
        assert (again.ended.choices, again.ended.waits) == (once.ended.choices, once.ended.waits)
    return once


def check(made: Arena, order: str, *programs: Program) -> Trial:
    """The order, then the same a hundred times."""
    return same(made, follow(made, order, *programs), programs)


# ---- who wakes first ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("orderly")
@pytest.mark.parametrize(
    ("start", "statement"),
    [("", DO_UPDATE), (ONE_ROW, DO_UPDATE), (ONE_ROW, APPEND)],
)
def test_three_waiters_wake_in_the_order_in_which_they_came(arena: MakeArena, start: str, statement: str) -> None:
    made = arena(UNIQUE, start)
    for order in ("abcda", "adcba", "acdba"):
        trial = check(made, order, *each(4, statement))
        assert trial.rows == (("1", "".join(str("abcd".index(one) + 1) for one in order[:4])),)


@pytest.mark.usefixtures("orderly")
def test_who_waited_longest_gets_the_key_when_the_holder_gives_up(arena: MakeArena) -> None:
    insert = "INSERT INTO t VALUES (1, {n})"
    gives_up = script("BEGIN", "INSERT INTO t VALUES (1, 0)", "ROLLBACK")
    trial = check(arena(UNIQUE), "adcba", gives_up, *each(3, insert))
    # d came first, so it has the key; the others wait for it in turn, and fail with its COMMIT.
    assert (trial.told, trial.rows) == ((None, "23505", "23505", None), (("1", "3"),))


@pytest.mark.usefixtures("orderly")
def test_of_those_who_are_granted_a_lock_together_either_may_wake_first(arena: MakeArena) -> None:
    insert = "INSERT INTO t VALUES (1, {n})"
    gives_up = script("BEGIN", "INSERT INTO t VALUES (1, 0)", "ROLLBACK")
    made = arena(UNIQUE)
    programs = [gives_up, *each(2, insert)]
    woken = {trial.order: trial.rows for trial in trials(made, *programs) if trial.order.startswith("abca")}
    # b came first; it has the key where it wakes first (w), c where that does (x).
    assert {rows for order, rows in woken.items() if "w" in order} == {(("1", "1"),)}
    assert {rows for order, rows in woken.items() if "x" in order} == {(("1", "2"),)}


@pytest.mark.usefixtures("orderly")
def test_waiters_that_a_deadlock_s_victim_frees_wake_in_order(arena: MakeArena) -> None:
    # a and b deadlock; c and d wait for a's key, and are freed when a is made to give up.
    keys = [
        transaction("INSERT INTO t VALUES (1, 1)", "INSERT INTO t VALUES (2, 1)"),
        transaction("INSERT INTO t VALUES (2, 2)", "INSERT INTO t VALUES (1, 2)"),
        transaction("INSERT INTO t VALUES (1, 3)"),
        transaction("INSERT INTO t VALUES (1, 4)"),
    ]
    check(arena(UNIQUE), "abcdabA", *keys)


# ---- any schedule ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("orderly")
@pytest.mark.parametrize("sessions", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("table", "start", "statements"),
    [
        (UNIQUE, "", ("SELECT * FROM t", DO_UPDATE)),
        (UNIQUE, "", ("SELECT n FROM t", "INSERT INTO t VALUES (1, {n})")),
        (KEYED, TWO_ROWS, (APPEND, "DELETE FROM t WHERE k = 2", "INSERT INTO t VALUES (2, {n})")),
    ],
)
def test_a_random_walk_replays(
    arena: MakeArena, table: str, start: str, statements: tuple[str, ...], sessions: int
) -> None:
    made = arena(table, start)
    programs = each(sessions, *statements)
    walk = RandomWalk(sessions, 5)
    while walk.new_trial():
        same(made, run(made, walk, *programs), programs, TIMES // 5)


@pytest.mark.usefixtures("orderly")
def test_equal_seeds_give_equal_trials(arena: MakeArena) -> None:
    made = arena(UNIQUE)
    programs = each(3, "SELECT n FROM t", DO_UPDATE)

    def walked() -> list[tuple[object, ...]]:
        walk = RandomWalk(7, 20)
        found = []
        while walk.new_trial():
            trial = run(made, walk, *programs)
            found.append((trial.ended.choices, trial.outcome))
        return found

    assert walked() == walked()


def test_a_deadlock_replays_with_its_victim(arena: MakeArena) -> None:
    made = arena(UNIQUE, TWO_ROWS)
    up, down = (transaction(*(f"UPDATE t SET n = n + 1 WHERE k = {k}" for k in ks)) for ks in ((1, 2), (2, 1)))
    assert check(made, "ababA", up, down).told == ("40P01", None)
    assert check(made, "ababB", up, down).told == (None, "40P01")


def test_watching_a_trial_changes_nothing(arena: MakeArena) -> None:
    made = arena(UNIQUE)
    programs = each(2, "SELECT n FROM t", "INSERT INTO t VALUES (1, {n})")
    for once in trials(made, *programs):
        traces, prints = set(), set()
        for _ in range(3):
            replay, recorder = Replay(once.ended.choices), Recorder()
            assert replay.new_trial()
            again = run(made, replay, *programs, observer=recorder)
            assert (again.outcome, again.ended) == (once.outcome, once.ended)
            traces.add(recorder.trace)
            prints.add(recorder.fingerprints)
        assert len(traces) == len(prints) == 1
        assert len(prints.pop()) == len(once.ended.choices)


def test_a_schedule_of_other_code_departs(arena: MakeArena) -> None:
    made = arena(UNIQUE)
    once = follow(made, "ab", *each(2, "INSERT INTO t VALUES ({n}, 1)"))
    replay = Replay(once.ended.choices)
    assert replay.new_trial()
    with pytest.raises(Departure, match="the schedule departs at step 4: expected s2 out of s2, found"):
        run(made, replay, *each(2, "INSERT INTO t VALUES ({n}, 1)", "SELECT 1"))


def test_without_a_say_in_who_wakes_first_such_an_order_is_given_up(arena: MakeArena) -> None:
    made = arena(UNIQUE, ONE_ROW)
    programs = each(3, APPEND)
    with pytest.raises(OrderLost):
        follow(made, "abca", *programs, steering=Steering("dropped"))
    assert follow(made, "aabbcc", *programs, steering=Steering("dropped")).rows == (("1", "123"),)


# ---- nothing of one trial is in the next ----------------------------------------------------------------------------


def test_rows_lie_on_the_heap_as_the_past_left_room_unless_truncated(arena: MakeArena) -> None:
    """DELETE is ten times cheaper than TRUNCATE, but dead rows keep their place until something cleans the page."""
    made = arena(KEYED, TWO_ROWS)
    program = script("UPDATE t SET n = 1 WHERE k = 1", "SELECT ctid, k FROM t")

    def places() -> object:
        return follow(made, "aa", program).told

    first = places()
    after_delete = [places() for _ in range(20)]
    assert any(places != first for places in after_delete)
    made.prepare(TWO_ROWS.encode(), truncate=True)
    assert places() == first


def test_sequences_start_again(arena: MakeArena) -> None:
    made = arena("CREATE TABLE t (id serial PRIMARY KEY, k int)")
    insert = script("INSERT INTO t (k) VALUES (1) RETURNING id")
    assert len({follow(made, "a", insert).rows for _ in range(5)}) == 1
