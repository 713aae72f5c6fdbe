"""Which faults happen in which rounds of a race: drawn from the seed, every kind as often as any other."""

import random
from collections.abc import Sequence

from harness.model.fault import FaultKind, Injection

ROUNDS = 16  # of a batch: few, so that many batches see the server restart
_POINTS = 1 << 16


class FaultPlan:
    """Faults for one batch of rounds after the other; the same seed and the same batches draw the same."""

    def __init__(self, seed: str, kinds: Sequence[FaultKind], sessions: int, each: int | None = None) -> None:
        """`each`: how often each kind is to happen, at most."""
        self._chance = random.Random(seed)
        self._sessions = sessions
        self._left = dict.fromkeys(kinds, each)
        self._turns: dict[bool, list[FaultKind]] = {True: [], False: []}

    @property
    def spent(self) -> bool:
        """Whether every kind has been planned as often as was asked for."""
        return not any(left is None or left > 0 for left in self._left.values())

    def batch(self, first: int, rounds: int) -> tuple[Injection, ...]:
        """For the rounds from `first` on: at most one fault in each, and one of those that happen to all sessions."""
        free = list(range(rounds))
        drawn = []
        # In the second half: single sessions were hurt before, and there is something left to go on with.
        if (kind := self._next(of_all=True, or_not=rounds == 1)) is not None:
            at = self._chance.randrange(rounds // 2, max(rounds // 2 + 1, rounds - rounds // 4))
            free.remove(at)
            drawn.append(self._injection(kind, first + at))
        wanted = len([kind for kind in self._left if not kind.of_all])
        for at in self._chance.sample(free, min(len(free), wanted, rounds // 2)):
            if (kind := self._next(of_all=False)) is not None:
                drawn.append(self._injection(kind, first + at))
        if not drawn and (kind := self._next(of_all=False)) is not None:
            drawn.append(self._injection(kind, first))
        return tuple(sorted(drawn, key=lambda injection: injection.round))

    def not_done(self, injection: Injection) -> None:
        """It could not happen, for the race ended before: its kind is owed one more."""
        left = self._left[injection.kind]
        if left is not None:
            self._left[injection.kind] = left + 1

    def _injection(self, kind: FaultKind, number: int) -> Injection:
        return Injection(kind, number, self._chance.randrange(self._sessions), self._chance.randrange(_POINTS))

    def _next(self, *, of_all: bool, or_not: bool = False) -> FaultKind | None:
        """The kind whose turn it is. `or_not`: every other time none, for rounds that are run alone."""
        if or_not and self._chance.random() < 0.5:
            return None
        turns = self._turns[of_all]
        if not turns:
            turns += [kind for kind, left in self._left.items() if kind.of_all is of_all and left != 0]
            self._chance.shuffle(turns)
        if not turns:
            return None
        kind = turns.pop()
        left = self._left[kind]
        if left is not None:
            self._left[kind] = left - 1
        return kind
