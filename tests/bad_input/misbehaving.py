"""Strategies of people in a hurry: some never return, some leave, some take the process with them."""

import itertools
import os

from harness import READ_COMMITTED, Connection, Identity, Key, Scenario

misbehaving = Scenario(
    "misbehaving",
    tables="CREATE TABLE t (k int NOT NULL, n int NOT NULL)",
    layouts={"unique": "CREATE UNIQUE INDEX ON t (k)"},
    identity=Identity("t", by="k"),
)


@misbehaving.operation(k=Key(int))
def put(connection: Connection, k: int) -> None:
    if connection.execute("SELECT 1 FROM t WHERE k = %s", (k,)).fetchone() is None:
        connection.execute("INSERT INTO t VALUES (%s, 1)", (k,))


def insert(connection: Connection, k: int) -> None:
    connection.execute("INSERT INTO t VALUES (%s, 1) ON CONFLICT (k) DO NOTHING", (k,))


class OfItsOwn(Exception):
    pass


@put.strategy(isolation=READ_COMMITTED)
def behaves(connection: Connection, k: int) -> None:
    with connection.transaction():
        insert(connection, k)


@put.strategy(isolation=READ_COMMITTED)
def runs_for_ever(connection: Connection, k: int) -> None:
    connection.execute("SELECT 1")
    while True:
        pass


@put.strategy(isolation=READ_COMMITTED)
def will_not_be_interrupted(connection: Connection, k: int) -> None:
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


@put.strategy(isolation=READ_COMMITTED)
def runs_for_ever_in_c(connection: Connection, k: int) -> None:
    sum(itertools.repeat(1))


@put.strategy(isolation=READ_COMMITTED)
def answers_too_late(connection: Connection, k: int) -> None:
    try:
        while True:
            pass
    except BaseException:
        insert(connection, k)


@put.strategy(isolation=READ_COMMITTED)
def spins_on_a_try_lock(connection: Connection, k: int) -> None:
    while connection.execute("SELECT pg_try_advisory_lock(1) AND false").fetchone() != (True,):
        pass


@put.strategy(isolation=READ_COMMITTED)
def leaves_its_transaction_open(connection: Connection, k: int) -> None:
    connection.execute("BEGIN")
    insert(connection, k)


@put.strategy(isolation=READ_COMMITTED)
def raises(connection: Connection, k: int) -> None:
    raise OfItsOwn("no more credits")


@put.strategy(isolation=READ_COMMITTED)
def closes_its_connection(connection: Connection, k: int) -> None:
    insert(connection, k)
    connection.close()


@put.strategy(isolation=READ_COMMITTED)
def exits(connection: Connection, k: int) -> None:
    os._exit(7)


@put.strategy(isolation=READ_COMMITTED)
def quits(connection: Connection, k: int) -> None:
    raise SystemExit(3)


@put.strategy(isolation=READ_COMMITTED)
def kills_itself(connection: Connection, k: int) -> None:
    os.kill(os.getpid(), 9)


@put.strategy(isolation=READ_COMMITTED)
def recurses(connection: Connection, k: int) -> None:
    recurses(connection, k)
