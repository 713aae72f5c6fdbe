"""Repairs, tried on a scratch copy of the schema before they are shown: it must be accepted, and the diagnosis be gone.

Each is tried in a transaction that is rolled back: the DDL is run there (without CONCURRENTLY, which no transaction can
hold), then the statement is examined again as it would be written. So a repair that only trades one failure for another
(CREATE INDEX beside a deferrable constraint) is never shown.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg

from harness.doctor import plan
from harness.doctor.examine import Diagnosis, Examined, Repair, examine
from harness.doctor.lexer import Unreadable
from harness.doctor.rules.rule import Proposal, edited_text, parameters_of, severity_of
from harness.doctor.statement import Statement


def with_repairs(scratch: psycopg.Connection[Any], found: Sequence[Examined]) -> list[Examined]:
    """The same, each diagnosis with the repairs that stood the trial. The scratch connection must be in autocommit
    mode.
    """
    return [replace(one, diagnoses=tuple(_repaired(scratch, one, each) for each in one.diagnoses)) for one in found]


def without_repairs(found: Sequence[Examined], reason: str) -> list[Examined]:
    """The same where nothing can be tried: what was not tried is not shown."""
    return [
        replace(
            one, diagnoses=tuple(replace(each, untried=reason if each.proposals else None) for each in one.diagnoses)
        )
        for one in found
    ]


def _repaired(scratch: psycopg.Connection[Any], one: Examined, diagnosis: Diagnosis) -> Diagnosis:
    tried = [
        Repair("ddl" if proposal.ddl else "sql", _text(one.statement, diagnosis.number, proposal), proposal.comment)
        for proposal in diagnosis.proposals
        if helps(scratch, one, diagnosis, proposal)
    ]
    distinct = tuple({repair.text: repair for repair in tried}.values())
    untried = (
        "none of the repairs that came to mind helped on a scratch copy" if diagnosis.proposals and not tried else None
    )
    return replace(diagnosis, repairs=distinct, untried=untried)


def helps(scratch: psycopg.Connection[Any], one: Examined, diagnosis: Diagnosis, proposal: Proposal) -> bool:
    """Whether the server takes it, and the statement then has neither this diagnosis nor an error that it had not."""
    statement = one.statement
    had = {(each.code, each.number) for each in one.diagnoses}
    try:
        sql = edited_text(statement.sql, diagnosis.number, proposal.edits)
    except (Unreadable, IndexError):
        return False
    edited = replace(statement, sql=sql, text=sql, parameters=parameters_of(sql), ignored=frozenset())
    try:
        plan.begin(scratch, read_only=False)
        for command in proposal.ddl:
            scratch.execute(command.replace(" CONCURRENTLY", "").encode())
        scratch.execute("SAVEPOINT harness_doctor")  # plans go back to here: what the DDL made stays
        after = next(iter(examine(scratch, [edited])), None)
    except psycopg.Error:
        return False
    finally:
        if not scratch.closed:
            scratch.execute("ROLLBACK")
    if after is None or after.unchecked is not None:
        return False
    left = {(each.code, each.number) for each in after.diagnoses}
    failing = {(code, number) for code, number in left if severity_of(code) == "error"}
    return (diagnosis.code, diagnosis.number) not in left and failing <= had


def _text(statement: Statement, number: int, proposal: Proposal) -> str:
    commands = [f"{command};" for command in proposal.ddl]
    if proposal.edits:
        commands.append(_rewritten(statement, number, proposal))
    return "\n".join(commands)


def _rewritten(statement: Statement, number: int, proposal: Proposal) -> str:
    """The statement as its source would have it, with its own placeholders; with the server's where those cannot be
    read.
    """
    try:
        return edited_text(statement.text, number, proposal.edits)
    except (Unreadable, IndexError):
        return edited_text(statement.sql, number, proposal.edits)
