"""What a hammering is asked for and comes to: options, what went wrong by luck, a cell's result, how it is doing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.campaign.referee import Luck
from harness.model.cell import Cell, Isolation
from harness.model.contest import Contest
from harness.model.fault import FaultCount, FaultKind, Injection
from harness.model.history import Batch, Calls
from harness.model.verdict import Finding, Rate, Verdict
from harness.runners.hammer import WINDOW
from harness.servers.server import Server

NEVER = Rate(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOptions:
    kinds: tuple[FaultKind, ...] = ()  # none: all that can be done to the server
    each: int | None = None  # of every kind, in one cell: then it is done


@dataclass(frozen=True, slots=True, kw_only=True)
class HammerOptions:
    sessions: int = 8
    seconds: float = 10.0  # of one cell
    budget_s: float | None = None  # of all cells together
    rounds: int | None = None  # of one cell, at most
    seed: int = 0
    layouts: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    isolations: tuple[Isolation, ...] = ()
    processes: int | None = None  # that carry sessions
    window: int = WINDOW
    hand_over: bool = True
    faults: FaultOptions | None = None


@dataclass(frozen=True, slots=True)
class ByLuck:
    """A kind of violation that rounds showed, and what the explorer made of it."""

    luck: Luck
    contest: Contest  # of as many sessions as there were
    rate: Rate  # rounds that showed it
    finding: Finding | None  # the deterministic witness
    handed_over: str  # how that went, where there is none

    @property
    def name(self) -> str:
        """The kind that counts: what the explorer calls it, once it has it under control."""
        return self.finding.violation.name if self.finding else self.luck.violation.name


@dataclass(frozen=True, slots=True)
class Failures:
    """Calls that failed with one SQLSTATE."""

    sqlstate: str
    rate: Rate
    retryable: bool


@dataclass(frozen=True, slots=True)
class HammerResult:
    cell: Cell
    verdict: Verdict  # safe: nothing was found, which is no proof
    reason: str
    alone: tuple[Finding, ...] = ()  # what needs no concurrency
    by_luck: tuple[ByLuck, ...] = ()
    failures: tuple[Failures, ...] = ()
    overlap: Rate = NEVER  # rounds in which two sessions were inside one key at once
    sessions: int = 0
    calls: int = 0
    unjudged: int = 0  # rounds too large to be searched; `summed` of them had their sums checked
    summed: int = 0
    incomplete: int = 0
    raced_s: float = 0.0
    one_at_a_time: bool = False  # rounds had to be kept apart
    indexes_checked: bool = False  # against the heap, by amcheck, after the last batch
    notes: tuple[str, ...] = ()
    expected: str = "safe"
    as_expected: bool = True
    source: str = ""
    faults: tuple[tuple[FaultKind, FaultCount], ...] = ()
    plan: tuple[Injection, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds of what was found."""
        return tuple(dict.fromkeys([*(f.violation.name for f in self.alone), *(luck.name for luck in self.by_luck)]))

    @property
    def rounds(self) -> int:
        return self.overlap.tries

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.raced_s if self.raced_s else 0.0


@dataclass(frozen=True, slots=True)
class HammerReport:
    cells: tuple[HammerResult, ...]
    servers: tuple[Server, ...]
    options: HammerOptions
    warnings: tuple[str, ...]
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Racing:
    """How a cell is doing, told after every batch."""

    cell: Cell
    number: int  # of the cell, from 1
    cells: int
    left_s: float
    calls: int
    calls_per_s: float
    failures: tuple[tuple[str, int], ...]
    violations: tuple[tuple[str, int], ...]


Listener = Callable[[HammerResult | Racing], None]


class Historian(Protocol):
    """Keeps what every call came to."""

    def note(self, cell: Cell, templates: Sequence[Contest], batch: Batch, calls: Calls) -> None: ...
