"""Whether some order of overlapping calls explains what they were told and left: a search that remembers dead ends.

Wing & Gong 1993 (try every call that may go next), with Lowe's 2017 improvement: a pair of the calls that are done and
the state that they left is a dead end once for all. Calls are tried in the order in which they ended, which is mostly
the one. The specification is a function; what is learned by it, and how, is its business.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.model.outcome import Answer

NODES_MAX = 20_000  # of one search; eight calls have 2^8 sets of those that are done
Step = Callable[[int, int], tuple[int, Answer]]
"""(state, number of the call) -> the state that it leaves, what it is told. May raise TooLarge."""


class TooLarge(Exception):
    """The search, or what it would have to learn, is larger than is allowed: nobody knows."""


@dataclass(frozen=True, slots=True)
class Span:
    """One call as its client saw it."""

    began: int
    ended: int
    told: Answer | None = None  # None: whatever it was told
    must: bool = True  # it had its effect; otherwise it may have had it, or not, and at any time after its beginning


def explain(
    spans: Sequence[Span],
    start: int,
    step: Step,
    accepts: Callable[[int, tuple[int, ...]], bool],
    *,
    nodes_max: int = NODES_MAX,
) -> tuple[int, ...] | None:
    """An order, real time respected, in which every call is told what it was told, and whose end is accepted.

    None if there is none. Raises TooLarge.
    """
    return _Search(spans, step, accepts, nodes_max).order(start)


class _Search:
    def __init__(
        self,
        spans: Sequence[Span],
        step: Step,
        accepts: Callable[[int, tuple[int, ...]], bool],
        nodes_max: int,
    ) -> None:
        self.spans, self.step, self.accepts, self.left = spans, step, accepts, nodes_max
        self.by_end = sorted(range(len(spans)), key=lambda number: (not spans[number].must, spans[number].ended))
        self.musts = sum(1 << number for number, span in enumerate(spans) if span.must)
        self.dead: set[tuple[int, int]] = set()

    def order(self, start: int) -> tuple[int, ...] | None:
        # Depth first, without recursion: of 64 sessions with 4 calls each there are 256 on one path.
        path: list[int] = []
        trail = [(0, start, iter(self._next(0)))]
        if self._ends(0, start, path):
            return ()
        while trail:
            done, state, candidates = trail[-1]
            for number in candidates:
                after = self._after(done, state, number)
                if after is None:
                    continue
                path.append(number)
                if self._ends(*after, path):
                    return tuple(path)
                trail.append((*after, iter(self._next(after[0]))))
                break
            else:
                self.dead.add((done, state))
                trail.pop()
                if path:
                    path.pop()
        return None

    def _ends(self, done: int, state: int, path: Sequence[int]) -> bool:
        return done & self.musts == self.musts and self.accepts(state, tuple(path))

    def _after(self, done: int, state: int, number: int) -> tuple[int, int] | None:
        """What is done and the state after this call; None if it leads nowhere."""
        self.left -= 1
        if self.left < 0:
            raise TooLarge("more than can be searched")
        left, answer = self.step(state, number)
        told = self.spans[number].told
        if told is not None and told != answer:
            return None
        after = (done | 1 << number, left)
        return None if after in self.dead else after

    def _next(self, done: int) -> Iterable[int]:
        """The calls that may go next: those that began before any other that is left had ended."""
        spans = self.spans
        waiting = [number for number in self.by_end if not done >> number & 1]
        horizon = min((spans[number].ended for number in waiting if spans[number].must), default=None)
        return [number for number in waiting if horizon is None or spans[number].began <= horizon]


def keeps_time(spans: Sequence[Span], order: Sequence[int]) -> bool:
    """Whether no call of the order goes before one that had ended when it began."""
    latest = None
    for number in order:
        span = spans[number]
        if latest is not None and span.must and span.ended < latest:
            return False
        if latest is None or span.began > latest:
            latest = span.began
    return True
