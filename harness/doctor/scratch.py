"""A scratch copy of the tables concerned, made from the catalogues of a database that must not be written to.

Copied is what a plan and a repair can depend on: columns, defaults, sequences, constraints and indexes, partitions and
parents, row-level security; types and functions of the user's own. Not copied: rows, foreign keys, triggers, views.
What the scratch server cannot make (an extension it does not have) is left out, and told.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from harness.doctor.catalogue import Catalogue, Column, Name, Table, read
from harness.scenario.lexer import quoted
from harness.servers.server import one_line

# In dependency order. Nothing that belongs to an extension: CREATE EXTENSION makes it.
_SURROUNDINGS = """
WITH own AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND nspname NOT LIKE 'pg\\_%%'
)
SELECT ddl FROM (
    SELECT 0 AS rank, 0::bigint AS oid, format('CREATE SCHEMA IF NOT EXISTS %%I', nspname) AS ddl FROM own
    UNION ALL
    SELECT 1, e.oid, format('CREATE EXTENSION IF NOT EXISTS %%I SCHEMA %%I', extname, nspname)
    FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = extnamespace
    WHERE extname <> 'plpgsql'
    UNION ALL
    SELECT 2, t.oid, format('CREATE TYPE %%I.%%I AS ENUM (%%s)', nspname, typname,
        (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid))
    FROM pg_type AS t JOIN own ON own.oid = typnamespace
    WHERE typtype = 'e'
      AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = t.oid AND deptype = 'e')
    UNION ALL
    SELECT 3, t.oid, format('CREATE DOMAIN %%I.%%I AS %%s %%s', nspname, typname, format_type(typbasetype, typtypmod),
        (SELECT string_agg(pg_get_constraintdef(oid), ' ') FROM pg_constraint WHERE contypid = t.oid AND contype = 'c'))
    FROM pg_type AS t JOIN own ON own.oid = typnamespace
    WHERE typtype = 'd'
      AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = t.oid AND deptype = 'e')
    UNION ALL
    SELECT 4, p.oid, pg_get_functiondef(p.oid)
    FROM pg_proc AS p JOIN own ON own.oid = pronamespace JOIN pg_language AS l ON l.oid = prolang
    WHERE prokind = 'f' AND lanname IN ('sql', 'plpgsql')
      AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
) AS surroundings
ORDER BY rank, oid
"""


def copy(source: psycopg.Connection[Any], scratch: psycopg.Connection[Any], names: Sequence[Name]) -> list[str]:
    """Makes the tables with these names in the scratch database; what could not be made, and why.

    Reads the source; both connections in autocommit mode or in a transaction of the caller's. Raises psycopg.Error
    where the source cannot be read.
    """
    found = read(source, names)
    surroundings = [row[0] for row in source.execute(_SURROUNDINGS.replace("%%", "%").encode()).fetchall()]
    scratch.execute("SET check_function_bodies = off")
    failed = []
    for command in (*surroundings, *ddl(found)):
        try:
            scratch.execute(command.encode())
        except psycopg.Error as error:
            failed.append(f"{one_line(command)[:60]}: {one_line(error)}")
    scratch.execute("RESET check_function_bodies")
    return failed


def ddl(found: Catalogue) -> Iterator[str]:
    """The commands that make the catalogue's tables anew, in an order that works."""
    tables = sorted(
        (t for t in found.tables.values() if t.kind in "rp"), key=lambda table: (len(table.parents), table.oid)
    )
    for schema in dict.fromkeys(table.schema for table in tables):
        yield f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}"
    for table in tables:
        for column in table.columns:
            if column.sequence is not None and not column.identity:
                yield f"CREATE SEQUENCE IF NOT EXISTS {column.sequence.name}"
    for table in tables:
        yield _table(table, found)
        for column in table.columns:
            if column.sequence is not None and not column.identity:  # as serial makes it: what it is to a scenario
                yield f"ALTER SEQUENCE {column.sequence.name} OWNED BY {table.written}.{quoted(column.name)}"
    for table in tables:
        yield from _indexes(table)
        yield from _row_security(table)


def _table(table: Table, found: Catalogue) -> str:
    parents = [found.tables[oid].written for oid in table.parents if oid in found.tables]
    if table.bound is not None and parents:
        key = f" PARTITION BY {table.partition_key}" if table.partition_key else ""
        return f"CREATE TABLE {table.written} PARTITION OF {parents[0]} {table.bound}{key}"
    columns = ", ".join(_column(column) for column in table.columns)
    inherits = f" INHERITS ({', '.join(parents)})" if parents else ""
    key = f" PARTITION BY {table.partition_key}" if table.partition_key else ""
    return f"CREATE TABLE {table.written} ({columns}){inherits}{key}"


def _column(column: Column) -> str:
    words = [quoted(column.name), column.type]
    if column.collation:
        words.append(f"COLLATE {column.collation}")
    if column.identity:
        words.append(f"GENERATED {'ALWAYS' if column.identity == 'a' else 'BY DEFAULT'} AS IDENTITY")
    elif column.generated is not None:
        words.append(f"GENERATED ALWAYS AS ({column.generated}) STORED")
    elif column.default is not None:
        words.append(f"DEFAULT {column.default}")
    if column.not_null:
        words.append("NOT NULL")
    return " ".join(words)


def _indexes(table: Table) -> Iterator[str]:
    for index in table.indexes:
        if index.inherited:
            continue
        if index.constraint is not None:
            yield f"ALTER TABLE {table.written} ADD CONSTRAINT {quoted(index.constraint)} {index.constraint_definition}"
        else:
            yield index.definition.replace(" ON ONLY ", " ON ", 1)
        if not index.valid:  # the scratch server is ours, and we are superuser there
            name = sql.Literal(f"{quoted(table.schema)}.{quoted(index.name)}").as_string()
            yield f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = {name}::regclass"


def _row_security(table: Table) -> Iterator[str]:
    if not table.row_security:
        return
    yield f"ALTER TABLE {table.written} ENABLE ROW LEVEL SECURITY"
    for role in sorted({role for policy in table.policies for role in policy.roles} - {"public"}):
        literal = sql.Literal(role).as_string()
        yield (
            f"DO $do$ BEGIN IF to_regrole({sql.Literal(quoted(role)).as_string()}) IS NULL THEN EXECUTE "
            f"format('CREATE ROLE %I', {literal}); END IF; END $do$"
        )
    commands = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}
    for policy in table.policies:
        roles = ", ".join(role if role == "public" else quoted(role) for role in policy.roles)
        using = f" USING ({policy.using})" if policy.using else ""
        check = f" WITH CHECK ({policy.check})" if policy.check else ""
        kind = "PERMISSIVE" if policy.permissive else "RESTRICTIVE"
        yield (
            f"CREATE POLICY {quoted(policy.name)} ON {table.written} AS {kind} FOR {commands[policy.command]} TO "
            f"{roles}{using}{check}"
        )
