"""Statements in, diagnoses out: one read of the catalogues, the plans in batches, then the rules.

Executes nothing. What a repair is worth is tried in repairs.py, on a scratch copy, by examining again.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg

from harness.doctor import catalogue as catalogues
from harness.doctor.anatomy import Shape, Unreadable, shapes
from harness.doctor.catalogue import Catalogue
from harness.doctor.plan import Plan, Question, Refusal, plans
from harness.doctor.rules import arbiter, conflict, failing, hints, merge, security
from harness.doctor.rules.rule import RULES, Case, Found, Kind, Proposal, Rule, Severity, parameters_of
from harness.doctor.statement import Statement
from harness.scenario.lexer import numbers_in, quoted

REGISTERED = (arbiter, failing, conflict, hints, merge, security)  # importing them fills RULES
MISSING = ("42P01", "3F000")
UNDECIDED = ("42501", "25006", "55P03", "57014")  # a privilege, a function that writes, a lock, the time
UNTYPED = ("42P18", "42P08", "42725", "42883", "42804", "42846")


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair that was tried on a scratch copy, and helped."""

    kind: str  # "sql": the statement, rewritten; "ddl": commands for the schema
    text: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    code: str
    severity: Severity
    message: str
    sqlstate: str | None = None  # what the server will say, always ("error") or at a conflict
    repairs: tuple[Repair, ...] = ()
    number: int = 0  # which INSERT or MERGE of the statement
    proposals: tuple[Proposal, ...] = field(default=(), repr=False)
    untried: str | None = None  # why no repair could be tried


@dataclass(frozen=True, slots=True)
class Examined:
    """A statement, and all that was found."""

    statement: Statement
    arbiters: tuple[str, ...] = ()
    every_index: bool = False  # DO NOTHING without a target: every unique index arbitrates
    diagnoses: tuple[Diagnosis, ...] = ()
    unchecked: str | None = None  # why nothing can be said


def examine(
    connection: psycopg.Connection[Any], statements: Sequence[Statement], *, rate: float = 10.0
) -> list[Examined]:
    """Of each statement that upserts, what was found; other statements are passed over.

    The connection must be in a transaction begun by plan.begin. Raises psycopg.Error where the server cannot be asked.
    """
    read = [one for one in map(_read, statements) if one is not None]
    found = catalogues.read(connection, [(shape.schema, shape.table) for _, parts, _ in read for shape in parts])
    asked = [statement for statement, parts, reason in read if reason is None]
    planned = iter(plans(connection, [Question(one.sql, one.parameters) for one in asked]))
    ask = partial(plans, connection)
    return [
        Examined(statement, unchecked=reason)
        if reason is not None
        else _judged(statement, parts, next(planned), found, ask, rate)
        for statement, parts, reason in read
    ]


def upserts(shape: Shape) -> bool:
    return shape.conflict is not None or shape.command == "merge"


def _read(statement: Statement) -> tuple[Statement, tuple[Shape, ...], str | None] | None:
    """The statement's shapes, or why they cannot be checked; None where it does not upsert."""
    unknown = f"cannot be checked: {', '.join(statement.dynamic)} is known only when it runs"
    try:
        found = shapes(statement.sql)
    except Unreadable as error:
        return statement, (), unknown if statement.dynamic else f"cannot be read: {error}"
    if not any(map(upserts, found)):
        return None
    return statement, found, unknown if statement.dynamic else None


