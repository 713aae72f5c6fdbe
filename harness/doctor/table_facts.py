"""A table as the catalogue has it, written as DDL for a scenario: read only, on whichever server it is."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from harness.doctor.parts import TranslationError
from harness.doctor.plan import arbiters_in
from harness.scenario.lexer import quoted


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str  # as format_type writes it
    base: str  # the type's own name: int4, text, uuid; of a domain what it is made of
    length: int | None  # of varchar(n), char(n)
    not_null: bool
    default: str
    generated: str  # the expression of which the server makes it, whatever is inserted
    filled: bool  # identity or default: need not be given

    @property
    def plain_type(self) -> str:
        return {"smallserial": "smallint", "serial": "int", "bigserial": "bigint"}.get(self.type, self.type)


@dataclass(frozen=True, slots=True)
class Index:
    """A unique index. `keys` are columns or expressions, as the server writes them."""

    name: str
    keys: tuple[str, ...]
    predicate: str
    nulls_distinct: bool
    primary: bool
    ddl: str


@dataclass(frozen=True, slots=True)
class Table:
    name: str  # quoted, and qualified where it is not in `public`
    schema: str
    columns: tuple[Column, ...]
    checks: tuple[str, ...]
    indexes: tuple[Index, ...]
    before: tuple[str, ...]  # types, sequences and functions it is made with
    extensions: tuple[str, ...]
    left_out: tuple[str, ...]  # what a scenario of one table cannot have: foreign keys, triggers...
    labels: Mapping[str, tuple[str, ...]]  # of the enums that its columns are

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def ddl(self, *, without: Index | None) -> str:
        """CREATE TABLE in aligned columns, with its primary key unless that is the index `without`."""
        primary = next((index for index in self.indexes if index.primary and index != without), None)
        lines = [(column.name, f"{self._column(column, primary)}") for column in self.columns]
        width = max(len(quoted(name)) for name, _ in lines) + 2
        body = [f"    {quoted(name):<{width}}{rest}" for name, rest in lines]
        body += [f"    {check}" for check in self.checks]
        if primary is not None and len(primary.keys) > 1:
            body.append(f"    PRIMARY KEY ({', '.join(primary.keys)})")
        made = "".join(f"{statement};\n" for statement in self.before)
        return f"{made}CREATE TABLE {self.name} (\n" + ",\n".join(body) + "\n)"

    def _column(self, column: Column, primary: Index | None) -> str:
        key = primary is not None and primary.keys == (quoted(column.name),)
        serial = re.fullmatch(r"(?:small|big)?serial", column.type)
        not_null = column.not_null and not key and not serial
        parts = [column.type, "PRIMARY KEY" if key else "", "NOT NULL" if not_null else "", column.default]
        if column.default.startswith("GENERATED"):
            parts = [column.type, column.default, *parts[1:3]]
        return " ".join(filter(None, parts))


@contextmanager
def looking(connection: Connection[TupleRow]) -> Iterator[None]:
    """Within it nothing can be written, and afterwards all is as before."""
    with connection.transaction(force_rollback=True):
        connection.execute("SET TRANSACTION READ ONLY")
        yield


def prepared(connection: Connection[TupleRow], sql: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The types of a statement's parameters, and the indexes that arbitrate it: both are what the server says.

    Raises TranslationError for a statement that the server refuses.
    """
    name = "harness_to_scenario"
    try:
        with looking(connection):
            connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            connection.execute(f"PREPARE {name} AS {sql}".encode(), prepare=False)
            row = connection.execute(
                """
                SELECT array(
                    SELECT coalesce(b.typname, t.typname)
                    FROM unnest(parameter_types) WITH ORDINALITY AS p (oid, n)
                    JOIN pg_type AS t ON t.oid = p.oid
                    LEFT JOIN pg_type AS b ON b.oid = nullif(t.typbasetype, 0)
                    ORDER BY n
                )::text[]
                FROM pg_prepared_statements WHERE name = %s
                """,
                (name,),
            ).fetchone()
            types = tuple(row[0]) if row else ()
            nulls = f"({', '.join(['NULL'] * len(types))})" if types else ""
            plan = connection.execute(f"EXPLAIN (FORMAT JSON, COSTS off) EXECUTE {name}{nulls}").fetchone()
            return types, tuple(arbiters_in(plan[0] if plan else None))
    except psycopg.Error as error:
        told = error.diag.message_primary or str(error)
        raise TranslationError(
            f"the server refuses it: {error.sqlstate} {told}: what it must mean is not known"
        ) from None
    finally:
        if not connection.closed:
            _forget(connection, name)


