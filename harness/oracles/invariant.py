"""A query of the scenario that must return no row returned one."""

from harness.model.verdict import Violation
from harness.oracles.evidence import Evidence


def judge(evidence: Evidence) -> Violation | None:
    for name, row in evidence.invariants:
        return Violation("invariant", f"'{name}' must return no row, and returned {row}")
    return None
