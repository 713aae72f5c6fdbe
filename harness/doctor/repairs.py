"""Repairs, tried on a scratch copy of the schema before they are shown: it must be accepted, and the diagnosis be gone.

They are tried in a transaction that is rolled back: the DDL is run there (without CONCURRENTLY, which no transaction
can hold), then the statements are examined again as they would be written. So a repair that only trades one failure for
another (CREATE INDEX beside a deferrable constraint) is never shown.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from harness.doctor import plan
from harness.doctor.anatomy import Unreadable
from harness.doctor.examine import Diagnosis, Examined, Repair, examine
from harness.doctor.rules.rule import Proposal, edited_text, parameters_of, severity_of
from harness.doctor.statement import Statement


def with_repairs(scratch: psycopg.Connection[Any], found: Sequence[Examined]) -> list[Examined]:
    """The same, each diagnosis with the repairs that stood the trial. The scratch connection must be in autocommit
    mode.
    """
    trials = [_Trial(one, each, proposal) for one in found for each in one.diagnoses for proposal in each.proposals]
    helping = set(_helping(scratch, trials))
    numbers = itertools.count()
    return [
        replace(
            one,
            diagnoses=tuple(
                _repaired(one.statement, each, [proposal for proposal in each.proposals if next(numbers) in helping])
                for each in one.diagnoses
            ),
        )
        for one in found
    ]


def without_repairs(found: Sequence[Examined], reason: str) -> list[Examined]:
    """The same where nothing can be tried: what was not tried is not shown."""
    return [
        replace(
            one, diagnoses=tuple(replace(each, untried=reason if each.proposals else None) for each in one.diagnoses)
        )
        for one in found
    ]


@dataclass(frozen=True, slots=True)
class _Trial:
    one: Examined
    diagnosis: Diagnosis
    proposal: Proposal

    def edited(self) -> Statement | None:
        """The statement as the proposal would have it; None where that cannot be written."""
        statement = self.one.statement
        try:
            sql = edited_text(statement.sql, self.diagnosis.number, self.proposal.edits)
        except (Unreadable, IndexError):
            return None
        return replace(statement, sql=sql, text=sql, parameters=parameters_of(sql), ignored=frozenset())

    def helped(self, after: Examined) -> bool:
        """Whether the statement then has neither the diagnosis nor an error that it had not."""
        had = {(each.code, each.number) for each in self.one.diagnoses}
        left = {(each.code, each.number) for each in after.diagnoses}
        failing = {(code, number) for code, number in left if severity_of(code) == "error"}
        return after.unchecked is None and (self.diagnosis.code, self.diagnosis.number) not in left and failing <= had


def _helping(scratch: psycopg.Connection[Any], trials: Sequence[_Trial]) -> Iterator[int]:
    """The numbers of those that help. What needs the same DDL, or none, is tried together: on one catalogue."""
    edited = {number: made for number, trial in enumerate(trials) if (made := trial.edited()) is not None}
    together: dict[tuple[str, ...], list[int]] = {}
    for number in edited:
        together.setdefault(trials[number].proposal.ddl, []).append(number)
    for ddl, numbers in together.items():
        after = {one.statement: one for one in _examined_after(scratch, ddl, [edited[number] for number in numbers])}
        for number in numbers:
            if (one := after.get(edited[number])) is not None and trials[number].helped(one):
                yield number


def _examined_after(
    scratch: psycopg.Connection[Any], ddl: Sequence[str], statements: Sequence[Statement]
) -> list[Examined]:
    """What is found once the DDL has been run; nothing where the server refuses that."""
    try:
        plan.begin(scratch, read_only=False)
        made = [command.replace(" CONCURRENTLY", "") for command in ddl]
        scratch.execute("; ".join([*made, "SAVEPOINT harness_doctor"]).encode())  # plans go back to it
        return examine(scratch, statements)
    except psycopg.Error:
        return []
    finally:
        if not scratch.closed:
            scratch.execute("ROLLBACK")


def _repaired(statement: Statement, diagnosis: Diagnosis, helping: Sequence[Proposal]) -> Diagnosis:
    tried = [
        Repair("ddl" if proposal.ddl else "sql", _text(statement, diagnosis.number, proposal), proposal.comment)
        for proposal in helping
    ]
    distinct = tuple({repair.text: repair for repair in tried}.values())
    untried = (
        "none of the repairs that came to mind helped on a scratch copy" if diagnosis.proposals and not tried else None
    )
    return replace(diagnosis, repairs=distinct, untried=untried)


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
