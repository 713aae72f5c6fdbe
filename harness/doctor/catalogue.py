"""What the catalogues say of the tables concerned, read once, as plain values.

Definitions are the server's: pg_get_indexdef, pg_get_expr, pg_get_constraintdef, pg_get_partkeydef, pg_get_ruledef
(functions-info, chapter 9.27). Nothing here decides what the server would infer; plan.py asks it that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from harness.scenario.lexer import normal, quoted, unwrapped

Name = tuple[str | None, str]
"""A table as a statement names it: schema or None, name."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key column of an index."""

    text: str  # as the index defines it, without collation and operator class
    column: str | None
    collation: str | None  # where it is not the column's own
    opclass: str | None  # where it is not the type's default
    nullable: bool  # a column without NOT NULL, or an expression


@dataclass(frozen=True, slots=True)
class Index:
    oid: int
    name: str
    unique: bool
    primary: bool
    exclusion: bool
    immediate: bool  # false: DEFERRABLE
    valid: bool
    nulls_distinct: bool
    predicate: str | None
    keys: tuple[Key, ...]
    constraint: str | None
    constraint_definition: str | None
    definition: str
    inherited: bool  # of a partition, made with that of its parent

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The key columns; None where an expression is among them."""
        columns = tuple(key.column for key in self.keys if key.column is not None)
        return columns if len(columns) == len(self.keys) else None

    @property
    def shown(self) -> str:
        """The key as a person reads it: `(student_id, course_id) WHERE is_active`."""
        return self.target if self.predicate is None else f"{self.target} WHERE {unwrapped(self.predicate)}"

    @property
    def target(self) -> str:
        return "(" + ", ".join(spelled(key) for key in self.keys) + ")"

    @property
    def key_set(self) -> frozenset[str]:
        return frozenset(normal(key.text) for key in self.keys)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The sequence behind a column's default."""

    name: str
    last: int | None  # None: never used, or not ours to see
    most: int  # the last value the column can hold, or the sequence's own end


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    not_null: bool
    default: str | None
    identity: str  # '', 'a' (always), 'd' (by default)
    generated: str | None  # its expression
    collation: str | None  # where it is not the type's own
    sequence: Numbers | None

    @property
    def made_by_server(self) -> bool:
        """Whether a row that does not mention it gets a value nobody else has: a serial, an identity, a random uuid."""
        random = self.default is not None and "uuid" in self.default and "(" in self.default
        return self.sequence is not None or bool(self.identity) or random


@dataclass(frozen=True, slots=True)
class Trigger:
    name: str
    before: bool
    instead: bool
    row: bool
    insert: bool
    update: bool
    function: str


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    command: str  # 'r', 'a', 'w', 'd', '*'
    permissive: bool
    roles: tuple[str, ...]
    using: str | None
    check: str | None