def _judged(
    statement: Statement, parts: Sequence[Shape], plan: Plan, found: Catalogue, ask: Any, rate: float
) -> Examined:
    diagnoses: list[Diagnosis] = []
    arbiters = list(plan.arbiters)
    unchecked = None
    for number, shape in enumerate(parts):
        if not upserts(shape):
            continue
        table = found.table(shape.schema, shape.table)
        if table is None:
            elsewhere = _elsewhere(statement, shape, number, plan, found, ask)
            unchecked = None if elsewhere else unchecked or _missing(plan)
            diagnoses += elsewhere
            continue
        if table.base is not None and not any(trigger.instead for trigger in table.triggers):
            table = found.tables.get(table.base, table)  # the view's indexes are those of the table underneath
        asked, own = (statement.sql, number), plan
        if (len(parts) > 1 or _beside_the_point(plan, statement)) and (probe := _probe(statement, shape)) is not None:
            (own,) = ask([Question(probe, parameters_of(probe))])
            arbiters += own.arbiters
            asked = (probe, 0) if _beside_the_point(plan, statement) else asked
        diagnoses += _diagnoses(Case(statement, shape, number, table, found, own, ask, asked, rate))
    fails = any(one.severity == "error" for one in diagnoses)
    if plan.refusal is not None and not fails and unchecked is None and not _beside_the_point(plan, statement):
        if plan.refusal.sqlstate in UNDECIDED:
            unchecked = _undecided(plan.refusal)
        else:
            diagnoses.append(_refused(plan.refusal))
    diagnoses.sort(key=lambda one: (one.code, one.number))
    kept = tuple(one for one in diagnoses if not statement.ignored & {"*", one.code})
    every = not fails and any(shape.conflict is not None and not shape.conflict.targeted for shape in parts)
    return Examined(statement, () if plan.refusal and fails else tuple(dict.fromkeys(arbiters)), every, kept, unchecked)


def _refused(refusal: Refusal) -> Diagnosis:
    return Diagnosis(failing.REFUSED, "error", f"the server refuses it: {refusal.message}", refusal.sqlstate)


def _undecided(refusal: Refusal) -> str:
    if refusal.sqlstate != "42501":
        return f"cannot be checked: {refusal.message}"
    # Privileges are checked after planning: there is an arbiter, and the plan is not shown.
    return (
        f"cannot be checked: {refusal.message}; planning an INSERT takes the privileges to execute it: ask as its role"
    )


def _missing(plan: Plan) -> str:
    told = f"{plan.refusal.message}: " if plan.refusal is not None else ""
    return f"cannot be checked: {told}is the schema complete, and search_path right?"


def _beside_the_point(plan: Plan, statement: Statement) -> bool:
    """Whether the refusal says nothing of the clause: what types the driver gives its parameters only the driver knows;
    and a table that the statement reads may be a temporary one."""
    if plan.refusal is None:
        return False
    return plan.refusal.sqlstate in MISSING or (statement.parameters > 0 and plan.refusal.sqlstate in UNTYPED)


def _elsewhere(
    statement: Statement, shape: Shape, number: int, plan: Plan, found: Catalogue, ask: Any
) -> list[Diagnosis]:
    """Of a table that search_path does not lead to, while another schema has one of that name."""
    if shape.schema is not None:
        return []
    others = [table for table in found.tables.values() if table.name == shape.table]
    case = [Case(statement, shape, number, table, found, plan, ask, (statement.sql, number)) for table in others[:1]]
    return [_diagnosis(RULES["D114"], each, one) for one in case for each in arbiter.not_in_search_path(one)]


def _probe(statement: Statement, shape: Shape) -> str | None:
    """An INSERT into the same table with the same clause, and nothing else: to ask for one among several, or without
    what stands around it."""
    if shape.conflict is None:
        return None
    target = statement.sql[slice(*shape.conflict.target)]
    numbers = sorted(numbers_in(target))
    target = re.sub(r"\$(\d+)", lambda old: f"${numbers.index(int(old[1])) + 1}", target) if numbers else target
    column = next((quoted(one.column) for one in shape.conflict.assignments), None)
    action = "NOTHING" if column is None else f"UPDATE SET {column} = EXCLUDED.{column}"
    return f"INSERT INTO {statement.sql[slice(*shape.written)]} DEFAULT VALUES ON CONFLICT {target} DO {action}"


def _diagnoses(case: Case) -> Iterator[Diagnosis]:
    kind: Kind = "merge" if case.shape.command == "merge" else "conflict"
    if case.plan.refusal is not None and case.shape.conflict is not None:
        inferring = case.conflict.elements and case.table.kind != "v"
        kind = "no arbiter" if case.sqlstate == arbiter.NO_ARBITER and inferring else "refused"
    for one in RULES.values():
        if one.kind != kind:
            continue
        found = list(one.check(case))
        yield from (_diagnosis(one, each, case) for each in found)
        if found and kind == "no arbiter":
            return


def _diagnosis(one: Rule, found: Found, case: Case) -> Diagnosis:
    sqlstate = found.sqlstate or one.sqlstate
    return Diagnosis(one.code, one.severity, found.message, sqlstate, (), case.number, found.proposals)
