"""A server somebody else runs: checked before it is used, and left as it was found. No message shows the password."""

import contextlib
import re
import urllib.parse
from collections.abc import Iterator

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness.servers import databases
from harness.servers.server import Server, ServerError, check_not_too_old, major_of, one_line, server_id, version_text

SECRETS = ("password", "sslpassword")
CONNECT_WITHIN_S = "20"  # some hosts wake a sleeping server first
POOLER_ROUNDS = 6


def check(dsn: str) -> None:
    """Whether libpq would understand it; connects nowhere."""
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        # libpq quotes the part it stumbled over, which may be the password.
        reason = re.sub(r'"[^"]*"', '"..."', str(error)).strip()
        raise ServerError(
            f"server 'postgresql://...' is no connection string: {reason}; "
            "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE (a password's special characters percent-encoded)"
        ) from None


def without_password(dsn: str) -> str:
    parts = conninfo_to_dict(dsn)
    user = f"{parts['user']}@" if parts.get("user") else ""
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"postgresql://{user}{parts.get('host', '')}{port}/{parts.get('dbname', '')}"


def scrubbed(text: object, dsn: str) -> str:
    """A message of libpq's or the server's, on one line, and surely without the password."""
    line = one_line(text)
    for name in SECRETS:
        if secret := conninfo_to_dict(dsn).get(name):
            for spelling in {str(secret), urllib.parse.quote(str(secret), safe="")}:
                line = line.replace(spelling, "...")
    return line


@contextlib.contextmanager
def connected(dsn: str, *, because: str) -> Iterator[Server]:
    server = examined(dsn, because)
    databases.sweep(server)
    yield server


def examined(dsn: str, because: str) -> Server:
    given = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    bounded = make_conninfo(**{"connect_timeout": CONNECT_WITHIN_S, **given})
    name = without_password(dsn)
    try:
        with psycopg.connect(bounded, autocommit=True) as connection:
            version_num = connection.info.server_version
            check_not_too_old(version_text(version_num), major_of(version_num))
            superuser = check_role(connection, name)
            pooled = check_pooler(connection, bounded, name)
            database = connection.info.dbname
    except psycopg.Error as error:
        raise ServerError(
            f"cannot use {name}: {scrubbed(error, dsn)}; check host, port, user and password with psql"
        ) from None
    given.pop("dbname", None)
    return Server(
        id=server_id(version_num),
        provider="dsn",
        version=version_text(version_num),
        version_num=version_num,
        conninfo=tuple(given.items()),
        maintenance_database=database,
        local=False,
        superuser=superuser,
        wake_order="dropped",
        durability="default",
        chosen_because=because + (", through a session pooler" if pooled else ""),
    )


def check_role(connection: psycopg.Connection, name: str) -> bool:
    """Whether it is a superuser; refused when it cannot make databases of our own."""
    row = connection.execute(
        """
        SELECT rolname, rolsuper, rolcreatedb, pg_is_in_recovery()
        FROM pg_roles
        WHERE rolname = current_user
        """
    ).fetchone()
    assert row is not None
    role, superuser, may_create, standby = row
    if standby:
        raise ServerError(f"{name} is a read-only standby: expected a server that accepts writes; give the primary")
    if not (superuser or may_create):
        cure = sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(role)).as_string(connection)
        raise ServerError(
            f"role {role} of {name} may not create databases, and the harness works only in databases of its own; "
            f"as a superuser run: {cure}"
        )
    return bool(superuser)


def check_pooler(connection: psycopg.Connection, bounded: str, name: str) -> bool:
    """Whether something sits in between; refused when it hands one backend to several clients.

    Two clients take turns. Behind a transaction pooler one of them gets a backend the other one had, or another than
    before; once one and once two turns a round, so that a round-robin pool of two cannot stay in step with us.
    """
    connection.execute("SET lock_timeout = '12345ms'")
    first = backend(connection)
    direct = first == connection.info.backend_pid
    if direct:
        connection.execute("RESET lock_timeout")
        return False
    with psycopg.connect(bounded, autocommit=True) as other:
        second = backend(other)
        for turn in range(POOLER_ROUNDS):
            others = {backend(other) for _ in range(1 + turn % 2)}
            if first == second or others != {second} or backend(connection) != first:
                raise behind_transaction_pooler(name, "the backend changes between two transactions of one connection")
    kept = connection.execute("SHOW lock_timeout").fetchone()
    if kept != ("12345ms",):
        raise behind_transaction_pooler(name, "a SET does not last to the next transaction")
    connection.execute("RESET lock_timeout")
    return True


def backend(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def behind_transaction_pooler(name: str, seen: str) -> ServerError:
    return ServerError(
        f"{name} is a transaction pooler: {seen}, so sessions cannot be kept apart; give the direct address or the "
        "session port (Supabase: 5432 instead of 6543; Neon: the host without -pooler; PgBouncer: the server behind it)"
    )
