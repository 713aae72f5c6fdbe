"""A failed operation left something: "failed, nothing happened, try again" was not true.

Let A be the acknowledged operations and F the failed ones. The rows are no outcome of A, in any order, and either
- nothing was acknowledged, so that any change is what a failure left; or
- they are an outcome of A with some of F put in: the effect is whole, only the answer denies it; or
- they are made of an outcome of A and of one with some of F put into the same order: no row is there that neither has,
  as often. Two transactions of which the first committed look like this. Rows that a proper subset of A explains are
  left to lost_update: leaving a write out must not be laid at the door of whoever failed.
What others read of a half-done effect and wrote elsewhere is not recognised: that trial is non-serializable.
"""

from collections.abc import Iterator

from harness.model.contest import Order
from harness.model.outcome import Outcome, Rows
from harness.model.verdict import Violation
from harness.oracles import allowed, explain, lost_update
from harness.oracles.evidence import Evidence


def judge(evidence: Evidence) -> Violation | None:
    failed = allowed.failed(evidence)
    if not failed:
        return None
    without = list(_without_failures(evidence))
    if allowed.explains_rows(evidence, without):
        return None
    if not (_left_by_failures_only(evidence) or _put_in(evidence) or _in_part(evidence)):
        return None
    _, expected = explain.nearest(evidence.outcome, without)
    told = explain.listed(
        [
            f"{explain.doing(evidence.contest, ref)} {explain.received(allowed.answer(evidence, ref))}"
            for ref in sorted(failed)
        ]
    )
    words = f"{told}, yet something of it stayed: {explain.rows_apart(evidence.outcome.rows, expected.rows)}"
    return Violation("partial-effect", words)


def _without_failures(evidence: Evidence) -> Iterator[tuple[Order, Outcome]]:
    return allowed.one_at_a_time(evidence, allowed.acknowledged(evidence), allowed.unfinished(evidence))


def _with_failures(evidence: Evidence) -> Iterator[tuple[Order, Outcome]]:
    perhaps = allowed.unfinished(evidence) | allowed.failed(evidence)
    return allowed.one_at_a_time(evidence, allowed.acknowledged(evidence), perhaps)


def _left_by_failures_only(evidence: Evidence) -> bool:
    return not allowed.acknowledged(evidence) and not allowed.unfinished(evidence)


def _put_in(evidence: Evidence) -> bool:
    return allowed.explains_rows(evidence, _with_failures(evidence))


def _in_part(evidence: Evidence) -> bool:
    if allowed.explains_rows(evidence, lost_update.outcomes_without_some(evidence, allowed.unfinished(evidence))):
        return False
    failed = allowed.failed(evidence)
    for order, whole in _with_failures(evidence):
        # The same order without the failures: two orders of A would differ in more than what the failures did.
        nothing = allowed.run(evidence, tuple(ref for ref in order if ref not in failed))
        if _is_made_of(evidence.outcome.rows, nothing.rows, whole.rows):
            return True
    return False


def _is_made_of(found: Rows, one: Rows, other: Rows) -> bool:
    these, those = allowed.counted(one), allowed.counted(other)
    # Counter's | is the maximum. A row that both have may be gone: deleted, and not inserted again as it was.
    return all(rows <= these[name] | those[name] for name, rows in allowed.counted(found).items())
