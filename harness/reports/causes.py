"""The common causes, each established from the trace of a finding, with what to write instead.

A cause is a function over a story that finds the statements which prove it, or says nothing: a wrong hint costs more
than a missing one. Which index arbitrates, and what is wrong with a conflict target, is the doctor's word (harness/
doctor). What a hint says to write is called verified only where a strategy of the scenario writes so and survives.
"""

from collections.abc import Iterator

from harness.doctor.examine import Diagnosis
from harness.model.advice import Hint, Repairs
from harness.model.outcome import Crashed, Ok
from harness.model.sqlstate import describe
from harness.model.verdict import Finding
from harness.reports.commands import Command, Story, story
from harness.reports.ground import Ground
from harness.reports.races import RACES, opposite_order
from harness.reports.rewrites import (
    Cause,
    Fits,
    conflict_of,
    here,
    inserted,
    sends_the_same,
    who,
    with_index,
    writes_so,
)
from harness.scenario.lexer import normal


def hints(finding: Finding, ground: Ground, repairs: Repairs | None = None) -> tuple[Hint, ...]:
    """What the finding's trace proves, the nearest cause first. `repairs`: what was tried on its contest."""
    told = story(finding, ground.functions)
    found = list(_causes(told, ground))
    tried = [one for one in repairs.tried if one.survives] if repairs is not None else []
    return tuple(
        Hint(cause.name, cause.says, cause.rewrite, tuple(one.cell for one in tried if cause.fits(one)))
        for cause in found
    )


def _causes(told: Story, ground: Ground) -> Iterator[Cause]:
    """One of those that are a race between a look and what follows from it, the most special; and any of the others."""
    kind = told.finding.violation.name
    refused = list(no_arbiter(told, ground))
    if kind in ("42P10", "25P02"):
        yield from refused
    yield from other_index(told, ground)
    if told.race:
        yield from next((found for race in RACES if (found := list(race(told, ground)))), [])
        yield from opposite_order(told, ground)
    else:
        yield from hidden_row(told, ground)
    yield from nothing_returned(told, ground)
    yield from missing_retry(told, ground)
    if kind not in ("42P10", "25P02"):
        yield from refused


# ---- what the doctor knows -----------------------------------------------------------------------------------------


def no_arbiter(told: Story, ground: Ground) -> Iterator[Cause]:
    """ON CONFLICT without a unique index that fits: 42P10 on every call, whoever runs beside it."""
    refused = next((one for one in told.commands if one.sqlstate == "42P10"), None)
    if refused is not None:
        yield from _diagnosed("no-arbiter", refused, "42P10", told, ground)


def other_index(told: Story, ground: Ground) -> Iterator[Cause]:
    """23505 from an INSERT that has an ON CONFLICT: of an index that is no arbiter."""
    refused = next(
        (one for one in told.commands if one.sqlstate == "23505" and conflict_of(one.sql) and told.condemned(one)), None
    )
    if refused is not None and told.finding.violation.sqlstate == "23505":
        yield from _diagnosed("second-unique-index", refused, "D201", told, ground)


def _diagnosed(name: str, command: Command, which: str, told: Story, ground: Ground) -> Iterator[Cause]:
    examined = ground.examined(command.sql)
    for diagnosis in examined.diagnoses if examined is not None else ():
        if which in (diagnosis.code, diagnosis.sqlstate):
            yield Cause(name, f"{command.result}: {diagnosis.message}", *_repair(diagnosis, command, told, ground))
            return


def _repair(diagnosis: Diagnosis, command: Command, told: Story, ground: Ground) -> tuple[str, Fits]:
    """The doctor's, tried by it: a word of the statement rather than an index, where there is the choice."""
    table = inserted(command.sql)
    by_kind = {repair.kind: repair for repair in reversed(diagnosis.repairs)}
    if (repair := by_kind.get("sql")) is not None and (clause := conflict_of(repair.text)) is not None:
        return f"INSERT INTO {table} ... {clause.text}", here(told, writes_so(table, clause.target))
    if (repair := by_kind.get("ddl")) is None:
        return _of_every_index(table, told)
    made = [" ".join(line.replace(" CONCURRENTLY", "").split()) for line in repair.text.splitlines()]
    ddl = "; ".join(line.rstrip(";") for line in made if line and not line.startswith("--"))
    return ddl, with_index(told, ground, ddl, table)


