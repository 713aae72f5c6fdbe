"""From statements to diagnoses with repairs: where the doctor asks, and where it tries.

Either a schema is given: it is loaded into a database of our own, which answers and is tried on. Or a server is given
as postgresql://...: somebody's database, in which everything happens in one READ ONLY transaction that plans and reads
catalogues; repairs are tried on a scratch copy on another server, one of ours.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness.doctor import plan, scratch, sources
from harness.doctor.anatomy import shapes
from harness.doctor.catalogue import Name
from harness.doctor.examine import Examined, examine, upserts
from harness.doctor.lexer import Unreadable
from harness.doctor.repairs import with_repairs, without_repairs
from harness.doctor.statement import Statement
from harness.servers import choose, dsn
from harness.servers.databases import own_database
from harness.servers.embedded import WHEEL_MAJORS
from harness.servers.server import Server, ServerError, check_not_too_old, major_of, one_line, version_text


class SchemaError(Exception):
    """The schema cannot be loaded: what the server says."""


@dataclass(frozen=True, slots=True)
class Consultation:
    """What was asked, where, and what was found."""

    server: str  # how it is described, without a password
    version: str
    examined: tuple[Examined, ...]
    statements: int  # how many there were, upserts or not


def consult(
    statements: Sequence[Statement],
    *,
    server: str = "auto",
    schema: Sequence[str] = (),
    search_path: str | None = None,
    rate: float = 10.0,
    repairs: bool = True,
) -> Consultation:
    """Examines the statements. Raises ServerError, SchemaError; psycopg.Error never."""
    parsed, because = choose.settled(server)
    if schema:
        return _on_schema(statements, server, schema, search_path, rate, repairs)
    if parsed.provider != "dsn":
        raise ServerError(
            "nothing to examine against: expected --schema FILE (or a folder of migrations), or --server "
            f"postgresql://... with the tables, found --server {parsed} ({because}) and no --schema"
        )
    return _on_live(statements, parsed.detail, search_path, rate, repairs)


def upserting(statements: Sequence[Statement]) -> bool:
    """Whether any of them is worth starting a server for."""
    for statement in statements:
        try:
            if any(map(upserts, shapes(statement.sql))):
                return True
        except Unreadable:
            return True
    return False


def _on_schema(
    statements: Sequence[Statement],
    spec: str,
    schema: Sequence[str],
    search_path: str | None,
    rate: float,
    repairs: bool,
) -> Consultation:
    with choose.running(spec) as server, _own(server) as connection:
        try:
            sources.load_schema(connection, schema)
            connection.execute("RESET search_path")  # a pg_dump sets it to nothing
            if search_path is not None:
                connection.execute("SELECT set_config('search_path', %s, false)", (search_path,))
        except psycopg.Error as error:
            raise SchemaError(f"{', '.join(schema)}: {one_line(error)}") from None
        found = _examined(connection, statements, rate, read_only=False)
        found = with_repairs(connection, found) if repairs else found
        return Consultation(server.describe(), server.version, tuple(found), len(statements))


def _on_live(
    statements: Sequence[Statement], address: str, search_path: str | None, rate: float, repairs: bool
) -> Consultation:
    name = dsn.without_password(address)
    with _live(address) as connection:
        version = connection.info.server_version
        try:
            found = _examined(connection, statements, rate, read_only=True, search_path=search_path, then_stay=True)
            if repairs and any(one.proposals for each in found for one in each.diagnoses):
                found = _tried_on_copy(connection, found, version, search_path)
        except psycopg.Error as error:
            raise ServerError(f"cannot ask {name}: {dsn.scrubbed(error, address)}") from None
    described = f"{name}, PostgreSQL {version_text(version)}, read only"
    return Consultation(described, version_text(version), tuple(found), len(statements))


def _examined(
    connection: psycopg.Connection[Any],
    statements: Sequence[Statement],
    rate: float,
    *,
    read_only: bool,
    search_path: str | None = None,
    then_stay: bool = False,
) -> list[Examined]:
    plan.begin(connection, read_only=read_only, search_path=search_path)
    found = examine(connection, statements, rate=rate)
    if not then_stay:
        connection.execute("ROLLBACK")
    return found


def _tried_on_copy(
    live: psycopg.Connection[Any], found: Sequence[Examined], version_num: int, search_path: str | None
) -> list[Examined]:
    """The repairs, tried on a copy of the tables concerned. Where none can be made, no repair is shown, and why."""
    path = live.execute("SHOW search_path").fetchone()
    try:
        with choose.running(_nearest(version_num)) as server, _own(server) as connection:
            failed = scratch.copy(live, connection, _names(found))
            # $user is another one here
            connection.execute("SELECT set_config('search_path', %s, false)", (search_path or (path or ("",))[0],))
            tried = with_repairs(connection, found)
    except ServerError as error:
        return without_repairs(found, f"there is no server for a scratch copy: {one_line(error)}")
    if not failed:
        return tried
    reason = f"the scratch copy is incomplete ({failed[0]})"
    return [
        one if not any(each.untried for each in one.diagnoses) else without_repairs([one], reason)[0] for one in tried
    ]


def _nearest(version_num: int) -> str:
    """A server of ours, of the version nearest to theirs."""
    major = major_of(version_num)
    return f"embedded:{min(WHEEL_MAJORS, key=lambda one: (abs(int(one) - major), one))}"


def _names(found: Sequence[Examined]) -> list[Name]:
    return [(shape.schema, shape.table) for one in found if not one.unchecked for shape in shapes(one.statement.sql)]


@contextlib.contextmanager
def _own(server: Server) -> Iterator[psycopg.Connection[Any]]:
    with (
        own_database(server, label="doctor") as name,
        psycopg.connect(server.dsn(name), autocommit=True) as connection,
    ):
        yield connection


@contextlib.contextmanager
def _live(address: str) -> Iterator[psycopg.Connection[Any]]:
    given = {name: str(value) for name, value in conninfo_to_dict(address).items()}
    defaults = {"connect_timeout": dsn.CONNECT_WITHIN_S, "application_name": "upsert-harness doctor"}
    try:
        connection = psycopg.connect(make_conninfo(**{**defaults, **given}), autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        name = dsn.without_password(address)
        raise ServerError(
            f"cannot use {name}: {dsn.scrubbed(error, address)}; check host, port, user and password with psql"
        ) from None
    with connection:
        version = connection.info.server_version
        check_not_too_old(version_text(version), major_of(version))
        standby = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        if standby == (True,):
            raise ServerError(
                f"{dsn.without_password(address)} is a standby, on which no INSERT can be planned; give the primary, "
                "or --schema with a dump (pg_dump -s)"
            )
        yield connection
        if not connection.closed:
            connection.execute("ROLLBACK")
