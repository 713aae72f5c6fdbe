"""What a cause must know besides the trace: the indexes of the tables, the bodies of functions, the doctor's word.

Asked once for a scenario's layout, of a database made for it on a server of the run.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import psycopg

from harness.doctor import catalogue, plan
from harness.doctor.catalogue import Index
from harness.doctor.examine import Examined, examine
from harness.doctor.repairs import with_repairs
from harness.doctor.sources.placeholders import numbered
from harness.doctor.sources.text import Source
from harness.doctor.statement import Statement
from harness.scenario.language import Scenario
from harness.scenario.parameters import Identity
from harness.servers.databases import own_database
from harness.servers.server import Server


def nobody(sql: str) -> Examined | None:
    return None


@dataclass(frozen=True, slots=True)
class Ground:
    indexes: Mapping[str, tuple[Index, ...]] = field(
        default_factory=dict
    )  # table, as written and bare: its unique ones
    functions: Mapping[str, str] = field(default_factory=dict)  # name -> body
    identities: tuple[Identity, ...] = ()
    layouts: Mapping[str, str] = field(default_factory=dict)  # the scenario's, as written
    examined: Callable[[str], Examined | None] = nobody  # what the doctor says of a statement, repairs tried


_FUNCTIONS = """
SELECT p.proname, p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = p.oid AND e.deptype = 'e')"""
_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"""


@contextmanager
def ground(server: Server, scenario: Scenario, layout: str) -> Iterator[Ground]:
    """For as long as the block lasts: the doctor is asked when a cause needs it. Raises ServerError."""
    with (
        own_database(server, label=f"{scenario.name} {layout} hints") as database,
        psycopg.connect(server.dsn(database), autocommit=True, prepare_threshold=None) as connection,
    ):
        ddl = [f"CREATE SCHEMA IF NOT EXISTS {name}" for name in scenario.schemas]
        ddl += [f"CREATE EXTENSION IF NOT EXISTS {name}" for name in scenario.extensions]
        for command in (*ddl, scenario.tables, scenario.layouts[layout]):
            if command.strip():
                connection.execute(command.encode())

        @lru_cache
        def examined(sql: str) -> Examined | None:
            return _examined(connection, sql)

        names = connection.execute(_TABLES.encode()).fetchall()
        found = catalogue.read(connection, [(schema, name) for schema, name in names])
        indexes: dict[str, tuple[Index, ...]] = {}
        for table in found.tables.values():
            unique = tuple(index for index in table.indexes if index.unique and index.valid)
            indexes[f"{table.schema}.{table.name}"] = indexes[table.name] = unique
        functions: dict[str, str] = dict(connection.execute(_FUNCTIONS.encode()).fetchall())
        yield Ground(indexes, functions, scenario.identity, scenario.layouts, examined)


def _examined(connection: psycopg.Connection[tuple[object, ...]], sql: str) -> Examined | None:
    """None for a statement that does not upsert."""
    asked = numbered(Source("", sql).whole())
    statement = Statement("", 1, 1, sql, asked.sql, asked.parameters)
    try:
        plan.begin(connection, read_only=False)
        found = examine(connection, [statement])
    finally:
        connection.execute("ROLLBACK")
    return next(iter(with_repairs(connection, found)), None)
