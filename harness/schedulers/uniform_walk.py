"""A walk that takes every order with equal odds, and counts on its way how many there are."""

import random
from collections.abc import Mapping, Sequence
from math import factorial, prod
from statistics import fmean


def linear_extensions(steps: Sequence[int]) -> int:
    """In how many orders sessions of so many steps can go if nobody ever waits."""
    return factorial(sum(steps)) // prod(map(factorial, steps))


class UniformWalk:
    """Uniform random walk (Zhao, Wolff, Mathur and Roychoudhury, Selectively Uniform Concurrency Testing, ASPLOS 2025).

    A session goes with a weight of the orders that are left if it does; that is of its own steps left, as the number of
    linear extensions of chains has it. How many steps each session takes is what was seen (`steps`, and then the walk's
    own trials); of one never seen nothing is known, and the first trial is the plain random walk.

    Waits leave orders out, so that where there are any the walk is not exactly uniform. What a walk's odds were is
    known all the same, and the mean of 1/odds is the number of leaves of the tree it walks in (Knuth, Estimating the
    efficiency of backtrack programs, 1975): `orders`, unbiased, and exact where nobody waits.
    """

    def __init__(self, seed: int, trials: int, *, steps: Mapping[int, int] | None = None) -> None:
        self._random = random.Random(f"uniform {seed}")
        self._left = trials
        self._steps = dict(steps or {})
        self._counts: list[float] = []

    def new_trial(self) -> bool:
        self._left -= 1
        self._taken: dict[int, int] = {}
        self._odds = 1.0
        return self._left >= 0

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        weights = [self._steps_left(session) if event == "run" else 1 for session in options]
        (at,) = self._random.choices(range(len(options)), weights)
        self._odds *= weights[at] / sum(weights)
        if event == "run":
            self._taken[options[at]] = self._taken.get(options[at], 0) + 1
        return options[at]

    def _steps_left(self, session: int) -> int:
        return max(self._steps.get(session, 0) - self._taken.get(session, 0), 1)

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        self._counts.append(1 / self._odds)
        for session, steps in self._taken.items():
            self._steps[session] = max(self._steps.get(session, 0), steps)

    @property
    def orders(self) -> float:
        """How many there are, about. 0: no trial came to its end yet."""
        return fmean(self._counts) if self._counts else 0.0
