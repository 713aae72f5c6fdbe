"""Samplers broken on purpose, each in one line, and the odds that tell: what is right passes, the mutant does not."""

from collections import Counter
from collections.abc import Sequence

import pytest

from harness.schedulers.double_run import Differs, DoubleRun
from harness.schedulers.pct import Priorities
from harness.schedulers.pos import PartialOrders
from harness.schedulers.preemptions import Preemptions
from harness.schedulers.uniform_walk import UniformWalk
from tests.schedulers.model import Model, every_order, explored, follow, order
from tests.schedulers.test_sampling import close, hides, hits, races, sampled


class NeverFallsBehind(Priorities):
    def new_trial(self) -> bool:
        more = super().new_trial()
        self._changes.clear()
        return more


class NeverLearnsTheLength(Priorities):
    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        return None


@pytest.mark.parametrize(
    ("kind", "found"), [(Priorities, True), (NeverFallsBehind, False), (NeverLearnsTheLength, False)]
)
def test_random_priorities_have_to_change(kind: type[Priorities], found: bool) -> None:
    # p = 1/38 a trial: 700 miss with 8 10^-9.
    assert bool(hits(kind(0, 701, depth=2), [10, 10], hides(5))) is found


class KeepsWhatLost(PartialOrders[str]):
    def _draw_anew(self, last: tuple[int, int]) -> None:
        del self._priorities[last[0]]


@pytest.mark.parametrize(("kind", "right"), [(PartialOrders[str], True), (KeepsWhatLost, False)])
def test_what_lost_a_race_has_to_draw_anew(kind: type[PartialOrders[str]], right: bool) -> None:
    found = sampled((["wx"], ["wx", "wx"]), kind(2, 4001, races))[1:]
    assert close(sum(one == (1, 0, 1) for one in found), 4000, 1 / 4) is right


class ForgetsWhatWasTaken(UniformWalk):
    def _steps_left(self, session: int) -> int:
        return max(self._steps.get(session, 0), 1)


@pytest.mark.parametrize(("kind", "right"), [(UniformWalk, True), (ForgetsWhatWasTaken, False)])
def test_weights_have_to_be_of_the_steps_that_are_left(kind: type[UniformWalk], right: bool) -> None:
    met = Counter(map(order, explored([3, 3], kind(0, 4000, steps={0: 3, 1: 3}))))
    assert all(close(met[order(one)], 4000, 1 / 20) for one in every_order([3, 3])) is right


class LooksAtNothing(DoubleRun):
    def compare(self, seen: object) -> None:
        return None


@pytest.mark.parametrize(("kind", "right"), [(DoubleRun, True), (LooksAtNothing, False)])
def test_what_was_seen_twice_has_to_be_compared(kind: type[DoubleRun], right: bool) -> None:
    scheduler = kind(Preemptions(0))
    differs = False
    for rows in ("one", "two"):
        assert scheduler.new_trial()
        follow(Model([1]), scheduler)
        try:
            scheduler.compare({"rows": rows})
        except Differs:
            differs = True
    assert differs is right
