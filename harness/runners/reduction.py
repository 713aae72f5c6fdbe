"""One order of each class: sleep sets over what the tracker sees, begun anew whenever a statement touches more."""

from collections.abc import Callable, Iterator, Sequence

from harness.model.cell import Isolation
from harness.schedulers.pos import PartialOrders
from harness.schedulers.sleep_sets import SleepSets
from harness.sessions.footprints import Footprint, Texts, Tracker, dependent

Dependence = Callable[[Footprint, Footprint], bool]


class Reduction:
    """A scheduler for trials that are run with its `tracker`. Trials may end in Pruned; Irreducible ends them all."""

    def __init__(
        self,
        texts: Texts,
        isolation: Isolation,
        sessions: int,
        *,
        shared_pool: bool = False,
        relation: Dependence = dependent,
    ) -> None:
        self._texts, self._isolation, self._sessions = texts, isolation, sessions
        self._shared_pool, self._relation = shared_pool, relation
        self._pruned = 0  # before the last start
        self._start()

    def _start(self) -> None:
        self._revision = self._texts.revision
        self._sleep_sets = SleepSets[Footprint](self._relation)
        self.tracker = Tracker(self._texts, self._isolation, self._sleep_sets.observe, shared_pool=self._shared_pool)

    def learning(self) -> Iterator[tuple["First", Tracker]]:
        """Trials that only serve to see what the statements touch, before any order is said to equal another."""
        for session in range(self._sessions):
            yield First(session), Tracker(self._texts, self._isolation, lambda footprint: None, apart=True)

    @property
    def classes(self) -> int:
        return self._sleep_sets.classes

    @property
    def pruned(self) -> int:
        return self._pruned + self._sleep_sets.pruned

    @property
    def expected(self) -> float:
        """How many trials it takes, those given up among them, as far as can be told from the part that is done."""
        done, run = self._sleep_sets.progress, self.classes + self._sleep_sets.pruned
        return self._pruned + (run / done if done else 0.0)

    def new_trial(self) -> bool:
        if self._texts.revision != self._revision:
            # What was said to be independent may not have been.
            self._pruned += self._sleep_sets.pruned
            self._start()
        return self._sleep_sets.new_trial()

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        return self._sleep_sets.choose(options, current, event)

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        self._sleep_sets.finished(choices)


class TrackedPartialOrders(PartialOrders[Footprint]):
    """Partial order sampling with what the tracker sees; Irreducible ends it as it ends the reduction."""

    def __init__(self, seed: int, trials: int, texts: Texts, isolation: Isolation, *, shared_pool: bool) -> None:
        super().__init__(seed, trials, dependent)
        self.tracker = Tracker(texts, isolation, self.observe, shared_pool=shared_pool)


class First:
    """One trial: this session first, and everybody goes on while he can."""

    def __init__(self, session: int) -> None:
        self._session, self._begun = session, False

    def new_trial(self) -> bool:
        begun, self._begun = self._begun, True
        return not begun

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        if current is not None:
            return current
        return self._session if self._session in options else options[0]

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        return None
