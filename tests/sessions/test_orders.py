"""How many orders there are, with how many preemptions, and what they come to: the figures our design rests on.

BEGIN is no step, an order in which a waiting session would go next is no order, a switch because somebody waits or has
ended is no preemption.
"""

from collections.abc import Callable

import psycopg
import pytest

from harness.model.cell import Isolation
from harness.sessions.arena import Arena
from harness.sessions.connection import GatedConnection
from tests.sessions.trials import KEYED, ONE_ROW, UNIQUE, Program, Trial, script, tally, transaction, trials

MakeArena = Callable[..., Arena]
TWO_ROWS = "INSERT INTO t VALUES (1, 0), (2, 0)"
SERIALIZABLE, REPEATABLE_READ = Isolation.SERIALIZABLE, Isolation.REPEATABLE_READ


def find(connection: GatedConnection, k: int = 1, *, lock: str = "") -> object:
    return connection.execute(f"SELECT n FROM t WHERE k = %s {lock}", (k,)).fetchone()


def select_then_insert(connection: GatedConnection, k: int = 1) -> None:
    with connection.transaction():
        if find(connection, k) is None:
            connection.execute("INSERT INTO t VALUES (%s, 1)", (k,))


def select_then_write(connection: GatedConnection) -> None:
    with connection.transaction():
        if find(connection) is None:
            connection.execute("INSERT INTO t VALUES (1, 1)")
        else:
            connection.execute("UPDATE t SET n = n + 1 WHERE k = 1")


def read_modify_write(connection: GatedConnection, *, lock: str = "") -> None:
    with connection.transaction():
        (n,) = find(connection, lock=lock)  # type: ignore[misc]
        connection.execute("UPDATE t SET n = %s WHERE k = 1", (n + 1,))


def read_modify_write_locked(connection: GatedConnection) -> None:
    read_modify_write(connection, lock="FOR UPDATE")


def insert_or_catch(connection: GatedConnection) -> None:
    try:
        with connection.transaction():
            connection.execute("INSERT INTO t VALUES (1, 1)")
    except psycopg.errors.UniqueViolation:
        with connection.transaction():
            connection.execute("UPDATE t SET n = n + 1 WHERE k = 1")


def update_or_insert_until_it_works(connection: GatedConnection) -> None:
    while True:
        try:
            with connection.transaction():
                if connection.execute("UPDATE t SET n = n + 1 WHERE k = 1").rowcount == 0:
                    connection.execute("INSERT INTO t VALUES (1, 1)")
            return
        except psycopg.errors.UniqueViolation:
            continue


def retried(program: Program) -> Program:
    def until_it_works(connection: GatedConnection) -> object:
        while True:
            try:
                return program(connection)
            except psycopg.errors.SerializationFailure:
                continue

    return until_it_works


add_one = transaction("UPDATE t SET n = n + 1 WHERE k = 1")
do_update = transaction("INSERT INTO t VALUES (1, 1) ON CONFLICT (k) DO UPDATE SET n = t.n + 1")
delete_then_insert = transaction("DELETE FROM t WHERE k = 1", "INSERT INTO t VALUES (1, 1)")
one_then_two = transaction("UPDATE t SET n = n + 1 WHERE k = 1", "UPDATE t SET n = n + 1 WHERE k = 2")
two_then_one = transaction("UPDATE t SET n = n + 1 WHERE k = 2", "UPDATE t SET n = n + 1 WHERE k = 1")


def came_to(trial: Trial) -> str:
    """The SQLSTATE, or the rows as k=n."""
    states = [told for told in trial.told if isinstance(told, str)]
    return states[0] if states else " ".join(sorted(f"{k}={n}" for k, n in trial.rows)) or "nothing"


def check(
    arena: MakeArena,
    table: str,
    start: str,
    *programs: Program,
    orders: int,
    bounded: tuple[int, int, int] | None = None,
    isolation: Isolation = Isolation.READ_COMMITTED,
    **comes_to: int,
) -> None:
    """`orders` in all, of which `bounded` have at most no, one and two preemptions; each outcome so many times."""
    made = arena(table, start)
    found = list(trials(made, *programs, isolation=isolation))
    assert len({trial.order for trial in found}) == len(found), "an order was run twice"
    assert (len(found), tally(found, came_to)) == (orders, {name.lstrip("_"): n for name, n in comes_to.items()})
    if bounded is not None:
        counts = tuple(len(list(trials(made, *programs, bound=bound, isolation=isolation))) for bound in range(3))
        assert counts == bounded


def figures(**outcomes: int) -> dict[str, int]:
    return outcomes


