"""Needs no concurrency: run one at a time, the strategy fails, or does not do what the operations' own bodies say."""

from harness.model.contest import Order, orders
from harness.model.outcome import Crashed, Failed, Outcome
from harness.model.verdict import Violation
from harness.oracles import allowed, explain
from harness.oracles.evidence import Evidence


def judge(evidence: Evidence) -> Violation | None:
    """Over every allowed order of the whole contest; a failure goes before a difference, which it often causes."""
    every = list(orders(evidence.contest.operations, evidence.before))
    for look in (_fails, differs):
        for order in every:
            if violation := look(evidence, order, evidence.serial(order)):
                return violation
    return None


def _fails(evidence: Evidence, order: Order, found: Outcome) -> Violation | None:
    for ref, told in found.answers:
        if not isinstance(told, Failed | Crashed) or allowed.is_retryable(evidence, told):
            continue
        what = f"{explain.doing(evidence.contest, ref)} {explain.received(told)}"
        words = f"no concurrency needed: {what}, run one at a time in the order {_spell(evidence, order)}"
        if isinstance(told, Crashed):
            return Violation("crash", words, alone=True)
        return Violation("error", words, sqlstate=told.sqlstate, alone=True)
    return None


def differs(evidence: Evidence, order: Order, found: Outcome) -> Violation | None:
    """Whether this order, run one at a time, came to something else than the operations' own bodies do."""
    if evidence.specification is None or not order:
        return None
    meant = evidence.specification(order)
    apart = [
        f"{explain.doing(evidence.contest, ref)} {explain.received(told)}, the specification says {meant.answer(ref)}"
        for ref, told in found.answers
        if told != meant.answer(ref)
    ][:1]
    here, there = evidence.live_rows(found), evidence.live_rows(meant)
    if here != there:
        apart.append(f"{explain.rows_apart(here, there)}, by the specification")
    if not apart:
        return None
    words = f"run one at a time in the order {_spell(evidence, order)}: {'; '.join(apart)}"
    return Violation("wrong-alone", words, alone=True)


def _spell(evidence: Evidence, order: Order) -> str:
    return explain.in_order(evidence.contest, order)
