"""Statements in, diagnoses out: one read of the catalogues, the plans in batches, then the rules.

Executes nothing. What a repair is worth is tried in repairs.py, on a scratch copy, by examining again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg

from harness.doctor import catalogue as catalogues
from harness.doctor.anatomy import Shape, Unreadable, parameters_in, shapes
from harness.doctor.catalogue import Catalogue
from harness.doctor.plan import Plan, Question, plans
from harness.doctor.rules import arbiter, conflict, failing, hints
from harness.doctor.rules.rule import RULES, Case, Found, Kind, Proposal, Rule, Severity
from harness.doctor.statement import Statement

REGISTERED = (arbiter, failing, conflict, hints)  # importing them fills RULES
REFUSED = "D199"  # refused for a reason that is no matter of ours: said in the server's words
MISSING = ("42P01", "3F000")


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
    try:
        found = shapes(statement.sql)
    except Unreadable as error:
        return statement, (), f"cannot be read: {error}"
    if not any(map(upserts, found)):
        return None
    if statement.dynamic:
        return statement, (), f"cannot be checked: {', '.join(statement.dynamic)} is known only when it runs"
    return statement, found, None


def _judged(
    statement: Statement, parts: Sequence[Shape], plan: Plan, found: Catalogue, ask: Any, rate: float
) -> Examined:
    diagnoses: list[Diagnosis] = []
    several = len(parts) > 1
    for number, shape in enumerate(parts):
        if not upserts(shape):
            continue
        table = found.table(shape.schema, shape.table)
        if table is None:
            continue
        own = _plan_of(statement, shape, plan, ask) if several else plan
        case = Case(statement, shape, number, table, found, own, ask, rate)
        diagnoses += _diagnoses(case)
    if plan.refusal is not None and not any(one.severity == "error" for one in diagnoses):
        diagnoses.insert(0, _refused(statement, plan))
    diagnoses.sort(key=lambda one: (one.code, one.number))
    kept = tuple(one for one in diagnoses if not statement.ignored & {"*", one.code})
    arbiters = dict.fromkeys(name for one in plan.insertions for name in one.arbiters)
    every = any(shape.conflict is not None and not shape.conflict.targeted for shape in parts) and plan.refusal is None
    return Examined(statement, tuple(arbiters), every, kept)


def _refused(statement: Statement, plan: Plan) -> Diagnosis:
    assert plan.refusal is not None
    missing = "; is the schema complete, and search_path right?" if plan.refusal.sqlstate in MISSING else ""
    message = f"the server refuses it: {plan.refusal.message}{missing}"
    return Diagnosis(REFUSED, "error", message, plan.refusal.sqlstate)


def _plan_of(statement: Statement, shape: Shape, plan: Plan, ask: Any) -> Plan:
    """The plan of one INSERT among several: of an INSERT into the same table with the same clause, and nothing else."""
    if shape.conflict is None:
        return plan
    start, end = shape.written
    target = statement.sql[slice(*shape.conflict.target)]
    for new, old in enumerate(sorted(set(parameters_in(target))), 1):
        target = target.replace(f"${old}", f"${new}")
    probe = f"INSERT INTO {statement.sql[start:end]} DEFAULT VALUES ON CONFLICT {target} DO NOTHING"
    (own,) = ask([Question(probe, len(set(parameters_in(target))))])
    return own if own.refusal is not None or plan.refusal is None else Plan(own.insertions)


def _diagnoses(case: Case) -> Iterator[Diagnosis]:
    kind: Kind = "merge" if case.shape.command == "merge" else "conflict"
    if case.plan.refusal is not None and case.shape.conflict is not None:
        kind = "no arbiter" if case.sqlstate == arbiter.NO_ARBITER and case.conflict.elements else "refused"
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
