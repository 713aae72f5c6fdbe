"""Every schedule of another scheduler twice: who could go on, and all that is seen of a trial, must not differ."""

from collections.abc import Mapping, Sequence

from harness.schedulers.protocol import Departure, Scheduler
from harness.schedulers.replay import Replay


class Differs(RuntimeError):
    """A schedule, run twice, did two things: something decides that is not under control."""


class DoubleRun:
    """The proof that nothing uncontrolled is left, as far as the schedules of `inner` reach.

    After shuttle's UncontrolledNondeterminismCheckScheduler. The second run follows the choices of the first and has to
    meet the same options; the runner tells `compare` what each of the two came to. Raises Differs.
    """

    def __init__(self, inner: Scheduler) -> None:
        self._inner = inner
        self._first: list[tuple[int, tuple[int, ...], str]] | None = None
        self._seen: Mapping[str, object] = {}
        self._replay: Replay | None = None
        self.compared = 0  # schedules that were run twice and did not differ

    @property
    def again(self) -> bool:
        """Whether the trial is the second of its schedule."""
        return self._replay is not None

    def new_trial(self) -> bool:
        if self._first is not None:
            self._replay, self._first = Replay(self._first), None
            return self._replay.new_trial()
        self._replay = None
        return self._inner.new_trial()

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        if self._replay is None:
            return self._inner.choose(options, current, event)
        try:
            return self._replay.choose(options, current, event)
        except Departure as departure:
            raise Differs(f"a schedule, run twice, did two things: {departure}") from departure

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        if self._replay is None:
            self._inner.finished(choices)
            self._first = list(choices)
            return
        try:
            self._replay.finished(choices)
        except Departure as departure:
            raise Differs(f"a schedule, run twice, did two things: {departure}") from departure

    def compare(self, seen: Mapping[str, object]) -> None:
        """What the trial that has just finished came to, by name: in the first run noted, in the second compared."""
        if self._replay is None:
            self._seen = seen
            return
        for name in {**self._seen, **seen}:
            once, twice = self._seen.get(name, "nothing"), seen.get(name, "nothing")
            if once != twice:
                raise Differs(f"a schedule, run twice, did two things: {name}: first {once}, then {twice}")
        self.compared += 1
