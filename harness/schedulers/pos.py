"""A random priority for every step, drawn anew when another step races with it: it samples partial orders."""

import random
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Touched = TypeVar("Touched")
"""What a step touched, as the dependence relation takes it. Schedulers need not know what that is."""


class PartialOrders(Generic[Touched]):
    """Partial order sampling (Yuan, Yang and Gu, Partial Order Aware Concurrency Sampling, CAV 2018).

    Every session's next step has a random priority; the highest goes. Then the next steps that race with it draw anew:
    otherwise a step that lost against one would more likely lose against the others, too.

    Differs from the paper in that what a step touches is known only after it was taken (`observe`): a next step is
    taken to touch what the same step of its session touched when it was seen last, and to race if it never was.
    Without a relation (`dependent`) nothing is known to race and nothing is drawn anew: what the paper calls BasicPOS.
    If everything raced, it would be the random walk. A deadlock's victim is drawn.
    """

    def __init__(self, seed: int, trials: int, dependent: Callable[[Touched, Touched], bool] | None = None) -> None:
        self._random = random.Random(f"pos {seed}")
        self._left, self._dependent = trials, dependent
        self._seen: dict[tuple[int, int], Touched] = {}  # by session and number of its step

    def new_trial(self) -> bool:
        self._left -= 1
        self._taken: dict[int, int] = {}
        self._priorities: dict[int, float] = {}
        self._last: tuple[int, int] | None = None
        return self._left >= 0

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        if event != "run":
            return self._random.choice(options)
        if self._last is not None:
            self._draw_anew(self._last)
        for session in options:
            if session not in self._priorities:
                self._priorities[session] = self._random.random()
        chosen = max(options, key=self._priorities.__getitem__)
        self._last = (chosen, self._taken.get(chosen, 0))
        self._taken[chosen] = self._last[1] + 1
        return chosen

    def _draw_anew(self, last: tuple[int, int]) -> None:
        """For the session that went, and for those whose next step races with the step it took."""
        del self._priorities[last[0]]
        if self._dependent is None:
            return
        for session in list(self._priorities):
            pending = (session, self._taken.get(session, 0))
            known = last in self._seen and pending in self._seen
            if not known or self._dependent(self._seen[pending], self._seen[last]):
                del self._priorities[session]

    def observe(self, touched: Touched) -> None:
        """What the step that was chosen last has touched."""
        if self._last is not None:
            self._seen[self._last] = touched

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        return None
