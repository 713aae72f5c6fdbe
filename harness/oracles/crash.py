"""An exception that is neither a refusal nor a database error: the application's own code did not survive the race."""

from harness.model.outcome import Crashed
from harness.model.verdict import Violation
from harness.oracles import allowed, explain
from harness.oracles.evidence import Evidence


def judge(evidence: Evidence) -> Violation | None:
    for ref in evidence.contest.operations:
        told = allowed.answer(evidence, ref)
        if isinstance(told, Crashed):
            return Violation("crash", f"{explain.doing(evidence.contest, ref)} {explain.received(told)}")
    return None
