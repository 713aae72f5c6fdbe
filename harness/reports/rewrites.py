"""What a cause is told as: what to write instead, on the indexes that are there, and which strategies write so."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from harness.doctor.anatomy import Action, Shape, Unreadable, shapes
from harness.doctor.catalogue import Index
from harness.model.advice import Tried
from harness.reports.commands import Command, Story, deeds_of
from harness.reports.ground import Ground
from harness.scenario.lexer import closing, normal, quoted, significant, unwrapped, written

Fits = Callable[[Tried], bool]


@dataclass(frozen=True, slots=True)
class Cause:
    """`fits`: whether a strategy that was tried writes what the rewrite says."""

    name: str
    says: str
    rewrite: str
    fits: Fits


class Clause(NamedTuple):
    """An ON CONFLICT as it stands in a statement."""

    text: str  # from ON to the end of its action
    target: str  # normal; empty where none is named
    action: Action
    returning: bool


class Target(NamedTuple):
    """What an upsert into a table may name: an index that is there, or one that is to be made first."""

    text: str  # (student_id, course_id) WHERE is_active
    columns: tuple[str, ...]
    ddl: str = ""  # to make it


def insert_of(sql: str) -> Shape | None:
    """The first INSERT of a statement."""
    try:
        return next((shape for shape in shapes(sql) if shape.command == "insert"), None)
    except Unreadable:
        return None


def inserted(sql: str) -> str:
    """The table that a statement inserts into, as written; empty where none."""
    shape = insert_of(sql)
    return sql[slice(*shape.written)] if shape is not None else ""


def conflict_of(sql: str) -> Clause | None:
    shape = insert_of(sql)
    if shape is None or shape.conflict is None:
        return None
    conflict = shape.conflict
    target = " ".join(sql[slice(*conflict.target)].split())
    action = " ".join(sql[slice(*conflict.act)].split())
    return Clause(f"ON CONFLICT {target} {action}", normal(target), conflict.action, bool(shape.returning))


def writes_so(table: str, target: str, action: Action | None = None) -> Fits:
    """Strategies that send an INSERT into the table with this conflict target, or with none, which means all."""

    def fits(tried: Tried) -> bool:
        return any(
            (clause := conflict_of(sql)) is not None
            and normal(inserted(sql)) == normal(table)
            and clause.target in ("", target)
            and action in (None, clause.action)
            for sql in tried.statements
        )

    return fits


def target(ground: Ground, table: str) -> Target | None:
    """By the scenario's own identity of a row: the index on it, else another unique one that the caller fills, else
    the index that would have to be made.
    """
    identity = next((one for one in ground.identities if normal(one.table) == normal(table)), None)
    known = [index for index in ground.indexes.get(table, ()) if index.columns is not None and index.immediate]
    by = set(identity.by) if identity is not None else set()
    for index in known:
        if set(index.columns or ()) == by:
            return _of(index)
    if identity is not None:
        keys = f"({', '.join(identity.by)})"
        where = f"{keys} WHERE {identity.live}" if identity.live else keys
        return Target(where, identity.by, f"CREATE UNIQUE INDEX ON {table} {where}")
    return _of(known[0]) if known else None


def _of(index: Index) -> Target:
    where = f" WHERE {unwrapped(index.predicate)}" if index.predicate else ""
    return Target(f"{index.target}{where}", index.columns or ())


def lock_table(table: str) -> tuple[str, Fits]:
    """What holds on any layout, one writer at a time. LOCK TABLE takes no snapshot."""

    def fits(tried: Tried) -> bool:
        return any(
            deed.verb == "lock" and deed.table == table and sql.lstrip()[:4].lower() == "lock"
            for sql in tried.statements
            for deed in deeds_of(sql)
        )

    return f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE before it looks, in the same transaction", fits


def upsert(told: Story, ground: Ground, table: str, insert: Command | None) -> tuple[str, Fits]:
    """One INSERT ... ON CONFLICT in place of the look and the INSERT; where no index can arbitrate, a lock."""
    here, layout = target(ground, table), told.finding.schedule.cell.layout
    if here is None:
        text, fits = lock_table(table)
        return text, lambda tried: tried.cell.layout == layout and fits(tried)
    shape = insert_of(insert.sql) if insert is not None else None
    columns = [name for name in (shape.columns if shape and shape.columns else ()) if name not in here.columns]
    sets = [f"{quoted(name)} = EXCLUDED.{quoted(name)}" for name in columns if name != "id"]
    shown = ", ".join(sets[:2]) + (", ..." if len(sets) > 2 else "") or "..."
    clause = f"ON CONFLICT {here.text} DO UPDATE SET {shown}"
    stays = "DO NOTHING and its row count, where the row that is there is to stay"
    one = f"INSERT INTO {table} ... {clause}\n({stays})"
    writes = writes_so(table, normal(here.text))
    if not here.ddl:
        return one, lambda tried: tried.cell.layout == layout and writes(tried)

    def with_that(tried: Tried) -> bool:
        made = index_in(ground.layouts.get(tried.cell.layout, ""), table)
        return bool(made & index_in(here.ddl, table)) and writes(tried)

    return f"{here.ddl}; then\n{one}", with_that


def index_in(ddl: str, table: str) -> set[str]:
    """The unique indexes and constraints that a script puts on the table, each as a normal conflict target."""
    found = set()
    tokens = significant(ddl)
    for at, token in enumerate(tokens):
        if token.word != "unique":
            continue
        end = next((n for n in range(at, len(tokens)) if tokens[n].text == ";"), len(tokens))
        opening = next((n for n in range(at, end) if tokens[n].text == "("), None)
        start = next((n for n in range(at, -1, -1) if tokens[n].text == ";"), -1)
        named = normal(written(ddl, tokens[start + 1 : opening]))
        if opening is not None and normal(table) in named:
            last = closing(tokens, opening)
            where = last + 1 < end and tokens[last + 1].word == "where"
            found.add(normal(written(ddl, tokens[opening : end if where else last + 1])))
    return found


def who(command: Command) -> str:
    return f"s{command.session + 1}"


def here(told: Story, fits: Fits) -> Fits:
    layout = told.finding.schedule.cell.layout
    return lambda tried: tried.cell.layout == layout and fits(tried)


def with_index(told: Story, ground: Ground, ddl: str, table: str) -> Fits:
    """The witness's own strategy, on another layout that has this index."""
    own = told.finding.schedule.cell

    def fits(tried: Tried) -> bool:
        same = tried.cell.strategy == own.strategy and tried.cell.layout != own.layout
        return same and bool(index_in(ddl, table) & index_in(ground.layouts.get(tried.cell.layout, ""), table))

    return fits


def sends_the_same(told: Story) -> Fits:
    own = {normal(one.sql) for one in told.commands if one.deeds}

    def fits(tried: Tried) -> bool:
        return bool(own) and own <= {normal(sql) for sql in tried.statements}

    return fits
