"""How a violation is told: what was seen, then why no order of the operations gives it, after the manner of Elle."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import assert_never

from harness.model.contest import Contest, OpRef, Order, orders
from harness.model.outcome import Answer, Crashed, Failed, Ok, Outcome, Refused, Row, Rows, Table, Unknown
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
    return ", ".join(who(contest, ref) for ref in order) or "the start state"


def listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def received(answer: Answer) -> str:
    """What became of a call: `was told True`, `met 23505 unique_violation`, `crashed: KeyError`."""
    match answer:
        case Failed():
            return f"met {answer}"
        case Crashed():
            return str(answer)
        case Ok() | Refused() | Unknown():
            return f"was {heard(answer)}"
        case _:
            assert_never(answer)


def heard(answer: Answer) -> str:
    """`told True`, `refused: already bought`: what goes after `was`."""
    return str(answer) if isinstance(answer, Refused) else f"told {answer}"


def told_together(contest: Contest, outcome: Outcome, refs: Sequence[OpRef]) -> str:
    """`both s1 and s2 were told True`, or each with its own answer."""
    names, answers = [who(contest, ref) for ref in refs], [heard(outcome.answer(ref)) for ref in refs]
    if len(refs) > 1 and len(set(answers)) == 1:
        return f"{'both' if len(refs) == 2 else 'all of'} {listed(names)} were {answers[0]}"
    return listed([f"{name} was {answer}" for name, answer in zip(names, answers, strict=True)])


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


def _only_in_one(found: Rows, expected: Rows) -> dict[str, tuple[Counter[Row], Counter[Row]]]:
    """For each table the rows that only the first has, and those that only the second has."""
    here, there, none = counted(found), counted(expected), Counter[Row]()
    names = [table.name for table in (*expected, *found)]
    return {
        name: (here.get(name, none) - there.get(name, none), there.get(name, none) - here.get(name, none))
        for name in names
    }


def rows_apart(found: Rows, expected: Rows) -> str:
    """Where two sets of rows differ: `purchase has (amount=10) in place of (amount=30)`; empty where they do not."""
    tables = {table.name: table for table in (*expected, *found)}
    apart = _only_in_one(found, expected)
    return "; ".join(f"{name} {_apart(tables[name], *sides)}" for name, sides in apart.items() if any(sides))


def _apart(table: Table, found: Counter[Row], expected: Counter[Row]) -> str:
    if not expected:
        return f"has {_show_rows(table, found)} too many"
    if not found:
        return f"lacks {_show_rows(table, expected)}"
    if found.total() == expected.total() == 1:
        one, other, changed = _changed_columns(table, next(iter(found)), next(iter(expected)))
        return f"has {show_row(changed, one)} in place of {show_row(changed, other)}"
    return f"has {_show_rows(table, found)} in place of {_show_rows(table, expected)}"


def distance(one: Rows, other: Rows) -> int:
    """How many rows two outcomes do not share: to compare a finding with the nearest allowed one, not with any."""
    return sum(here.total() + there.total() for here, there in _only_in_one(one, other).values())


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
