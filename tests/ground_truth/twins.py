"""The ten strategies as an application writes them: psycopg code with control flow, parameters and savepoints."""

from collections.abc import Callable

import psycopg

Connection = psycopg.Connection[tuple[object, ...]]

FIND = "SELECT n FROM t WHERE k = %s AND deleted_at IS NULL ORDER BY id LIMIT 1"
INSERT = "INSERT INTO t (k, v, n) VALUES (%s, %s, 1)"
UPDATE = "UPDATE t SET v = %s, n = n + 1 WHERE k = %s AND deleted_at IS NULL"


def write_by(row: object, connection: Connection, k: int, v: str) -> None:
    if row is None:
        connection.execute(INSERT, (k, v))
    else:
        connection.execute(UPDATE, (v, k))


def select_then_write(connection: Connection, k: int, v: str) -> None:
    with connection.transaction():
        row = connection.execute(FIND, (k,)).fetchone()
        write_by(row, connection, k, v)


def on_conflict_do_update(connection: Connection, k: int, v: str) -> None:
    with connection.transaction():
        connection.execute(f"{INSERT} ON CONFLICT (k) DO UPDATE SET v = excluded.v, n = t.n + 1", (k, v))


def on_conflict_do_nothing(connection: Connection, k: int, v: str) -> None:
    with connection.transaction():
        connection.execute(f"{INSERT} ON CONFLICT (k) DO NOTHING", (k, v))
        connection.execute(FIND, (k,)).fetchone()


def update_then_insert(connection: Connection, k: int, v: str) -> None:
    with connection.transaction():
        if connection.execute(UPDATE, (v, k)).rowcount == 0:
            connection.execute(INSERT, (k, v))


def insert_or_catch(connection: Connection, k: int, v: str) -> None:
    with connection.transaction():
        try:
            with connection.transaction():
                connection.execute(INSERT, (k, v))
        except psycopg.errors.UniqueViolation:
            connection.execute(UPDATE, (v, k))


def lock_key(connection: Connection, k: int, v: str) -> None:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (k,))
        row = connection.execute(FIND, (k,)).fetchone()
        write_by(row, connection, k, v)


def lock_table(connection: Connection, k: int, v: str) -> None:
    with connection.transaction():
        connection.execute("LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE")
        row = connection.execute(FIND, (k,)).fetchone()
        write_by(row, connection, k, v)


def merge(connection: Connection, k: int, v: str) -> None:
    with connection.transaction():
        connection.execute(
            """
            MERGE INTO t USING (VALUES (%s::int, %s)) AS s (k, v)
               ON t.k = s.k AND t.deleted_at IS NULL
             WHEN MATCHED THEN UPDATE SET v = s.v, n = t.n + 1
             WHEN NOT MATCHED THEN INSERT (k, v, n) VALUES (s.k, s.v, 1)
            """,
            (k, v),
        )


def insert_where_not_exists(connection: Connection, k: int, v: str) -> None:
    with connection.transaction():
        connection.execute(
            """
            INSERT INTO t (k, v, n)
            SELECT %(k)s, %(v)s, 1
             WHERE NOT EXISTS (SELECT FROM t WHERE k = %(k)s AND deleted_at IS NULL)
            """,
            {"k": k, "v": v},
        )


def delete_and_insert(connection: Connection, k: int, v: str) -> None:
    with connection.transaction():
        connection.execute("DELETE FROM t WHERE k = %s AND deleted_at IS NULL", (k,))
        connection.execute(INSERT, (k, v))


TWINS: dict[int, Callable[[Connection, int, str], None]] = {
    1: select_then_write,
    2: on_conflict_do_update,
    3: on_conflict_do_nothing,
    5: update_then_insert,
    6: insert_or_catch,
    8: lock_key,
    9: lock_table,
    10: merge,
    12: insert_where_not_exists,
    13: delete_and_insert,
}
