"""The rows are allowed, but not together with what the clients were told."""

from harness.model.contest import OpRef, Order, orders
from harness.model.outcome import Outcome
from harness.model.verdict import Violation
from harness.oracles import allowed, explain
from harness.oracles.evidence import Evidence

ORDERS_TOLD = 2  # with more orders than these the sentence counts them instead


def judge(evidence: Evidence) -> Violation | None:
    matching = [
        (order, outcome)
        for order, outcome in allowed.outcomes(evidence)
        if allowed.same_rows(evidence.outcome, outcome)
    ]
    if not matching or any(not allowed.misinformed(evidence, outcome) for _, outcome in matching):
        return None
    return Violation(
        "wrong-answer",
        _explain(evidence, matching) + explain.out_of_time(evidence),
        anomaly=_anomaly(evidence, matching),
    )


def _explain(evidence: Evidence, matching: list[tuple[Order, Outcome]]) -> str:
    contest = evidence.contest
    concerned = sorted({ref for _, outcome in matching for ref in allowed.misinformed(evidence, outcome)})
    told = explain.told_together(contest, evidence.outcome, concerned)
    if len(concerned) == 1:
        others = sorted({explain.received(outcome.answer(concerned[0])) for _, outcome in matching})
        return f"{told}; in every order that leaves these rows it {' or '.join(others)}"
    answers = {tuple(sorted(str(outcome.answer(ref)) for ref in concerned)) for _, outcome in matching}
    if len(answers) == 1:
        return f"{told}; in every order that leaves these rows they are told {explain.listed(answers.pop())}"
    if len(matching) > ORDERS_TOLD:
        return f"{told}; none of the {len(matching)} orders that leave these rows tells them so"
    each = [
        f"in the order {explain.in_order(contest, order)} {explain.told_together(contest, outcome, concerned)}"
        for order, outcome in matching
    ]
    return f"{told}; {', '.join(each)}"


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
