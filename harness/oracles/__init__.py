"""Floor 2: was it right? Judges one trial by the serial outcomes of its own operations. No sockets, no clocks, no SQL.

What a finding means: the trial really happened, and no order of its operations, run one at a time by the same strategy,
leaves these rows and gives these answers (or the strategy fails alone). What a pass means: this one trial is as good as
serial; of other schedules it says nothing.
"""

from collections.abc import Callable
from typing import Final

from harness.model.verdict import Violation
from harness.oracles import (
    crash,
    deadlock,
    duplicate,
    error,
    hang,
    invariant,
    lost_update,
    non_serializable,
    partial_effect,
    wrong_alone,
    wrong_answer,
)
from harness.oracles.evidence import Evidence, Key, LiveKeys, OracleCrashed

__all__ = ["ORACLES", "Evidence", "Key", "LiveKeys", "Oracle", "OracleCrashed", "judge"]

Oracle = Callable[[Evidence], Violation | None]

ORACLES: Final[tuple[tuple[str, Oracle], ...]] = (
    ("wrong-alone", wrong_alone.judge),  # also says crash and error, where they need no concurrency
    ("crash", crash.judge),
    ("error", error.judge),
    ("hang", hang.judge),
    ("deadlock", deadlock.judge),
    ("duplicate", duplicate.judge),
    ("partial-effect", partial_effect.judge),
    ("lost-update", lost_update.judge),
    ("wrong-answer", wrong_answer.judge),
    ("invariant", invariant.judge),
    ("non-serializable", non_serializable.judge),
)
"""In order of precedence: KINDS of the model, what needs no concurrency first."""


def judge(evidence: Evidence) -> Violation | OracleCrashed | None:
    """The first violation. An oracle that breaks is no pass; what a later one finds is found, and goes before it."""
    crashed: OracleCrashed | None = None
    for name, oracle in ORACLES:
        try:
            violation = oracle(evidence)
        except Exception as exception:
            crashed = crashed or OracleCrashed(name, f"{type(exception).__name__}: {exception}", exception)
        else:
            if violation is not None:
                return violation
    return crashed