def _forget(connection: Connection[TupleRow], name: str) -> None:
    with looking(connection):
        if connection.execute("SELECT FROM pg_prepared_statements WHERE name = %s", (name,)).fetchone() is not None:
            connection.execute(f"DEALLOCATE {name}".encode())  # no transaction brings it back


def table_facts(connection: Connection[TupleRow], written: str) -> Table:
    """The table that a statement names. Raises TranslationError for what is no plain table."""
    with looking(connection):
        row = connection.execute(
            """
            SELECT c.oid, c.relkind::text, n.nspname, c.relispartition OR EXISTS (
                SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent)
            )
            FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE c.oid = to_regclass(%s)
            """,
            (written,),
        ).fetchone()
        if row is None:
            raise TranslationError(f"table {written} is not there")
        oid, kind, schema, inherits = row
        if kind != "r" or inherits:
            raise TranslationError(
                f"{written} is no plain table (a view, partitioned or inheriting): not translated yet"
            )
        # Names come out qualified unless they are where a scenario's are.
        connection.execute("SET LOCAL search_path = public")
        (name,) = _one(connection, "SELECT %s::regclass::text", oid)
        made = Table(
            name,
            schema,
            tuple(_columns(connection, oid)),
            tuple(text for (text,) in connection.execute(_CHECKS, (oid,))),
            tuple(
                Index(name, tuple(keys), predicate or "", distinct, primary, ddl.replace(" USING btree", ""))
                for name, keys, predicate, distinct, primary, ddl in _indexes(connection, oid)
            ),
            tuple(text for (text,) in connection.execute(_MADE_WITH, {"oid": oid})),
            tuple(text for (text,) in connection.execute(_EXTENSIONS, {"oid": oid})),
            tuple(text for (text,) in connection.execute(_LEFT_OUT, {"oid": oid})),
            {kind: tuple(labels) for kind, labels in connection.execute(_LABELS, (oid,))},
        )
    if any(re.search(r"\bnextval\(", column.default) for column in made.columns):
        raise TranslationError(f"{name} draws numbers from a sequence that it does not own: not translated yet")
    return made


def holds(connection: Connection[TupleRow], condition: str) -> bool:
    """Whether a condition without parameters is true."""
    with looking(connection):
        (answer,) = _one(connection, f"SELECT ({condition}) IS TRUE")
    return bool(answer)


def _one(connection: Connection[TupleRow], query: str, *parameters: object) -> TupleRow:
    row = connection.execute(query.encode(), parameters or None).fetchone()
    assert row is not None
    return row


def _columns(connection: Connection[TupleRow], oid: int) -> Iterator[Column]:
    for name, kind, base, modifier, not_null, default, identity, generated, serial in connection.execute(
        _COLUMNS, (oid,)
    ):
        shown, stands = kind, ""
        if serial:
            shown = {"int2": "smallserial", "int8": "bigserial"}.get(base, "serial")
        elif identity:
            stands = f"GENERATED {'ALWAYS' if identity == 'a' else 'BY DEFAULT'} AS IDENTITY"
        elif generated:
            stands = f"GENERATED ALWAYS AS ({default}) {'STORED' if generated == 's' else 'VIRTUAL'}"
        elif default:
            stands = f"DEFAULT {default}"
        length = modifier - 4 if base in ("varchar", "bpchar") and modifier > 4 else None
        filled = bool(serial or identity or generated or default)
        yield Column(name, _short(shown), base, length, not_null, stands, default if generated else "", filled)


def _indexes(connection: Connection[TupleRow], oid: int) -> Sequence[TupleRow]:
    return connection.execute(_INDEXES, (oid,)).fetchall()


_SHORT = {
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "character varying": "varchar",
    "integer": "int",
}


def _short(kind: str) -> str:
    """As people write it."""
    for long, short in _SHORT.items():
        kind = re.sub(rf"^{long}\b", short, kind)
    return kind


_COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(b.typname, t.typname), a.atttypmod, a.attnotnull,
           pg_get_expr(d.adbin, d.adrelid, true), nullif(a.attidentity::text, ''), nullif(a.attgenerated::text, ''),
           d.oid IS NOT NULL AND a.attidentity = '' AND EXISTS (
               SELECT FROM pg_depend AS s
               JOIN pg_class AS q ON q.oid = s.objid AND q.relkind = 'S'
               WHERE s.classid = 'pg_class'::regclass AND s.refclassid = 'pg_class'::regclass
                 AND s.refobjid = a.attrelid AND s.refobjsubid = a.attnum AND s.deptype = 'a'
           )
    FROM pg_attribute AS a
    JOIN pg_type AS t ON t.oid = a.atttypid
    LEFT JOIN pg_type AS b ON b.oid = nullif(t.typbasetype, 0)
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
_CHECKS = """
    SELECT pg_get_constraintdef(oid, true) FROM pg_constraint WHERE conrelid = %s AND contype = 'c' ORDER BY conname
"""
_INDEXES = """
    SELECT x.relname,
           array(SELECT pg_get_indexdef(i.indexrelid, n, true) FROM generate_series(1, i.indnkeyatts) AS n ORDER BY n),
           pg_get_expr(i.indpred, i.indrelid, true),
           NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false),
           i.indisprimary,
           CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.indexrelid, 0, true)
                ELSE format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s',
                            c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid, true)) END
    FROM pg_index AS i
    JOIN pg_class AS x ON x.oid = i.indexrelid
    LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = %s AND (i.indisunique OR i.indisexclusion) AND i.indisvalid
    ORDER BY i.indisprimary DESC, x.relname
"""
# What the table, its defaults, checks and indexes need: types and functions, and which extension made them, if any.
_NEEDED = """
    WITH RECURSIVE part AS (
        SELECT 'pg_class'::regclass::oid AS class, %(oid)s::oid AS id
        UNION SELECT 'pg_class'::regclass, indexrelid FROM pg_index WHERE indrelid = %(oid)s
        UNION SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = %(oid)s
        UNION SELECT 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'c'
    ), needed AS (
        SELECT class, id FROM part
        UNION
        SELECT d.refclassid, d.refobjid
        FROM needed AS n
        JOIN pg_depend AS d ON d.classid = n.class AND d.objid = n.id
        WHERE d.refclassid IN ('pg_type'::regclass, 'pg_proc'::regclass, 'pg_opclass'::regclass)
    ), made AS (
        SELECT n.class, n.id, e.extname
        FROM needed AS n
        LEFT JOIN pg_depend AS d ON d.classid = n.class AND d.objid = n.id AND d.deptype = 'e'
        LEFT JOIN pg_extension AS e ON e.oid = d.refobjid
    )
"""
_EXTENSIONS = (
    f"{_NEEDED} SELECT DISTINCT extname FROM made WHERE extname IS NOT NULL AND extname <> 'plpgsql' ORDER BY 1"
)
_MADE_WITH = f"""{_NEEDED}
    SELECT text FROM (
        SELECT 1 AS rank, format('CREATE TYPE %%s AS ENUM (%%s)', format_type(t.oid, NULL), (
            SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum
            WHERE enumtypid = t.oid
        )) AS text
        FROM made JOIN pg_type AS t ON made.class = 'pg_type'::regclass AND t.oid = made.id
        WHERE extname IS NULL AND t.typtype = 'e'
        UNION ALL
        SELECT 2, concat_ws(' ',
            'CREATE DOMAIN', format_type(t.oid, NULL), 'AS', format_type(t.typbasetype, t.typtypmod),
            CASE WHEN t.typnotnull THEN 'NOT NULL' END,
            (SELECT string_agg(pg_get_constraintdef(c.oid, true), ' ') FROM pg_constraint AS c
             WHERE contypid = t.oid AND contype = 'c'))
        FROM made JOIN pg_type AS t ON made.class = 'pg_type'::regclass AND t.oid = made.id
        WHERE extname IS NULL AND t.typtype = 'd'
        UNION ALL
        SELECT 3, rtrim(pg_get_functiondef(p.oid), E'\\n')
        FROM made JOIN pg_proc AS p ON made.class = 'pg_proc'::regclass AND p.oid = made.id
        WHERE extname IS NULL AND p.prokind = 'f' AND p.pronamespace <> 'pg_catalog'::regnamespace
    ) AS made_with ORDER BY rank, text
"""
_LEFT_OUT = """
    SELECT 'foreign key ' || conname FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'f'
    UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid = %(oid)s AND NOT tgisinternal
    UNION ALL SELECT 'rule ' || rulename FROM pg_rewrite WHERE ev_class = %(oid)s
    UNION ALL SELECT 'row-level security' FROM pg_class WHERE oid = %(oid)s AND relrowsecurity
"""
_LABELS = """
    SELECT t.typname, array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
    FROM pg_attribute AS a
    JOIN pg_type AS t ON t.oid = a.atttypid
    JOIN pg_enum AS e ON e.enumtypid = t.oid
    WHERE a.attrelid = %s AND a.attnum > 0
    GROUP BY a.attnum, t.typname
"""
