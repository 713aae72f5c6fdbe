"""From statements to diagnoses with repairs: where the doctor asks, and where it tries.

Either a schema is given: it is loaded into a database of our own, which answers and is tried on. Or a server is given
as postgresql://...: somebody's database, in which everything happens in one READ ONLY transaction that plans and reads
catalogues; repairs are tried on a scratch copy on another server, one of ours.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness.doctor import plan, scratch, sources
from harness.doctor.anatomy import Shape, Unreadable, shapes
from harness.doctor.catalogue import Name
from harness.doctor.examine import Examined, examine, upserts
from harness.doctor.repairs import with_repairs, without_repairs
from harness.doctor.sources import SourceError
from harness.doctor.statement import Statement
from harness.servers import choose, dsn
from harness.servers.databases import own_database
from harness.servers.embedded import WHEEL_MAJORS
from harness.servers.server import Server, ServerError, check_not_too_old, major_of, one_line, version_text


@dataclass(frozen=True, slots=True)
class Consultation:
    """What was asked, where, and what was found."""

    server: str  # how it is described, without a password
    version: str
    examined: tuple[Examined, ...]
    statements: int  # how many there were, upserts or not


Connection = psycopg.Connection[Any]


def consult(
    statements: Sequence[Statement],
    *,
    server: str = "auto",
    schema: Sequence[str] = (),
    search_path: str | None = None,
    rate: float = 10.0,
    repairs: bool = True,
    also: Callable[[Connection], Iterable[Statement]] | None = None,
    then: Callable[[Connection], None] | None = None,
) -> Consultation:
    """Examines the statements, and those that `also` finds on the server (pg_stat_statements, say).

    `then` is called with a database of our own that has the schema in it: the loaded one, or the scratch copy.
    Raises ServerError, and SourceError for a schema that cannot be loaded.
    """
    parsed, because = choose.settled(server)
    wanted = _Wanted(search_path, rate, repairs, also, then)
    if schema:
        return _on_schema(statements, server, schema, wanted)
    if parsed.provider != "dsn":
        raise ServerError(
            "nothing to examine against: expected --schema FILE (or a folder of migrations), or --server "
            f"postgresql://... with the tables, found --server {parsed} ({because}) and no --schema"
        )
    return _on_live(statements, parsed.detail, wanted)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What `consult` was asked to do."""

    search_path: str | None
    rate: float
    repairs: bool
    also: Callable[[Connection], Iterable[Statement]] | None
    then: Callable[[Connection], None] | None

    def every(self, statements: Sequence[Statement], connection: Connection) -> list[Statement]:
        return [*statements, *(self.also(connection) if self.also is not None else ())]


def upserting(statements: Sequence[Statement]) -> bool:
    """Whether any of them is worth starting a server for: one that upserts, or cannot be read."""
    return any(parts is None or any(map(upserts, parts)) for parts in map(_shapes, statements))


def _shapes(statement: Statement) -> tuple[Shape, ...] | None:
    try:
        return shapes(statement.sql)
    except Unreadable:
        return None


def _on_schema(statements: Sequence[Statement], spec: str, schema: Sequence[str], wanted: _Wanted) -> Consultation:
    with choose.running(spec) as server, _own(server) as connection:
        sources.load_schema(connection, schema)
        connection.execute("RESET search_path")  # a pg_dump sets it to nothing
        if wanted.search_path is not None:
            _set(connection, wanted.search_path)
        plan.begin(connection, read_only=False)
        every = wanted.every(statements, connection)
        found = examine(connection, every, rate=wanted.rate)
        connection.execute("ROLLBACK")
        found = with_repairs(connection, found) if wanted.repairs else found
        if wanted.then is not None:
            wanted.then(connection)
        return Consultation(server.describe(), server.version, tuple(found), len(every))


def _on_live(statements: Sequence[Statement], address: str, wanted: _Wanted) -> Consultation:
    name = dsn.without_password(address)
    with _live(address) as connection:
        version = connection.info.server_version
        try:
            plan.begin(connection, read_only=True, search_path=wanted.search_path)
            every = wanted.every(statements, connection)
            found = examine(connection, every, rate=wanted.rate)
            proposed = wanted.repairs and any(one.proposals for each in found for one in each.diagnoses)
            if proposed or wanted.then is not None:
                # A scenario may be one of statements that do not upsert.
                concerned = every if wanted.then is not None else [one.statement for one in found]
                found = _tried_on_copy(connection, found, concerned, wanted)
        except psycopg.Error as error:
            raise ServerError(f"cannot ask {name}: {dsn.scrubbed(error, address)}") from None
    described = f"{name}, PostgreSQL {version_text(version)}, read only"
    return Consultation(described, version_text(version), tuple(found), len(every))


def _tried_on_copy(
    live: Connection, found: Sequence[Examined], concerned: Sequence[Statement], wanted: _Wanted
) -> list[Examined]:
    """The repairs, tried on a copy of the tables concerned. Where none can be made, no repair is shown, and why."""
    path = live.execute("SHOW search_path").fetchone()
    tried = list(found)
    try:
        with choose.running(_nearest(live.info.server_version)) as server, _own(server) as connection:
            # First, since definitions name what it leads to without a schema. $user is another one here.
            _set(connection, wanted.search_path or (path or ("",))[0])
            failed = scratch.copy(live, connection, _names(concerned))
            if wanted.repairs:
                tried = with_repairs(connection, found)
            if wanted.then is not None:
                wanted.then(connection)
    except ServerError as error:
        if wanted.then is not None:
            raise
        return without_repairs(found, f"there is no server for a scratch copy: {one_line(error)}")
    if not failed:
        return tried
    reason = f"the scratch copy is incomplete ({failed[0]})"
    return [
        one if not any(each.untried for each in one.diagnoses) else without_repairs([one], reason)[0] for one in tried
    ]


def _set(connection: Connection, search_path: str) -> None:
    try:
        connection.execute("SELECT set_config('search_path', %s, false)", (search_path,))
    except psycopg.Error as error:
        raise SourceError(
            f"search_path {search_path!r}: {one_line(error)}; expected names with commas between"
        ) from None


def _nearest(version_num: int) -> str:
    """A server of ours, of the version nearest to theirs."""
    major = major_of(version_num)
    return f"embedded:{min(WHEEL_MAJORS, key=lambda one: (abs(int(one) - major), one))}"


def _names(statements: Sequence[Statement]) -> list[Name]:
    return [(shape.schema, shape.table) for one in statements for shape in _shapes(one) or ()]


@contextlib.contextmanager
def _own(server: Server) -> Iterator[Connection]:
    with (
        own_database(server, label="doctor") as name,
        psycopg.connect(server.dsn(name), autocommit=True) as connection,
    ):
        yield connection


@contextlib.contextmanager
def _live(address: str) -> Iterator[Connection]:
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
