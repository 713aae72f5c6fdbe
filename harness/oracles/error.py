"""A SQLSTATE that reached the client and that its caller does not retry; errors raised by COMMIT count."""

from typing import Final

from harness.model.contest import OpRef, orders
from harness.model.outcome import Failed
from harness.model.verdict import Violation
from harness.oracles import allowed, explain
from harness.oracles.evidence import Evidence

DEADLOCK: Final = "40P01"  # has a kind of its own: see deadlock.py


def judge(evidence: Evidence) -> Violation | None:
    """The first one by session: which of two failing sessions came first is an accident of the schedule."""
    violation = reached(evidence)
    if violation is None:
        return None
    ref, found = violation
    alone = _fails_alone(evidence, ref, found)
    where = ", and it needs no concurrency" if alone else "; run one at a time, it does not in any order"
    words = f"{explain.doing(evidence.contest, ref)} {explain.received(found)}{where}"
    return Violation("error", words, sqlstate=found.sqlstate, alone=alone)


def reached(evidence: Evidence) -> tuple[OpRef, Failed] | None:
    """Who met it, without asking whether that needs concurrency."""
    for ref in evidence.contest.operations:
        told = allowed.answer(evidence, ref)
        if isinstance(told, Failed) and told.sqlstate != DEADLOCK and not allowed.is_retryable(evidence, told):
            return ref, told
    return None


def _fails_alone(evidence: Evidence, ref: OpRef, told: Failed) -> bool:
    # Real time is left aside: an order that did not happen this time still needs no concurrency to happen.
    return any(evidence.serial(order).told.get(ref) == told for order in orders(evidence.contest.operations))