@dataclass(frozen=True, slots=True)
class Table:
    oid: int
    schema: str
    name: str
    kind: str  # pg_class.relkind: r, p (partitioned), v (view), f (foreign)
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    triggers: tuple[Trigger, ...]
    rules: tuple[str, ...]  # definitions of INSERT and UPDATE rules
    row_security: bool
    policies: tuple[Policy, ...]
    partition_key: str | None
    bound: str | None  # of a partition: FOR VALUES ...
    parents: tuple[int, ...]
    children: tuple[int, ...]
    base: int | None  # of a view on one table: that table

    @property
    def written(self) -> str:
        """The name as a repair must write it."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def shown(self) -> str:
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    def index(self, name: str) -> Index | None:
        return next((index for index in self.indexes if index.name == name), None)

    @property
    def uniques(self) -> tuple[Index, ...]:
        """Those that refuse rows: unique or exclusion, and valid."""
        return tuple(index for index in self.indexes if (index.unique or index.exclusion) and index.valid)


@dataclass(frozen=True, slots=True)
class Catalogue:
    version_num: int
    tables: Mapping[int, Table]
    resolved: Mapping[Name, int]
    search_path: tuple[str, ...]

    @property
    def major(self) -> int:
        return self.version_num // 10_000

    def table(self, schema: str | None, name: str) -> Table | None:
        oid = self.resolved.get((schema, name))
        return None if oid is None else self.tables.get(oid)

    def namesakes(self, table: Table) -> tuple[Table, ...]:
        """Tables of the same name in other schemas."""
        return tuple(
            other for other in self.tables.values() if other.name == table.name and other.schema != table.schema
        )


def spelled(key: Key) -> str:
    """As a conflict target or an index definition must write it."""
    text = key.text
    if key.collation:
        text += f" COLLATE {key.collation}"
    return f"{text} {key.opclass}" if key.opclass else text


def read(connection: psycopg.Connection[Any], names: Sequence[Name]) -> Catalogue:
    """Of the tables with these names in whatever schema, of their direct parents and their direct children.

    Raises psycopg.Error, as for a schema that the role may not look into.
    """
    distinct = list(dict.fromkeys(names))
    resolved = connection.execute(
        "SELECT current_schemas(false)::text[], array(SELECT to_regclass(name)::oid::bigint FROM unnest(%s::text[]) "
        "WITH ORDINALITY AS asked(name, n) ORDER BY n)",
        ([".".join(quoted(part) for part in name if part is not None) for name in distinct],),
    ).fetchone()
    rows = connection.execute(_TABLES.encode(), ([name for _, name in distinct],)).fetchall()
    assert resolved is not None
    path, oids = resolved
    return Catalogue(
        version_num=connection.info.server_version,
        tables={row[0]["oid"]: _table(row[0]) for row in rows},
        resolved={name: oid for name, oid in zip(distinct, oids, strict=True) if oid is not None},
        search_path=tuple(path),
    )


def _table(found: Mapping[str, Any]) -> Table:
    columns = tuple(_column(column) for column in found["columns"])
    not_null = {column.name for column in columns if column.not_null}
    return Table(
        **{name: found[name] for name in ("oid", "schema", "name", "kind", "row_security", "partition_key", "bound")},
        columns=columns,
        indexes=tuple(_index(index, not_null) for index in found["indexes"]),
        triggers=tuple(Trigger(**trigger) for trigger in found["triggers"]),
        rules=tuple(found["rules"]),
        policies=tuple(Policy(**{**policy, "roles": tuple(policy["roles"])}) for policy in found["policies"]),
        parents=tuple(found["parents"]),
        children=tuple(found["children"]),
        base=found["base"],
    )


def _column(found: Mapping[str, Any]) -> Column:
    sequence = found["sequence"]
    return Column(**{**found, "sequence": None if sequence is None else Numbers(**sequence)})


def _index(found: Mapping[str, Any], not_null: set[str]) -> Index:
    keys = tuple(
        Key(key["text"], key["column"], key["collation"], key["opclass"], key["column"] not in not_null)
        for key in found["keys"]
    )
    return Index(**{**found, "keys": keys})


# Runs on 13 to 18. indnullsnotdistinct came with 15, hence the detour by to_jsonb.
_TABLES = """
WITH named AS (
    SELECT c.oid
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relname = ANY (%s::text[])
      AND c.relkind IN ('r', 'p', 'v', 'f')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      AND has_schema_privilege(n.oid, 'USAGE')
), bases AS (
    SELECT w.ev_class, min(d.refobjid::bigint)::oid AS oid
    FROM named
    JOIN pg_rewrite AS w ON w.ev_class = named.oid AND w.ev_type = '1'
    JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> w.ev_class
    GROUP BY w.ev_class
    HAVING count(DISTINCT d.refobjid) = 1
), concerned AS (
    SELECT oid FROM named
    UNION SELECT oid FROM bases
    UNION SELECT i.inhparent FROM pg_inherits AS i JOIN named ON i.inhrelid = named.oid
    UNION SELECT i.inhrelid FROM pg_inherits AS i JOIN named ON i.inhparent = named.oid
)
SELECT jsonb_build_object(
    'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind, 'row_security', c.relrowsecurity,
    'base', (SELECT bases.oid::bigint FROM bases WHERE ev_class = c.oid),
    'bound', CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END,
    'partition_key', CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
    'parents', COALESCE((
        SELECT jsonb_agg(inhparent::bigint ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = c.oid), '[]'),
    'children', COALESCE((
        SELECT jsonb_agg(inhrelid::bigint ORDER BY inhrelid) FROM pg_inherits WHERE inhparent = c.oid), '[]'),
    'columns', COALESCE((
        SELECT jsonb_agg(jsonb_build_object(
            'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull,
            'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
            'identity', a.attidentity,
            'generated', CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END,
            'collation', (SELECT format('%%I.%%I', cn.nspname, co.collname)
                FROM pg_collation AS co JOIN pg_namespace AS cn ON cn.oid = co.collnamespace
                WHERE co.oid = a.attcollation
                  AND co.oid <> (SELECT typcollation FROM pg_type WHERE pg_type.oid = a.atttypid)),
            'sequence', (
                SELECT jsonb_build_object(
                    'name', s.seqrelid::regclass::text,
                    'last', CASE WHEN has_sequence_privilege(s.seqrelid, 'SELECT,USAGE')
                        THEN pg_sequence_last_value(s.seqrelid) END,
                    'most', LEAST(s.seqmax, CASE a.atttypid
                        WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
                        ELSE 9223372036854775807 END))
                FROM pg_depend AS p
                JOIN pg_sequence AS s ON s.seqrelid = CASE p.classid
                    WHEN 'pg_attrdef'::regclass THEN p.refobjid ELSE p.objid END
                WHERE (p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refclassid = 'pg_class'::regclass)
                   OR (p.classid = 'pg_class'::regclass AND p.refclassid = 'pg_class'::regclass AND p.refobjid = c.oid
                       AND p.refobjsubid = a.attnum AND p.deptype = 'i')
                LIMIT 1)
        ) ORDER BY a.attnum)
        FROM pg_attribute AS a
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
    'indexes', COALESCE((
        SELECT jsonb_agg(jsonb_build_object(
            'oid', x.indexrelid::bigint, 'name', ic.relname, 'unique', x.indisunique, 'primary', x.indisprimary,
            'exclusion', x.indisexclusion, 'immediate', x.indimmediate, 'valid', x.indisvalid AND x.indisready,
            'nulls_distinct', NOT COALESCE((to_jsonb(x) ->> 'indnullsnotdistinct')::boolean, false),
            'predicate', pg_get_expr(x.indpred, x.indrelid),
            'constraint', (SELECT conname FROM pg_constraint
                WHERE conindid = x.indexrelid AND conrelid = c.oid AND contype IN ('p', 'u', 'x') LIMIT 1),
            'constraint_definition', (SELECT pg_get_constraintdef(oid) FROM pg_constraint
                WHERE conindid = x.indexrelid AND conrelid = c.oid AND contype IN ('p', 'u', 'x') LIMIT 1),
            'definition', pg_get_indexdef(x.indexrelid),
            'inherited', EXISTS (SELECT FROM pg_inherits WHERE inhrelid = x.indexrelid),
            'keys', (
                SELECT jsonb_agg(jsonb_build_object(
                    'text', pg_get_indexdef(x.indexrelid, k, false),
                    'column', (SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = x.indkey[k - 1]
                        AND attnum > 0),
                    'collation', (
                        SELECT CASE WHEN cn.nspname <> 'pg_catalog' THEN quote_ident(cn.nspname) || '.' ELSE '' END
                            || quote_ident(co.collname)
                        FROM pg_collation AS co JOIN pg_namespace AS cn ON cn.oid = co.collnamespace
                        WHERE co.oid = x.indcollation[k - 1]
                          AND co.oid <> COALESCE(NULLIF((
                              SELECT attcollation FROM pg_attribute
                              WHERE attrelid = c.oid AND attnum = x.indkey[k - 1] AND attnum > 0
                          ), 0), 'default'::regcollation)),
                    'opclass', (
                        SELECT quote_ident(oc.opcname) FROM pg_opclass AS oc
                        WHERE oc.oid = x.indclass[k - 1] AND NOT oc.opcdefault)
                ) ORDER BY k)
                FROM generate_series(1, x.indnkeyatts) AS k)
        ) ORDER BY x.indisprimary DESC, ic.relname)
        FROM pg_index AS x JOIN pg_class AS ic ON ic.oid = x.indexrelid
        WHERE x.indrelid = c.oid AND x.indislive), '[]'),
    'triggers', COALESCE((
        SELECT jsonb_agg(jsonb_build_object(
            'name', t.tgname, 'before', t.tgtype & 2 <> 0, 'instead', t.tgtype & 64 <> 0, 'row', t.tgtype & 1 <> 0,
            'insert', t.tgtype & 4 <> 0, 'update', t.tgtype & 16 <> 0, 'function', t.tgfoid::regproc::text
        ) ORDER BY t.tgname)
        FROM pg_trigger AS t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')), '[]'),
    'rules', COALESCE((
        SELECT jsonb_agg(pg_get_ruledef(r.oid) ORDER BY r.rulename)
        FROM pg_rewrite AS r
        WHERE r.ev_class = c.oid AND r.ev_type IN ('2', '3') AND r.ev_enabled <> 'D'), '[]'),
    'policies', COALESCE((
        SELECT jsonb_agg(jsonb_build_object(
            'name', p.polname, 'command', p.polcmd, 'permissive', p.polpermissive,
            'roles', (
                SELECT COALESCE(
                    jsonb_agg(CASE WHEN role = 0 THEN 'public' ELSE pg_get_userbyid(role)::text END), '[]')
                FROM unnest(p.polroles) AS role),
            'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid)
        ) ORDER BY p.polname)
        FROM pg_policy AS p WHERE p.polrelid = c.oid), '[]')
)
FROM concerned
JOIN pg_class AS c ON c.oid = concerned.oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
"""
