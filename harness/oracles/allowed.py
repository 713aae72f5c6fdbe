"""The outcomes a trial may have: those of its operations run one at a time.

This is linearizability (Herlihy & Wing 1990) with the strategy itself as the sequential specification: an order must
keep each session's program order and real time. It needs no model of the scenario and no user code.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from harness.model.contest import OpRef, Order, orders
from harness.model.outcome import Answer, Crashed, Failed, Ok, Outcome, Refused, Row, Rows, Unknown
from harness.oracles.evidence import Evidence

UNANSWERED = Unknown()


def answer(evidence: Evidence, ref: OpRef) -> Answer:
    """What the client was told; Unknown for an operation that was given up."""
    return evidence.outcome.told.get(ref, UNANSWERED)


def acknowledged(evidence: Evidence) -> frozenset[OpRef]:
    """Operations whose answer is a promise. A refusal is one: it says that there was a reason to refuse."""
    return frozenset(ref for ref in evidence.contest.operations if isinstance(answer(evidence, ref), Ok | Refused))


def failed(evidence: Evidence) -> frozenset[OpRef]:
    return frozenset(ref for ref in evidence.contest.operations if isinstance(answer(evidence, ref), Failed | Crashed))


def is_retryable(evidence: Evidence, told: Answer) -> bool:
    return isinstance(told, Failed) and told.sqlstate in evidence.retryable


def doubtful(evidence: Evidence) -> frozenset[OpRef]:
    """Operations that may have had their effect or not: their answer does not say.

    A retryable failure is not among them: it promises that nothing happened, and the caller will do it again.
    """
    answers = {ref: answer(evidence, ref) for ref in evidence.contest.operations}
    return frozenset(
        ref for ref, told in answers.items() if not isinstance(told, Ok | Refused) and not is_retryable(evidence, told)
    )


def unfinished(evidence: Evidence) -> frozenset[OpRef]:
    """Operations whose end nobody saw: the connection died in COMMIT, or they were given up."""
    return frozenset(ref for ref in evidence.contest.operations if isinstance(answer(evidence, ref), Unknown))


def real_time(evidence: Evidence) -> frozenset[tuple[OpRef, OpRef]]:
    """The pairs that an order must keep.

    An unfinished operation may take effect after a later call: it is pending, in Herlihy & Wing's word. Within its
    session program order still holds.
    """
    pending = unfinished(evidence)
    return frozenset((a, b) for a, b in evidence.before if a not in pending)


def run(evidence: Evidence, order: Order) -> Outcome:
    return evidence.serial(order) if order else Outcome(evidence.start, ())


def subsets(refs: Iterable[OpRef]) -> Iterator[frozenset[OpRef]]:
    """Every subset, the largest first: so that an explanation leaves out as little as it can."""
    listed = sorted(refs)
    return (frozenset(some) for size in range(len(listed), -1, -1) for some in combinations(listed, size))


def one_at_a_time(evidence: Evidence, must: Iterable[OpRef], may: Iterable[OpRef]) -> Iterator[tuple[Order, Outcome]]:
    """Every order of `must` with any of `may` put in, and what it comes to."""
    required, time = frozenset(must), real_time(evidence)
    for some in subsets(may):
        for order in orders(required | some, time):
            yield order, run(evidence, order)


def outcomes(evidence: Evidence) -> Iterator[tuple[Order, Outcome]]:
    """The allowed ones: all that was acknowledged, nothing that failed retryably, the doubtful both ways."""
    return one_at_a_time(evidence, acknowledged(evidence), doubtful(evidence))


def same_rows(one: Outcome, other: Outcome) -> bool:
    return one.rows == other.rows


def misinformed(evidence: Evidence, outcome: Outcome) -> tuple[OpRef, ...]:
    """The acknowledged operations that were told something else in the trial than in this outcome."""
    expected = outcome.told
    return tuple(
        ref
        for ref, told in evidence.outcome.answers
        if isinstance(told, Ok | Refused) and told != expected.get(ref, UNANSWERED)
    )


def explains_rows(evidence: Evidence, candidates: Iterable[tuple[Order, Outcome]]) -> bool:
    return any(same_rows(evidence.outcome, outcome) for _, outcome in candidates)


def explains(evidence: Evidence) -> bool:
    """Whether the trial is as good as serial: rows and answers at once, by one and the same order."""
    return any(
        same_rows(evidence.outcome, outcome) and not misinformed(evidence, outcome) for _, outcome in outcomes(evidence)
    )


def counted(rows: Rows) -> Mapping[str, Counter[Row]]:
    """Each table as a multiset of rows."""
    return {table.name: Counter(table.rows) for table in rows}