@pytest.mark.parametrize(
    ("table", "start", "program", "orders", "bounded", "comes_to"),
    [
        (KEYED, "", select_then_insert, 20, (2, 6, 14), {"1=1": 2, "1=1 1=1": 18}),
        (UNIQUE, "", select_then_insert, 14, (2, 6, 12), {"1=1": 2, "23505": 12}),
        (UNIQUE, "", select_then_write, 14, (2, 6, 12), {"1=2": 2, "23505": 12}),
        (UNIQUE, ONE_ROW, read_modify_write, 14, (2, 6, 12), {"1=2": 2, "1=1": 12}),
        (UNIQUE, ONE_ROW, read_modify_write_locked, 6, (2, 6, 6), {"1=2": 6}),
        (UNIQUE, ONE_ROW, add_one, 4, (2, 4, 4), {"1=2": 4}),
        (KEYED, ONE_ROW, delete_then_insert, 6, (2, 6, 6), {"1=1": 2, "1=1 1=1": 4}),
        (UNIQUE, ONE_ROW, delete_then_insert, 6, (2, 6, 6), {"1=1": 2, "23505": 4}),
        (UNIQUE, "", delete_then_insert, 14, (2, 6, 12), {"1=1": 2, "23505": 12}),
        (UNIQUE, "", do_update, 4, (2, 4, 4), {"1=2": 4}),
        (UNIQUE, "", update_or_insert_until_it_works, 14, (2, 6, 12), {"1=2": 14}),
        (UNIQUE, "", insert_or_catch, 4, (2, 4, 4), {"1=2": 4}),
    ],
)
def test_two_sessions(
    arena: MakeArena,
    table: str,
    start: str,
    program: Program,
    orders: int,
    bounded: tuple[int, int, int],
    comes_to: dict[str, int],
) -> None:
    check(arena, table, start, program, program, orders=orders, bounded=bounded, **comes_to)


@pytest.mark.parametrize("isolation", [REPEATABLE_READ, SERIALIZABLE])
def test_a_lost_update_becomes_40001_above_read_committed(arena: MakeArena, isolation: Isolation) -> None:
    programs = read_modify_write, read_modify_write
    check(arena, UNIQUE, ONE_ROW, *programs, orders=14, isolation=isolation, **{"1=2": 2, "40001": 12})


@pytest.mark.parametrize(
    ("table", "start", "program", "orders", "row"),
    [(UNIQUE, ONE_ROW, read_modify_write, 14, "1=2"), (KEYED, "", select_then_insert, 20, "1=1")],
)
def test_who_retries_40001_is_right_in_the_end(
    arena: MakeArena, table: str, start: str, program: Program, orders: int, row: str
) -> None:
    check(
        arena, table, start, retried(program), retried(program), orders=orders, isolation=SERIALIZABLE, **{row: orders}
    )


def test_disjoint_keys_are_in_nobodys_way(arena: MakeArena) -> None:
    check(arena, UNIQUE, "", select_then_insert, lambda c: select_then_insert(c, 2), orders=20, **{"1=1 2=1": 20})


def test_two_keys_in_opposite_order_deadlock_in_most_orders(arena: MakeArena) -> None:
    # Six orders of the statements close the cycle; who loses is a choice of its own.
    check(arena, UNIQUE, TWO_ROWS, one_then_two, two_then_one, orders=12, **{"1=2 2=2": 4, "40P01": 8})


@pytest.mark.parametrize(
    ("start", "program", "orders", "row"),
    # Two that wait for an insertion are granted it together, so who wakes first is a choice in 6 of 30 orders more; of
    # those that wait for a row the second stands in line behind the first.
    [("", do_update, 36, "1=3"), (ONE_ROW, add_one, 30, "1=3"), (ONE_ROW, read_modify_write_locked, 72, "1=3")],
)
def test_three_sessions(arena: MakeArena, start: str, program: Program, orders: int, row: str) -> None:
    check(arena, UNIQUE, start, program, program, program, orders=orders, **{row: orders})


def test_a_script_without_a_transaction_has_one_step_a_statement(arena: MakeArena) -> None:
    program = script("SELECT n FROM t", "INSERT INTO t VALUES (1, 1)")
    check(arena, KEYED, "", program, program, orders=6, bounded=(2, 4, 6), **{"1=1 1=1": 6})


@pytest.mark.parametrize(
    ("start", "program", "orders", "comes_to"),
    [
        ("", select_then_insert, 14, {"1=1": 2, "23505": 12}),
        (ONE_ROW, read_modify_write, 14, {"1=2": 2, "1=1": 12}),
        ("", insert_or_catch, 4, {"1=2": 4}),
    ],
)
def test_the_orders_are_the_same_when_every_answer_is_late(
    arena: MakeArena,
    monkeypatch: pytest.MonkeyPatch,
    start: str,
    program: Program,
    orders: int,
    comes_to: dict[str, int],
) -> None:
    # The server is asked about every command. It was once asked while it still owed another answer.
    monkeypatch.setattr("harness.sessions.hub._LATE_S", 0.0)
    check(arena, UNIQUE, start, program, program, orders=orders, **comes_to)
