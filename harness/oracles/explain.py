"""How a violation is told: what was seen, then why no order of the operations gives it, after the manner of Elle."""

from collections import Counter
from collections.abc import Iterable, Sequence

from harness.model.contest import Contest, OpRef, Order, orders
from harness.model.outcome import Answer, Crashed, Failed, Outcome, Row, Rows, Table
from harness.oracles import allowed
from harness.oracles.allowed import counted
from harness.oracles.evidence import Evidence

ROWS_SHOWN = 2  # of each table and side: an explanation is to be read, the finding holds all rows


def who(contest: Contest, ref: OpRef) -> str:
    """`s1`, or `s1's call 2` where the session makes several."""
    session = f"s{ref.session + 1}"
    return session if len(contest.sessions[ref.session]) == 1 else f"{session}'s call {ref.position + 1}"


def doing(contest: Contest, ref: OpRef) -> str:
    return f"{who(contest, ref)} {contest.call(ref)}"


def in_order(contest: Contest, order: Order) -> str:
    return ", ".join(who(contest, ref) for ref in order) or "no operation at all"


def listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def received(answer: Answer) -> str:
    """What became of a call, as the end of a sentence: `was told True`."""
    return (
        f"met {answer}"
        if isinstance(answer, Failed)
        else f"{'' if isinstance(answer, Crashed) else 'was told '}{answer}"
    )


def told_together(contest: Contest, outcome: Outcome, refs: Sequence[OpRef]) -> str:
    """`both s1 and s2 were told True`, or each with its own answer."""
    names, answers = [who(contest, ref) for ref in refs], [str(outcome.answer(ref)) for ref in refs]
    if len(refs) > 1 and len(set(answers)) == 1:
        return f"{'both' if len(refs) == 2 else 'all of'} {listed(names)} were told {answers[0]}"
    return listed([f"{name} was told {answer}" for name, answer in zip(names, answers, strict=True)])


def show_row(table: Table, row: Row) -> str:
    return f"({', '.join(f'{column}={value!r}' for column, value in zip(table.columns, row, strict=False))})"


def _show_rows(table: Table, rows: Counter[Row]) -> str:
    each = [show_row(table, row) for row in rows.elements()]
    more = [f"{len(each) - ROWS_SHOWN} more"] if len(each) > ROWS_SHOWN else []
    return listed(each[:ROWS_SHOWN] + more) if each else "nothing"


def _changed_columns(table: Table, one: Row, other: Row) -> tuple[Row, Row, Table]:
    columns = [i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    named = Table(table.name, tuple(table.columns[i] for i in columns), ())
    return tuple(one[i] for i in columns), tuple(other[i] for i in columns), named


def rows_apart(found: Rows, expected: Rows) -> str:
    """Where two sets of rows differ: `purchase has (amount=10) in place of (amount=30)`."""
    names = {table.name: table for table in (*expected, *found)}
    here, there = counted(found), counted(expected)
    apart = []
    for name, table in names.items():
        only_here = here.get(name, Counter()) - there.get(name, Counter())
        only_there = there.get(name, Counter()) - here.get(name, Counter())
        if not only_here and not only_there:
            continue
        if only_here.total() == only_there.total() == 1:
            one, other, narrow = _changed_columns(table, next(iter(only_here)), next(iter(only_there)))
            apart.append(f"{name} has {show_row(narrow, one)} in place of {show_row(narrow, other)}")
        elif not only_there:
            apart.append(f"{name} has {_show_rows(table, only_here)} too many")
        elif not only_here:
            apart.append(f"{name} lacks {_show_rows(table, only_there)}")
        else:
            apart.append(f"{name} has {_show_rows(table, only_here)} in place of {_show_rows(table, only_there)}")
    return "; ".join(apart)


def distance(one: Rows, other: Rows) -> int:
    """How many rows two outcomes do not share: to compare a finding with the nearest allowed one, not with any."""
    here, there = counted(one), counted(other)
    return sum(
        (
            (here.get(name, Counter()) - there.get(name, Counter()))
            + (there.get(name, Counter()) - here.get(name, Counter()))
        ).total()
        for name in {*here, *there}
    )


def nearest(found: Outcome, candidates: Iterable[tuple[Order, Outcome]]) -> tuple[Order, Outcome]:
    return min(candidates, key=lambda candidate: distance(found.rows, candidate[1].rows))


def out_of_time(evidence: Evidence) -> str:
    """Names the order that would explain all, had it been possible: the fault is then a stale read, not a mixed one."""
    for order in orders(allowed.acknowledged(evidence)):
        outcome = allowed.run(evidence, order)
        if allowed.same_rows(evidence.outcome, outcome) and not allowed.misinformed(evidence, outcome):
            known = sorted((a, b) for a, b in evidence.before if a in order and b in order)
            early, late = next((a, b) for a, b in known if order.index(b) < order.index(a))
            names = f"{who(evidence.contest, early)} was answered before {who(evidence.contest, late)} was called"
            return f"; the order {in_order(evidence.contest, order)} would explain it, but {names}"
    return ""
