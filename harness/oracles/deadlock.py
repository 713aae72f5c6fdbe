"""A cycle that the server did see and broke, and whose victim is not retried by its caller."""

from harness.model.outcome import Failed
from harness.model.verdict import Violation
from harness.oracles import allowed, explain
from harness.oracles.error import DEADLOCK
from harness.oracles.evidence import Evidence


def judge(evidence: Evidence) -> Violation | None:
    for ref in evidence.contest.operations:
        told = allowed.answer(evidence, ref)
        if told == Failed(DEADLOCK) and not allowed.is_retryable(evidence, told):
            words = (
                f"{explain.doing(evidence.contest, ref)} {explain.received(told)}, and its caller does not retry that"
            )
            return Violation("deadlock", words, sqlstate=DEADLOCK)
    return None
