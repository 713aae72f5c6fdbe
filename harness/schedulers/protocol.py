"""What every scheduler answers, and how it says that a trial did not go as it had to."""

from collections.abc import Sequence
from typing import Protocol


class Scheduler(Protocol):
    """Proposes trials until it has none left; within a trial, chooses who goes next."""

    def new_trial(self) -> bool:
        """Begin the next trial. False: nothing is left to explore."""
        ...

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        """One of `options`; `current` went last and could go on (None: it ended, or waits)."""
        ...

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        """The trial ran to its end by these choices: (chosen, options, event)."""
        ...


class Departure(RuntimeError):
    """A trial left the schedule it had to follow: what was expected, what was found, at which step (from 1)."""

    def __init__(self, step: int, expected: str, found: str) -> None:
        super().__init__(f"the schedule departs at step {step}: expected {expected}, found {found}")
        self.step, self.expected, self.found = step, expected, found


class Pruned(RuntimeError):
    """The trial is equivalent to one already run: it need not be finished."""


def names(sessions: Sequence[int]) -> str:
    return ", ".join(f"s{index + 1}" for index in sessions) or "nobody"
