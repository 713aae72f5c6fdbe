"""What a rule is given, what it finds, and the register of all rules.

A rule is a generator function over a `Case`. Its docstring is what `harness explain CODE` prints. Where the question is
what the server would infer, a rule asks the server (`case.accepts`): the reason "the clause lacks the predicate" is
right exactly if the statement with the predicate passes. So a reason found here is also a repair that the server has
planned.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from harness.doctor.anatomy import Conflict, Shape, shapes
from harness.doctor.catalogue import Catalogue, Index, Table
from harness.doctor.plan import Plan, Question
from harness.doctor.statement import Statement
from harness.scenario.lexer import normal, numbers_in, quoted, significant, unwrapped

Severity = Literal["error", "warning", "hint"]
Part = Literal["target", "act", "table", "query", "whole"]

OLD = "\0"
"""In the text of an edit: what stood there before."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A part of the statement, and what is to stand in its place."""

    part: Part
    text: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A repair that has not been tried: DDL to run, words of the statement to change, or both together."""

    edits: tuple[Edit, ...] = ()
    ddl: tuple[str, ...] = ()  # each without its semicolon
    comment: str = ""  # what to mind, for the reader


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule found: why, in one sentence, and what may repair it."""

    message: str
    proposals: tuple[Proposal, ...] = ()
    sqlstate: str | None = None  # where it is not the rule's own


