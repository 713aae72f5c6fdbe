"""The rows are allowed, but not together with what the clients were told."""

from collections import Counter

from harness.model.contest import OpRef, Order, orders
from harness.model.outcome import Outcome
from harness.model.verdict import Violation
from harness.oracles import allowed, explain
from harness.oracles.evidence import Evidence

ORDERS_TOLD = 2  # with more orders than these the sentence counts them instead


def judge(evidence: Evidence) -> Violation | None:
    if allowed.explains(evidence):
        return None
    matching = [
        (order, outcome)
        for order, outcome in allowed.outcomes(evidence)
        if allowed.same_rows(evidence.outcome, outcome)
    ]
    if not matching:
        return None
    return Violation(
        "wrong-answer",
        _explain(evidence, matching) + explain.out_of_time(evidence),
        anomaly=_anomaly(evidence, matching),
    )


def _explain(evidence: Evidence, matching: list[tuple[Order, Outcome]]) -> str:
    contest = evidence.contest
    concerned = sorted({ref for _, outcome in matching for ref in allowed.misinformed(evidence, outcome)})
    told = f"{explain.told_together(contest, evidence.outcome, concerned)}; "
    in_every = f"{told}in every order that leaves these rows "
    if len(concerned) == 1:
        return f"{in_every}it {' or '.join(sorted({_is_told(outcome, concerned[0]) for _, outcome in matching}))}"
    received = Counter(_is_told(evidence.outcome, ref) for ref in concerned)
    instead = [Counter(_is_told(outcome, ref) for ref in concerned) - received for _, outcome in matching]
    if instead[0].total() == 1 and all(other == instead[0] for other in instead):
        return f"{in_every}one of them {next(iter(instead[0]))}"
    if len(matching) > ORDERS_TOLD:
        return f"{told}none of the {len(matching)} orders that leave these rows tells them so"
    each = [
        f"in the order {explain.in_order(contest, order)}: {explain.told_together(contest, outcome, concerned)}"
        for order, outcome in matching
    ]
    return told + "; ".join(each)


def _is_told(outcome: Outcome, ref: OpRef) -> str:
    return f"is {explain.heard(outcome.answer(ref))}"


def _anomaly(evidence: Evidence, matching: list[tuple[Order, Outcome]]) -> str | None:
    """A5A, read skew (Berenson et al. 1995): beside one session that writes, a reader was told of some of it only.

    That is known when there are two sessions, one operation alone is misinformed, and that one changes no row, so that
    what it was told can only come from what it read. Real time is left aside: a whole state that is old is no skew.
    """
    concerned = {ref for _, outcome in matching for ref in allowed.misinformed(evidence, outcome)}
    if len(evidence.contest.sessions) != 2 or len(concerned) != 1:
        return None
    reader = concerned.pop()
    if not all(_changes_nothing(evidence, reader, order, outcome) for order, outcome in matching):
        return None
    return None if _told_of_an_old_state(evidence, reader) else "A5A"


def _changes_nothing(evidence: Evidence, reader: OpRef, order: Order, outcome: Outcome) -> bool:
    return allowed.same_rows(outcome, allowed.run(evidence, tuple(ref for ref in order if ref != reader)))


def _told_of_an_old_state(evidence: Evidence, reader: OpRef) -> bool:
    any_time = orders(allowed.acknowledged(evidence))
    return any(evidence.serial(order).answer(reader) == evidence.outcome.answer(reader) for order in any_time)
