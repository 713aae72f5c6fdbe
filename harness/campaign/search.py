"""One contest, explored in one way after the other: which orders were met, and whether that is all, or of how many."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.model.contest import Contest, OpRef
from harness.schedulers.portfolio import mixed, random_priorities
from harness.schedulers.pos import PartialOrders
from harness.schedulers.protocol import Scheduler
from harness.schedulers.random_walk import RandomWalk
from harness.schedulers.uniform_walk import UniformWalk, linear_extensions

PORTFOLIO, EXHAUSTIVE, PREEMPTIONS, NONDETERMINISM = "portfolio", "exhaustive", "preemptions", "nondeterminism"
SCHEDULERS = (PORTFOLIO, EXHAUSTIVE, PREEMPTIONS, "pct", "pos", "uniform", "random", NONDETERMINISM)
"""What `harness explore --scheduler` takes."""


@dataclass
class Search:
    """What is known of a contest that is being explored."""

    contest: Contest
    common_key: bool
    left: int  # trials
    seed: int = 0
    classes: int | None = None  # None: it is not known which orders are equivalent
    pruned: int = 0
    orders: set[tuple[int, ...]] = field(default_factory=set)
    judged: set[tuple[int, frozenset[tuple[OpRef, OpRef]]]] = field(default_factory=set)
    _met: set[tuple[int, ...]] = field(default_factory=set)  # beginnings of orders
    _open: int = 0  # choices that were there at a point that was met, and never made
    _steps: Counter[int] = field(default_factory=Counter)
    _walk: UniformWalk | None = None

    def note(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        """A trial ran to its end by these choices."""
        begun: tuple[int, ...] = ()
        new = not self._met
        for chosen, options, _ in choices:
            self._open += len(options) if new else 0
            begun = (*begun, chosen)
            if new := begun not in self._met:
                self._met.add(begun)
                self._open -= 1
        self.orders.add(begun)
        self._steps |= Counter(chosen for chosen, _, event in choices if event == "run")

    @property
    def complete(self) -> bool:
        """Whether every order was met, by whatever scheduler: no choice at any point is left."""
        return bool(self.orders) and not self._open

    @property
    def orders_about(self) -> float:
        """How many orders there are: as the walk counted them, or as many as there were if nobody waited."""
        counted = self._walk.orders if self._walk else 0.0
        return max(counted or linear_extensions(tuple(self._steps.values())), len(self.orders))

    def sampler(self, name: str) -> Scheduler:
        """A scheduler that proposes as many trials as are left. Raises ValueError for a name that is none of them."""
        seed, left = self.seed, self.left
        match name:
            case "portfolio":
                turns, self._walk = mixed(seed, left, self._steps)
                return turns
            case "pct":
                return random_priorities(seed, left)
            case "pos":
                return PartialOrders[object](seed, left)
            case "random":
                return RandomWalk(seed, left)
            case "uniform":
                self._walk = UniformWalk(seed, left)
                return self._walk
        raise ValueError(f"{name!r} samples nothing")
