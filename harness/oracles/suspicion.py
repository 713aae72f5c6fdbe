"""The same questions, asked cheaply: of a trial of which it is enough to know whether it is worth a closer look.

Of a large contest nobody can afford every order of every subset. Here one order that explains the trial acquits it, and
what no order can explain condemns it under a name that is settled later, by `judge`, on the smallest contest.
"""

from harness.model.contest import Order, orders
from harness.model.verdict import Violation
from harness.oracles import allowed, crash, deadlock, duplicate, error, explain, hang, invariant, wrong_alone
from harness.oracles.evidence import Evidence


def suspect(evidence: Evidence, likely: Order) -> Violation | None:
    """What is wrong, as far as that is cheap to tell; `likely` is the order to try first, such as that of the ends."""
    if violation := crash.judge(evidence) or _error(evidence) or hang.judge(evidence) or deadlock.judge(evidence):
        return violation
    order = _explaining(evidence, likely)
    if order is not None:
        return wrong_alone.differs(evidence, order, allowed.run(evidence, order)) or invariant.judge(evidence)
    return (
        duplicate.judge(evidence)
        or invariant.judge(evidence)
        or Violation("non-serializable", "no allowed order explains the outcome")
    )


def _error(evidence: Evidence) -> Violation | None:
    if met := error.reached(evidence):
        ref, told = met
        return Violation("error", f"{explain.doing(evidence.contest, ref)} {explain.received(told)}", told.sqlstate)
    return None


def _explaining(evidence: Evidence, likely: Order) -> Order | None:
    """An order of what was acknowledged, and of any of the doubtful, that came to the same rows and answers."""
    acknowledged, doubtful = allowed.acknowledged(evidence), allowed.doubtful(evidence)
    first = tuple(ref for ref in likely if ref in acknowledged)
    every = (
        order
        for some in allowed.subsets(doubtful)
        for order in orders(acknowledged | some, allowed.real_time(evidence))
    )
    for order in (first, *every) if not doubtful else every:
        outcome = allowed.run(evidence, order)
        if allowed.same_rows(evidence.outcome, outcome) and not allowed.misinformed(evidence, outcome):
            return order
    return None
