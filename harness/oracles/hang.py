"""A cycle of sessions that the server cannot see, so that nobody ends it."""

from harness.model.verdict import Violation
from harness.oracles.evidence import Evidence


def judge(evidence: Evidence) -> Violation | None:
    if evidence.hang is None:
        return None
    return Violation("hang", f"the sessions wait for each other and the server sees no deadlock: {evidence.hang}")
