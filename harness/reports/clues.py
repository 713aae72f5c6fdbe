"""Where a trial went wrong, as data: the statements of which each rules out some of the serial orders.

Every statement did something: it read rows, wrote some, or failed. The orders in which it would have done something
else are ruled out. The statement that leaves none is where it went wrong; those before it say with what it is at odds.
A statement that an order does not send rules nothing out: some earlier one did, or what a process remembers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.model.contest import OpRef
from harness.model.outcome import Failed, Outcome
from harness.model.trace import Explained, Observed, Ran, Serial, Transaction
from harness.reports.deeds import changed, did, effect, same, same_parameters, writes


@dataclass(frozen=True, slots=True)
class Clue:
    """Something that was done otherwise than in some of the orders that were still possible."""

    ran: Ran
    did: str
    ruled_out: tuple[tuple[Serial, str], ...]  # with what it does there
    left: tuple[Serial, ...]
    sure: bool  # whether only what others did can have made the difference, up to the statement's snapshot


def clues(explained: Explained, found: Outcome) -> list[Clue]:
    """One after the other, by the steps in which they had their answers; the last leaves no order, if any does.

    A call that got over an error which it does not meet alone has left the path that it takes alone: its statements say
    nothing.
    """
    seen, possible = explained.observed, explained.serial
    recovered = _got_over_an_error(explained, found)
    told: list[Clue] = []
    for ran in seen.statements:
        if not possible:
            break
        known = any(ran.call in serial.order for serial in possible)
        if ran.ended is None or not known or ran.call in recovered:
            continue
        for compare in (_by_result, _by_effect):
            clue = compare(ran, seen, possible) if possible else None
            if clue is not None:
                told.append(clue)
                possible = clue.left
    return told


def _got_over_an_error(explained: Explained, found: Outcome) -> set[OpRef]:
    seen, told = explained.observed, found.told

    def always(ran: Ran) -> bool:
        others = [_counterpart(ran, seen, serial.observed) for serial in explained.serial if ran.call in serial.order]
        return all(other is not None and same(ran, other) for other in others)

    def final(ran: Ran) -> bool:
        answer = told.get(ran.call)
        return isinstance(answer, Failed) and ran is max(_failures(seen, ran.call), key=lambda other: other.number)

    return {ran.call for ran in seen.statements if ran.error is not None and not final(ran) and not always(ran)}


def _failures(seen: Observed, call: OpRef) -> list[Ran]:
    return [ran for ran in seen.statements if ran.call == call and ran.error is not None]


def _by_result(ran: Ran, seen: Observed, possible: Sequence[Serial]) -> Clue | None:
    ruled_out, left, sure = [], [], True
    for serial in possible:
        other = _counterpart(ran, seen, serial.observed)
        if other is None or same(ran, other):
            left.append(serial)
        else:
            sure = sure and same_parameters(other, ran)
            ruled_out.append((serial, did(other, past=False)))
    return Clue(ran, did(ran, past=True), tuple(ruled_out), tuple(left), sure) if ruled_out else None


def _by_effect(ran: Ran, seen: Observed, possible: Sequence[Serial]) -> Clue | None:
    """What the statement's transaction has left, told once the last of its statements has ended."""
    mine = seen.transactions[ran.transaction]
    if statements_of(seen, mine)[-1] is not ran or not mine.committed or not mine.whole:
        return None
    wrote = [other for other in statements_of(seen, mine) if writes(other)]
    told = wrote[0] if len(wrote) == 1 else ran
    # Of several statements with a snapshot each it is not known which went wrong.
    sure = len(wrote) == 1 or seen.one_snapshot
    ruled_out, left, words = [], [], ""
    for serial in possible:
        other = _counterpart(told, seen, serial.observed)
        theirs = None if other is None else serial.observed.transactions[other.transaction]
        if other is None or theirs is None or not theirs.whole or effect([mine]) == effect([theirs]):
            left.append(serial)
            continue
        sure = sure and same_parameters(other, told)
        words = words or changed(effect([mine]), effect([theirs]), past=True)
        ruled_out.append((serial, changed(effect([theirs]), effect([mine]), past=False)))
    return Clue(told, words, tuple(ruled_out), tuple(left), sure) if ruled_out else None


def statements_of(seen: Observed, transaction: Transaction) -> list[Ran]:
    return [ran for ran in seen.statements if ran.transaction == transaction.number]


def transactions_of(seen: Observed, calls: Iterable[OpRef]) -> list[Transaction]:
    """Of these calls, in their order."""
    wanted = set(calls)
    numbers = sorted({ran.transaction for ran in seen.statements if ran.call in wanted})
    return [seen.transactions[number] for number in numbers]


def _counterpart(ran: Ran, here: Observed, there: Observed) -> Ran | None:
    """The same statement of the same call in another trial: the n-th with this text."""

    def like_it(seen: Observed) -> list[Ran]:
        alike = (other for other in seen.statements if (other.call, other.text) == (ran.call, ran.text))
        return sorted(alike, key=lambda other: other.number)

    others, position = like_it(there), like_it(here).index(ran)
    return others[position] if position < len(others) else None
