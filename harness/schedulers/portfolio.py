"""Samplers that take turns: no one of them is the best for every race, and each costs the others only its share."""

from collections.abc import Mapping, Sequence

from harness.schedulers.pct import Priorities
from harness.schedulers.protocol import Scheduler
from harness.schedulers.uniform_walk import UniformWalk


class Turns:
    """One trial of each scheduler, then the next of each; one that has none left is passed over.

    For portfolios of testing techniques see Gomes and Selman, Algorithm portfolios (Artificial Intelligence 126, 2001):
    where it is not known which of several random searches is quick, running them in turn is never far from the best.
    """

    def __init__(self, schedulers: Sequence[Scheduler]) -> None:
        self._waiting = list(schedulers)

    def new_trial(self) -> bool:
        while self._waiting:
            self._now = self._waiting.pop(0)
            if self._now.new_trial():
                self._waiting.append(self._now)
                return True
        return False

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        return self._now.choose(options, current, event)

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        self._now.finished(choices)


def random_priorities(seed: int, trials: int, *, steps: int = 1) -> Turns:
    """Depth 2, which most races have (a lost update), and 3, in turn."""
    halves = (trials + 1) // 2, trials // 2
    return Turns([Priorities(seed, half, depth=depth, steps=steps) for half, depth in zip(halves, (2, 3), strict=True)])


def mixed(seed: int, trials: int, steps: Mapping[int, int]) -> tuple[Turns, UniformWalk]:
    """What the portfolio does with orders that cannot all be run, `steps` of each session having been seen; and, for
    what it knows of how many there are, the walk in it."""
    walk = UniformWalk(seed, trials // 2, steps=steps)
    return Turns([random_priorities(seed, trials - trials // 2, steps=sum(steps.values()) or 1), walk]), walk
