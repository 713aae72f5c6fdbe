"""Every schedule once, those with fewer preemptions first: serial orders, then one preemption, two..."""

import heapq
from collections.abc import Sequence

from harness.schedulers.protocol import Departure, names


class Preemptions:
    """Iterative context bounding (Musuvathi and Qadeer, PLDI 2007): most races need one or two preemptions.

    A switch away from a session that could have gone on is a preemption; a switch because it waits or has ended is
    free. Differs from the paper in that nothing is run twice: a trial is a prefix that deviates once more than its
    parent's, then everybody goes on while he can. Without a bound it is brute force over all feasible orders.
    """

    def __init__(self, bound: int | None = None) -> None:
        self._bound = bound
        # (preemptions, tie-break, prefix of choices, options met along the prefix)
        self._queue: list[tuple[int, int, tuple[int, ...], tuple[tuple[int, ...], ...]]] = [(0, 0, (), ())]
        self._made = 1
        self._run = 0
        self.cut_off = False  # whether the bound left schedules out
        self.preemptions = 0  # of the trial that runs

    def new_trial(self) -> bool:
        if not self._queue:
            return False
        self.preemptions, _, self._prefix, self._expected = heapq.heappop(self._queue)
        self._depth = 0
        self._current: list[int | None] = []
        return True

    @property
    def expected(self) -> float:
        """How many trials it takes at least: those that were run, and those that are known to be left."""
        return self._run + len(self._queue)

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        depth = self._depth
        self._depth += 1
        self._current.append(current)
        if depth >= len(self._prefix):
            return options[0] if current is None else current
        if options != self._expected[depth]:
            raise Departure(depth + 1, f"{names(self._expected[depth])} to be able to go on", names(options))
        return self._prefix[depth]

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        self._run += 1
        chosen = tuple(choice for choice, _, _ in choices)
        met = tuple(options for _, options, _ in choices)
        for position in range(len(self._prefix), len(choices)):
            for other in met[position]:
                if other == chosen[position]:
                    continue
                cost = self.preemptions + (self._current[position] is not None)
                if self._bound is not None and cost > self._bound:
                    self.cut_off = True
                    continue
                heapq.heappush(self._queue, (cost, self._made, (*chosen[:position], other), met[: position + 1]))
                self._made += 1
