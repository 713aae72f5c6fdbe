"""A uniform choice at each point: the fallback beyond the budget, and the baseline of every comparison."""

import random
from collections.abc import Sequence


class RandomWalk:
    """Uniform random walk over the choices. Equal seeds give equal trials."""

    def __init__(self, seed: int, trials: int) -> None:
        self._random = random.Random(seed)
        self._left = trials

    def new_trial(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        return self._random.choice(options)

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        return None
