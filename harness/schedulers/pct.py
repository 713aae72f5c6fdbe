"""Random priorities and d - 1 points at which the foremost falls behind: known odds for a race of depth d."""

import random
from collections.abc import Sequence


def odds(sessions: int, steps: int, depth: int) -> float:
    """With what probability, at least, one trial meets a race of this depth: 1 / (n k^(d-1)).

    The depth is the number of constraints between steps of different sessions that suffice for the race: 1 if it takes
    no more than one session before another, 2 for a lost update (read before the other's write, write after it).
    """
    return 1 / float(sessions * max(steps, 1) ** (depth - 1))


class Priorities:
    """Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi and Nagarakatte, ASPLOS 2010).

    Sessions get random priorities; whoever of those that can go on has the highest goes. At d - 1 steps, drawn among
    all, the one that was to go falls behind all others first. Differs from the paper in that the length of a trial is
    not given but is the longest seen (`steps`: what is known beforehand), so that the odds hold from the second trial
    on; that no two change points coincide; and that a deadlock's victim, of which the paper knows none, is drawn.
    """

    def __init__(self, seed: int, trials: int, *, depth: int, steps: int = 1) -> None:
        if depth < 1:
            raise ValueError(f"depth={depth}: expected 1 or more")
        self._random = random.Random(f"pct {depth} {seed}")
        self._left, self._depth, self.steps = trials, depth, steps

    def new_trial(self) -> bool:
        self._left -= 1
        points = range(1, self.steps)  # before the first step a change would only be another draw of priorities
        changes = self._random.sample(points, min(self._depth - 1, len(points)))
        # The places behind all others are given out in random order, too: the sample is in one.
        self._changes = {step: -place for place, step in enumerate(changes, 1)}
        self._priorities: dict[int, float] = {}
        self._step = 0
        return self._left >= 0

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        if event != "run":
            return self._random.choice(options)
        for session in options:
            if session not in self._priorities:
                self._priorities[session] = self._random.random()
        foremost = max(options, key=self._priorities.__getitem__)
        if self._step in self._changes:
            self._priorities[foremost] = self._changes[self._step]
            foremost = max(options, key=self._priorities.__getitem__)
        self._step += 1
        return foremost

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        self.steps = max(self.steps, self._step)
