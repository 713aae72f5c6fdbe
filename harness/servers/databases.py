"""Databases of our own on a server: the unit of isolation, one per worker, dropped at the end whatever happened.

On a server that is not ours a killed run leaves its databases behind. Each therefore says in its comment how to tell
whether it is still in use: its owner holds an advisory lock for as long as it lives. `sweep` drops those whose lock is
free, and nothing else.
"""

import contextlib
import os
import re
import secrets
import signal
from collections.abc import Iterator

import psycopg
from psycopg import sql

from harness.servers.server import Server, ServerError, one_line

PREFIX = "harness_"
LOCK_CLASS = 1_752_396_142  # "hurn": keeps our advisory locks apart from the user's
MARK = "upsert-harness: disposable; in use while advisory lock {lock} is held in database {database}"


@contextlib.contextmanager
def own_database(server: Server, *, label: str = "") -> Iterator[str]:
    """The name of a new, empty database. Any number of processes may ask at the same time."""
    name = unique_name(label)
    with keeper(server) as held:
        lock = take_lock(held)
        try:
            create(held, server, name, lock)
            yield name
        except BaseException as error:
            try:
                drop(server, held, name)
            except (psycopg.Error, ServerError) as also:
                error.add_note(f"database {name} could not be dropped: {also}")
            raise
        try:
            drop(server, held, name)
        except (psycopg.Error, ServerError) as error:
            raise ServerError(
                f"database {name} could not be dropped: {error}; drop it by hand: DROP DATABASE {name} WITH (FORCE)"
            ) from error


def unique_name(label: str) -> str:
    readable = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")[:24]
    return PREFIX + (f"{readable}_" if readable else "") + secrets.token_hex(6)


@contextlib.contextmanager
def keeper(server: Server) -> Iterator[psycopg.Connection]:
    """The connection whose life is the database's: idle, in the maintenance database."""
    try:
        connection = psycopg.connect(server.dsn(), autocommit=True, application_name="upsert-harness keeper")
    except psycopg.OperationalError as error:
        raise ServerError(
            f"cannot connect to the {server.provider} server: {one_line(error)}; is it still running?"
        ) from None
    with connection:
        if server.version_num >= 140_000:
            connection.execute("SET idle_session_timeout = 0")
        connection.execute("SET statement_timeout = 0")
        connection.execute("SET lock_timeout = 0")
        yield connection


def take_lock(held: psycopg.Connection) -> int:
    while True:
        lock = secrets.randbelow(2**31)
        row = held.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_CLASS, lock)).fetchone()
        if row is not None and row[0]:
            return lock


def create(held: psycopg.Connection, server: Server, name: str, lock: int) -> None:
    held.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    mark = MARK.format(lock=lock, database=server.maintenance_database)
    held.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(mark)))


def drop(server: Server, held: psycopg.Connection, name: str) -> None:
    try:
        drop_over(held, server, name)
    except psycopg.OperationalError:
        if not held.closed:
            raise
        with keeper(server) as fresh:  # the keeper was cut off; its database is ours all the same
            drop_over(fresh, server, name)


def drop_over(held: psycopg.Connection, server: Server, name: str) -> None:
    if server.local:
        # A backend that was stopped to order its wake-up, and forgotten by a crash, cannot hear that it is terminated.
        for (pid,) in held.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", (name,)).fetchall():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    elif server.wake_order == "copy-program":
        pids = held.execute("SELECT pid::text FROM pg_stat_activity WHERE datname = %s", (name,)).fetchall()
        wake = f"kill -{signal.SIGCONT.value} {' '.join(pid for (pid,) in pids)}; cat >/dev/null"
        if pids:
            held.execute(sql.SQL("COPY (SELECT) TO PROGRAM {}").format(sql.Literal(wake)))
    held.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def sweep(server: Server) -> list[str]:
    """Drops what dead runs left on a server that outlives us; returns the names."""
    swept = []
    with keeper(server) as held:
        candidates = held.execute(
            """
            SELECT datname, shobj_description(oid, 'pg_database')
            FROM pg_database AS d
            WHERE starts_with(datname, %s)
              AND pg_get_userbyid(datdba) = current_user
              AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datid = d.oid)
            """,
            (PREFIX,),
        ).fetchall()
        for name, comment in candidates:
            lock = lock_in(comment, server.maintenance_database)
            if lock is None:
                continue
            row = held.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_CLASS, lock)).fetchone()
            if row is None or not row[0]:
                continue  # its owner lives
            try:
                # Without FORCE: a connection that came meanwhile keeps it.
                held.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
                swept.append(name)
            except (psycopg.errors.ObjectInUse, psycopg.errors.InvalidCatalogName):
                pass  # in use after all, or another run's sweep was faster
            finally:
                held.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCK_CLASS, lock))
    return swept


def lock_in(comment: str | None, database: str) -> int | None:
    """The lock our mark names; None when the comment is not our mark, or names a database we cannot ask from here."""
    told = re.fullmatch(re.escape(MARK).replace(r"\{lock\}", r"(\d+)").replace(r"\{database\}", "(.+)"), comment or "")
    return int(told[1]) if told is not None and told[2] == database else None
