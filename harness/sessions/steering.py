"""What a trial is steered by and ends in: who chooses, who watches, what the hub may do on this server."""

import math
import os
from dataclasses import dataclass, field
from typing import Protocol

from harness.scenario.errors import ScenarioError
from harness.servers.server import WakeOrder
from harness.sessions.session import Session
from harness.sessions.statement import Kind, Statement


class Scheduler(Protocol):
    """Chooses who goes next. Knows sessions, not SQL."""

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        """One of `options` (never empty). `current` went last and still could, or is None."""
        ...


class Observer(Protocol):
    """Is told what happened; recording a trace costs more than running the trial, so it is optional."""

    # Whether to look at what each commit left: then even a single session that waits for it is let go on only
    # afterwards, where the server allows. Nothing is chosen by it.
    one_by_one: bool

    def settled(self) -> None: ...
    def step_begins(self, session: int) -> None: ...
    def sent(self, session: int, statement: Statement, result: str) -> None: ...
    def waiting(self, session: int, statement: Statement, why: str) -> None: ...
    def completed(self, session: int, statement: Statement, result: str) -> None: ...


class Tracker(Protocol):
    """Follows what each step touches: exploring without it costs nothing. harness.sessions.footprints has it."""

    def trial_begins(self) -> None: ...
    def step_begins(self, session: Session, sessions: list[Session], waiters: list[Session]) -> None: ...
    def sends(self, session: Session) -> None: ...
    def waits(self, session: Session) -> None: ...
    def held(self, session: Session) -> None: ...
    def done(self, session: Session) -> None: ...
    def deadlock(self) -> None: ...
    def spins(self) -> None: ...
    def step_ends(self) -> None: ...


class OutOfTime(BaseException):
    """The trial's deadline passed, in the server or in the code under test."""


class Uncontrolled(RuntimeError):
    """The trial cannot be steered: the reason is the verdict's."""


class OrderLost(Uncontrolled):
    """Two sessions wait for the same thing, and nobody can say who wakes first on this server."""


@dataclass
class Ended:
    """How a trial ended, apart from what the sessions were told."""

    choices: list[tuple[int, tuple[int, ...], str]] = field(default_factory=list)
    hang: str | None = None
    waits: int = 0
    gates: list[str] = field(default_factory=list)
    spans: dict[tuple[int, int], list[int]] = field(default_factory=dict)  # operation -> first and last step
    aborted: bool = False
    commands: dict[int, list[Kind]] = field(default_factory=dict)  # by session, of those that others can see
    failed: tuple[int, int] | None = None  # session and position of the operation that the fault has met


@dataclass(frozen=True, slots=True)
class Steering:
    """What the hub may use on this server."""

    wake_order: WakeOrder = "signal"  # how backends are stopped, so that who wakes first is ordered
    deadline_s: float = field(default_factory=lambda: trial_seconds())
    steps_max: int = 400


def trial_seconds() -> float:
    """How long one trial may take: 20 s, or what HARNESS_TRIAL_S says. Nearly all take milliseconds."""
    told = os.environ.get("HARNESS_TRIAL_S", "20")
    try:
        seconds = float(told)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ScenarioError(f"HARNESS_TRIAL_S={told!r}: expected a number of seconds above 0, such as 20")
    return seconds