def _of_every_index(table: str, told: Story) -> tuple[str, Fits]:
    """Where no index can be named that helps: without a target DO NOTHING is of all of them."""
    text = f"INSERT INTO {table} ... ON CONFLICT DO NOTHING (without a target it is of every unique index), then UPDATE"
    return f"{text}; or catch 23505 and call again", here(told, writes_so(table, ""))


# ---- what needs no race ------------------------------------------------------------------------------------------


def hidden_row(told: Story, ground: Ground) -> Iterator[Cause]:
    """Nobody else was there, the look found no row, and the index did: it counts rows that the look leaves out."""
    for act in told.commands:
        for table in (deed.table for deed in act.deeds if deed.verb == "insert"):
            looks = [one for one in told.before(act) if one.does("select", table) or one.does("update", table)]
            identity = next((one for one in ground.identities if normal(one.table) == normal(table)), None)
            if act.sqlstate != "23505" or conflict_of(act.sql) or not looks or identity is None or not identity.live:
                continue
            keys = set(identity.by)
            full = [
                one for one in ground.indexes.get(table, ()) if set(one.columns or ()) == keys and not one.predicate
            ]
            if not full or (looks[0].does("select", table) and looks[0].rows):
                continue
            says = (
                f"{who(act)} found no row of {table} in its way, and {full[0].name} did, without concurrency: that "
                f"index counts all rows, not only those WHERE {identity.live}"
            )
            ddl = f"CREATE UNIQUE INDEX ON {table} ({', '.join(identity.by)}) WHERE {identity.live}"
            rewrite = f"{ddl}, in the place of {full[0].name}; or look for all rows, and restore the one that is there"
            yield Cause("index-counts-all-rows", says, rewrite, with_index(told, ground, ddl, table))
            return


def nothing_returned(told: Story, ground: Ground) -> Iterator[Cause]:
    """DO NOTHING that did nothing returns no row, and writes nothing of what the caller brought."""
    if told.finding.violation.kind not in ("wrong-alone", "wrong-answer", "lost-update", "crash"):
        return
    for command in told.commands:
        clause, answer = conflict_of(command.sql), told.answer(command)
        if (
            clause is None
            or clause.action != "nothing"
            or command.rows != 0
            or any(later.does("update") or later.does("select") for later in told.after(command))
        ):
            continue
        table = inserted(command.sql)
        if clause.returning and (answer == Ok(None) or isinstance(answer, Crashed)):
            says = f"{who(command)}'s ON CONFLICT DO NOTHING met a row of {table}: RETURNING then returns no row"
            text = f"INSERT INTO {table} ... DO UPDATE SET ... RETURNING; or SELECT the row in a statement after it"
            yield Cause("nothing-returned", says, text, here(told, writes_so(table, clause.target, action="update")))
            return
        if not clause.returning and answer in (Ok(None), Ok(True)):
            says = (
                f"{who(command)}'s ON CONFLICT DO NOTHING met a row of {table} and wrote nothing, which only the row "
                "count (0) says; the caller was told as if it had"
            )
            text = f"read the row count of INSERT INTO {table} ..., or DO UPDATE SET what the caller brings"
            yield Cause("nothing-done", says, text, here(told, writes_so(table, clause.target)))
            return


RETRYABLE = ("40001", "40P01")


def missing_retry(told: Story, ground: Ground) -> Iterator[Cause]:
    """A caller was told to try again, and the strategy does not count on one who does."""
    violation = told.finding.violation
    state = violation.sqlstate or ("40P01" if violation.kind == "deadlock" else "")
    met = next((one for one in told.commands if one.sqlstate == state and told.condemned(one)), None)
    if state in RETRYABLE and violation.kind in ("error", "deadlock"):
        whom = who(met) if met is not None else "a client"
        says = (
            f"{whom} was told {describe(state)}: the transaction left nothing and may be called again, and nobody does"
        )
        rewrite = f"catch {state} outside of the transaction, and call again; retryable={state!r} if the caller does"
        yield Cause("missing-retry", says, rewrite, here(told, sends_the_same(told)))
