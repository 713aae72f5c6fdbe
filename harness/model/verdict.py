"""Verdicts and findings: what a cell is, what was found, and how much was covered."""

from dataclasses import dataclass, field
from enum import StrEnum
from math import sqrt
from typing import TYPE_CHECKING

from harness.model.cell import Cell
from harness.model.contest import Contest
from harness.model.outcome import Outcome
from harness.model.schedule import Schedule
from harness.model.trace import Explained, Trace

if TYPE_CHECKING:  # it speaks of verdicts itself
    from harness.model.advice import Advice


class Verdict(StrEnum):
    """In order of precedence: `unsafe` beats `unknown` beats `retry` beats `safe`."""

    UNSAFE = "unsafe"
    UNKNOWN = "unknown"
    RETRY = "retry"
    SAFE = "safe"


KINDS = (
    "wrong-alone",
    "crash",
    "error",  # written as its SQLSTATE wherever a kind is named
    "hang",
    "deadlock",
    "duplicate",
    "partial-effect",
    "lost-update",
    "wrong-answer",
    "invariant",
    "non-serializable",
)
"""Kinds of findings, in order of precedence: one trial has one kind, the first that matches."""


@dataclass(frozen=True, slots=True)
class Violation:
    """What an oracle says of one trial."""

    kind: str  # one of KINDS; for "error" and "deadlock" the SQLSTATE is beside it
    explanation: str  # one or two sentences for a person
    sqlstate: str | None = None
    anomaly: str | None = None  # "P4", "A5B": the name in the literature, where there is one
    alone: bool = False  # needs no concurrency

    @property
    def name(self) -> str:
        """As `expect` rules name it: the kind, or the SQLSTATE of an error."""
        return self.sqlstate if self.kind == "error" and self.sqlstate else self.kind


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happened that nobody steered."""

    hits: int
    tries: int

    @property
    def interval(self) -> tuple[float, float]:
        """Of the probability, at 95 %: Wilson's score interval (JASA 22, 1927), good for rates near 0."""
        if not self.tries:
            return 0.0, 1.0
        z, n, p = 1.959964, self.tries, self.hits / self.tries
        middle, width = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        return max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)


@dataclass(frozen=True, slots=True)
class Shrunk:
    """How a contest that was drawn became as small as it is."""

    sessions: int  # of the first that failed
    calls: int
    steps: int
    candidates: int  # smaller contests that were explored
    smaller: int  # contests of the small scope, each simpler than this one, that do not show it
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A violation with the schedule that shows it: all that a person needs to see and replay it."""

    violation: Violation
    contest: Contest
    schedule: Schedule
    trace: Trace
    found: Outcome
    allowed: tuple[Outcome, ...]
    count: int = 1  # trials of the cell that showed the same kind
    replayed: int = 0
    replays: int = 0
    shrunk: Shrunk | None = None  # None: it was not drawn, but is of the small scope
    ungated: Rate | None = None  # runs at once, without gates; None: its schedule holds nobody at one
    explained: Explained | None = None  # what was seen inside; None: not while it was watched
    advice: "Advice | None" = None  # of a finding that is shown: its cause, what does not matter, what survives


@dataclass(frozen=True, slots=True)
class Plan:
    """How the server would run a statement whatever its parameters are, so that a changed index or plan shows."""

    statement: str
    plan: str  # lines of EXPLAIN without costs; in brackets why there is none


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was covered, so that a pass says what it means."""

    orders: int = 0  # trials run to their end
    classes: int = 0  # of them, not equivalent under the dependence relation
    pruned: int = 0  # begun, and given up as equivalent to an earlier one
    not_explored: int = 0  # dropped: the order could not be controlled
    exhaustive: bool = False
    granularity: str = "statements"  # or "gates"
    gates: tuple[str, ...] = ()  # where sessions could be held inside statements
    gates_missing: tuple[str, ...] = ()  # tables where one could not be built, and why
    sessions: int = 2
    contests: int = 0
    faults: int = 0  # ways in which one client failed, each tried in every order with one preemption
    contended: bool = False  # operations really met: one waited or failed, or their order made a difference
    skipped: int = 0  # contests of which no serial order writes: nothing can go wrong in them
    aged: int = 0  # serial orders run once more with generic plans
    drawn: int = 0  # trials of contests that were drawn, beyond the small scope...
    drawn_met: int = 0  # ...those of them whose sessions work on a common key...
    drawn_refused: int = 0  # ...and draws whose arguments the operations themselves refuse
    plans: tuple[Plan, ...] = ()  # of the statements seen; only where they were asked for
    sampled: int = 0  # of the orders, those of contests that were not explored to their end...
    sampled_of: float = 0.0  # ...and how many those contests have, about
    repeated: int = 0  # schedules that were run twice and did the same (the scheduler nondeterminism)
    reduction: str = "none"  # or "table-level sleep sets"; says why not where it was not possible


@dataclass(frozen=True, slots=True)
class CellResult:
    cell: Cell
    verdict: Verdict
    reason: str
    findings: tuple[Finding, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    elapsed_s: float = 0.0
    expected: str = "safe"  # the rule that applied, as written
    as_expected: bool = True
    stale: tuple[str, ...] = ()
    source: str = ""  # path of the scenario's file
