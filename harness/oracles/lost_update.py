"""An acknowledged write is gone: the rows are those of a proper subset of the acknowledged operations.

P4 of Berenson et al. 1995: one of two that read the same state overwrites what the other wrote. We look at what is
left, not at who read what; a deletion or an insertion that is gone counts as well.
"""

from collections.abc import Iterable, Iterator

from harness.model.contest import OpRef, Order
from harness.model.outcome import Outcome
from harness.model.verdict import Violation
from harness.oracles import allowed, explain
from harness.oracles.evidence import Evidence


def judge(evidence: Evidence) -> Violation | None:
    if allowed.explains_rows(evidence, allowed.outcomes(evidence)):
        return None
    for order, outcome in outcomes_without_some(evidence, allowed.doubtful(evidence)):
        if allowed.same_rows(evidence.outcome, outcome):
            lost = sorted(allowed.acknowledged(evidence) - set(order))
            return Violation("lost-update", _explain(evidence, lost, order), anomaly="P4")
    return None


def outcomes_without_some(evidence: Evidence, may: Iterable[OpRef]) -> Iterator[tuple[Order, Outcome]]:
    """The outcomes of every proper subset of the acknowledged operations, fewest losses first, with any of `may`."""
    acknowledged = allowed.acknowledged(evidence)
    for kept in allowed.subsets(acknowledged):
        if kept != acknowledged:
            yield from allowed.one_at_a_time(evidence, kept, may)


def _explain(evidence: Evidence, lost: list[OpRef], order: Order) -> str:
    contest = evidence.contest
    told = explain.told_together(contest, evidence.outcome, lost)
    calls = explain.listed([explain.doing(contest, ref) for ref in lost])
    _, expected = explain.nearest(evidence.outcome, allowed.outcomes(evidence))
    apart = explain.rows_apart(evidence.outcome.rows, expected.rows)
    return f"{told}, yet the rows are those of {explain.in_order(contest, order)} without {calls}: {apart}"