@dataclass(frozen=True, slots=True)
class Case:
    """One INSERT or MERGE of a statement, and all that is known of it."""

    statement: Statement
    shape: Shape
    number: int  # which of the statement's shapes
    table: Table
    catalogue: Catalogue
    plan: Plan
    ask: Callable[[Sequence[Question]], list[Plan]] = field(repr=False)
    asked: tuple[str, int]  # the text that was planned, and which of its shapes this is
    rate: float = 10.0  # calls a second to reckon with

    @property
    def conflict(self) -> Conflict:
        """Of an INSERT ... ON CONFLICT: only rules of the kind "merge" see anything else."""
        assert self.shape.conflict is not None
        return self.shape.conflict

    @property
    def sqlstate(self) -> str | None:
        return None if self.plan.refusal is None else self.plan.refusal.sqlstate

    @property
    def arbiters(self) -> tuple[Index, ...]:
        """As the server infers them. Empty for DO NOTHING without a target, and where it refuses."""
        return tuple(index for index in self.table.indexes if index.name in self.plan.arbiters)

    @property
    def judges(self) -> tuple[Index, ...]:
        """The indexes whose conflicts are handled: the arbiters, or all where no target is named."""
        return self.arbiters if self.conflict.targeted else self.table.uniques

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the statement gives values to."""
        if self.shape.columns is not None:
            return self.shape.columns
        if self.shape.query is None:
            return ()
        width = len(self.shape.rows[0]) if self.shape.rows else len(self.table.columns)
        return tuple(column.name for column in self.table.columns)[:width]

    @property
    def keys(self) -> frozenset[str]:
        """The conflict target's entries, for comparison with an index's key_set."""
        return frozenset(normal(element.bare) for element in self.conflict.elements)

    @property
    def named(self) -> str:
        """The conflict target as a person reads it."""
        return "(" + ", ".join(element.text for element in self.conflict.elements) + ")"

    @property
    def where(self) -> str:
        return f" WHERE {self.conflict.predicate}" if self.conflict.predicate else ""

    def values_of(self, column: str) -> tuple[str, ...] | None:
        """The expressions that VALUES gives it, one for each row; None where it is not VALUES that does."""
        if self.shape.rows is None or column not in self.columns:
            return None
        at = self.columns.index(column)
        return tuple(row[at] for row in self.shape.rows if at < len(row))

    def accepts(self, *edits: Edit) -> Plan | None:
        """The plan of the statement so edited, where the server has one."""
        edited = edited_text(*self.asked, edits)
        (plan,) = self.ask([Question(edited, parameters_of(edited))])
        return plan if plan.refusal is None else None


def edited_text(text: str, number: int, edits: Sequence[Edit]) -> str:
    """The text with parts of its n-th shape replaced. Raises Unreadable."""
    shape = shapes(text)[number]
    conflict = shape.conflict
    places = {"table": shape.written, "query": shape.query, "whole": shape.whole}
    if conflict is not None:
        places |= {"target": conflict.target, "act": conflict.act}
    for edit in sorted(edits, key=lambda edit: places[edit.part] or (0, 0), reverse=True):
        start, end = places[edit.part] or (0, 0)
        new = edit.text.replace(OLD, text[start:end])
        if edit.part == "target":
            old = text[start:end]  # what comes after DO keeps its line
            space = old[len(old.rstrip()) :] or " "
            new = f" {new}{space}" if new else space
        text = text[:start] + new + text[end:]
    return text


def parameters_of(sql: str) -> int:
    return max(numbers_in(sql), default=0)


# The register ------------------------------------------------------------------------------------------------------

Check = Callable[[Case], Iterator[Found]]
# Refused with 42P10; refused with anything else; planned by the server; a MERGE; found without looking at a table.
Kind = Literal["no arbiter", "refused", "conflict", "merge", "other"]


@dataclass(frozen=True, slots=True)
class Rule:
    code: str
    title: str
    kind: Kind  # which cases it sees
    sqlstate: str | None  # of an error: what the server will say
    text: str  # for `harness explain`
    check: Check = field(repr=False)

    @property
    def severity(self) -> Severity:
        return severity_of(self.code)


RULES: dict[str, Rule] = {}


_SEVERITIES: Final[Mapping[str, Severity]] = {"1": "error", "2": "warning", "3": "hint"}


def severity_of(code: str) -> Severity:
    return _SEVERITIES[code[1]]


def rule(code: str, title: str, *, kind: Kind = "conflict", sqlstate: str | None = None) -> Callable[[Check], Check]:
    """Registers a check. Those of the kind "no arbiter" are asked in the order they are registered, until one finds."""

    def register(check: Check) -> Check:
        assert code not in RULES, code
        RULES[code] = Rule(code, title, kind, sqlstate, inspect.getdoc(check) or "", check)
        return check

    return register


# Words that many rules need ----------------------------------------------------------------------------------------


def unique_index(
    case: Case, keys: str, *, where: str | None = None, table: Table | None = None, more: str = ""
) -> tuple[str, ...]:
    """DDL for a unique index, under a name that is free; CONCURRENTLY where that is possible."""
    table = table or case.table
    partitioned = table.kind == "p"
    return (
        f"CREATE UNIQUE INDEX {'' if partitioned else 'CONCURRENTLY '}{quoted(free_name(case, table, keys))} ON "
        f"{place(table)} {keys}{more}{f' WHERE {where}' if where else ''}",
    )


def free_name(case: Case, table: Table, keys: str) -> str:
    columns = {column.name for column in table.columns}
    words = [token.name for token in significant(keys) if token.name in columns and token.name]
    stem = "_".join([table.name, *words])[:56] + "_key"
    taken = {index.name for other in case.catalogue.tables.values() for index in other.indexes}
    return next(name for name in (stem, *(f"{stem}{n}" for n in range(1, 100))) if name not in taken)


def place(table: Table) -> str:
    return quoted(table.name) if table.schema == "public" else table.written


def in_schema(table: Table, name: str) -> str:
    return quoted(name) if table.schema == "public" else f"{quoted(table.schema)}.{quoted(name)}"


def dropping(table: Table, index: Index) -> str:
    """DDL that takes the index away, with its constraint if it has one."""
    if index.constraint is not None:
        return f"ALTER TABLE {place(table)} DROP CONSTRAINT {quoted(index.constraint)}"
    return f"DROP INDEX CONCURRENTLY {in_schema(table, index.name)}"


def whole(index: Index) -> str:
    """The conflict target that means this index."""
    return index.target + (f" WHERE {unwrapped(index.predicate)}" if index.predicate else "")


def listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def duplicates(case: Case, keys: str, where: str | None = None) -> str:
    """The comment on a new unique index: how to see whether it can be made."""
    inside = keys[1:-1]
    condition = f" WHERE {where}" if where else ""
    return (
        "fails while there are duplicates, which this shows:\n"
        f"SELECT {inside}, count(*) FROM {place(case.table)}{condition} GROUP BY {inside} HAVING count(*) > 1;"
    )
