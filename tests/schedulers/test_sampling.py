"""The sampling schedulers against the model: what all of them keep, and each one's odds, derived and then met.

Every test of odds says with what probability it would fail though all is right; seeds are fixed, so that it never does.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as generators

from harness.schedulers.pct import Priorities, odds
from harness.schedulers.portfolio import Turns
from harness.schedulers.pos import PartialOrders
from harness.schedulers.preemptions import Preemptions
from harness.schedulers.protocol import Scheduler
from harness.schedulers.random_walk import RandomWalk
from harness.schedulers.replay import Replay
from harness.schedulers.sleep_sets import SleepSets
from harness.schedulers.uniform_walk import UniformWalk, linear_extensions
from tests.schedulers.model import (
    Choices,
    Model,
    Order,
    every_order,
    explored,
    few_sessions,
    follow,
    order,
    preemptions,
)

Make = Callable[[int, int], Scheduler]

SAMPLERS: dict[str, Make] = {
    "pct 1": lambda seed, trials: Priorities(seed, trials, depth=1),
    "pct 2": lambda seed, trials: Priorities(seed, trials, depth=2),
    "pct 3": lambda seed, trials: Priorities(seed, trials, depth=3),
    "pos": PartialOrders[object],
    "random": RandomWalk,
    "uniform": UniformWalk,
}
every_sampler = pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)


def close(hits: int, trials: int, p: float) -> bool:
    """Within five standard deviations: what is right is taken for wrong with a probability of 6 10^-7."""
    return abs(hits - trials * p) <= 5 * sqrt(trials * p * (1 - p))


# ---- what all of them keep ------------------------------------------------------------------------------------------


@every_sampler
@given(steps=few_sessions, locks=generators.booleans(), seed=generators.integers())
def test_equal_seeds_give_equal_schedules(make: Make, steps: list[int], locks: bool, seed: int) -> None:
    once = explored(steps, make(seed, 4), locks=locks)  # `follow` asserts that options are never left
    assert len(once) == 4
    assert once == explored(steps, make(seed, 4), locks=locks)


@every_sampler
@given(steps=few_sessions, locks=generators.booleans(), seed=generators.integers())
def test_what_was_sampled_replays(make: Make, steps: list[int], locks: bool, seed: int) -> None:
    for choices in explored(steps, make(seed, 3), locks=locks):
        assert explored(steps, Replay(choices), locks=locks) == [choices]


@every_sampler
def test_different_seeds_give_different_schedules(make: Make) -> None:
    # At worst (depth 1) a trial is one of 3! serial orders: twenty pairs agree with 6^-20 < 10^-15.
    assert explored([3, 3, 3], make(1, 20)) != explored([3, 3, 3], make(2, 20))


@every_sampler
def test_as_many_trials_as_it_was_told(make: Make) -> None:
    assert [len(explored([1, 1], make(0, trials))) for trials in (0, 1, 7)] == [0, 1, 7]


@every_sampler
@given(data=generators.data(), seed=generators.integers())
def test_whatever_the_options_one_of_them_is_chosen(make: Make, data: generators.DataObject, seed: int) -> None:
    """Sessions wait, wake, end early and come late; deadlocks have victims; trials are given up."""
    scheduler = make(seed, 5)
    some = generators.sets(generators.integers(0, 4), min_size=1).map(sorted).map(tuple)
    for given_up in data.draw(generators.lists(generators.booleans(), max_size=5)):
        assert scheduler.new_trial()
        choices: Choices = []
        for options in data.draw(generators.lists(some, max_size=12)):
            event = data.draw(generators.sampled_from(("run", "run", "victim", "timeout")))
            choices.append((scheduler.choose(options, None, event), options, event))
            assert choices[-1][0] in options
        if not given_up:
            scheduler.finished(choices)


@every_sampler
def test_every_victim_is_met(make: Make) -> None:
    # 60 draws of one in two miss one of them with 2 2^-60.
    scheduler = make(0, 60)
    victims = set()
    while scheduler.new_trial():
        victims.add(scheduler.choose((0, 1), None, "victim"))
    assert victims == {0, 1}


# ---- random priorities ----------------------------------------------------------------------------------------------


def hides(at: int) -> Callable[[Order], bool]:
    """A race of depth 2: s2 goes, from its first step to its last, just before step `at` of s1."""

    def shows(order: Order) -> bool:
        s2 = [place for place, session in enumerate(order) if session == 1]
        return s2 == list(range(at, at + len(s2)))

    return shows


def two_hide(first: int, second: int) -> Callable[[Order], bool]:
    """A race of depth 3: s2 begins just before step `first` of s1, and ends just before its step `second`."""

    def shows(order: Order) -> bool:
        before = [sum(session == 0 for session in order[:place]) for place, s in enumerate(order) if s == 1]
        return before[0] == first and before[-1] == second and set(before) == {first, second}

    return shows


def hits(scheduler: Scheduler, steps: Sequence[int], shows: Callable[[Order], bool]) -> int:
    return sum(shows(order(choices)) for choices in explored(steps, scheduler))


def test_the_odds_are_those_of_the_paper() -> None:
    assert odds(sessions=2, steps=20, depth=1) == 1 / 2
    assert odds(sessions=2, steps=20, depth=2) == 1 / 40
    assert odds(sessions=3, steps=10, depth=3) == 1 / 300


@pytest.mark.parametrize("at", [1, 5, 9])
def test_a_race_of_depth_2_is_met_as_often_as_promised(at: int) -> None:
    """s1 has to have the higher priority (1/2) and to fall behind at one of 19 steps: 1/38, and at least 1/40."""
    found = hits(Priorities(at, 4001, depth=2), [10, 10], hides(at))
    assert close(found, 4000, 1 / 38)
    assert odds(sessions=2, steps=20, depth=2) <= 1 / 38
    # 700 trials miss with (37/38)^700 = 8 10^-9; the random walk takes such an order with 2^-(at + 9) at most.
    assert hits(Priorities(at, 701, depth=2), [10, 10], hides(at))
    assert not hits(RandomWalk(at, 700), [10, 10], hides(at)) or at == 1


def test_a_race_of_depth_3_is_met_as_often_as_promised() -> None:
    """p >= 1 / (2 12^2) = 1/288 a trial: 6,000 trials miss with (287/288)^6000 = 9 10^-10."""
    promised = odds(sessions=2, steps=12, depth=3)
    found = hits(Priorities(0, 6001, depth=3), [6, 6], two_hide(2, 4))
    assert found >= 6000 * promised - 5 * sqrt(6000 * promised)
    assert not hits(Priorities(0, 6000, depth=2), [6, 6], two_hide(2, 4)), "one change point is not enough for it"


@given(few_sessions, generators.integers(), generators.integers(1, 4))
def test_no_more_preemptions_than_change_points(steps: list[int], seed: int, depth: int) -> None:
    for choices in explored(steps, Priorities(seed, 6, depth=depth)):
        assert preemptions(choices) <= depth - 1


def test_a_depth_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="depth=0: expected 1 or more"):
        Priorities(0, 1, depth=0)


# ---- partial orders -------------------------------------------------------------------------------------------------

Accesses = Sequence[Sequence[str]]


def races(a: str, b: str) -> bool:
    """'rx', 'wx': on one variable, one of them a write."""
    return a[1] == b[1] and "w" in (a[0], b[0])


def sampled(sessions: Accesses, scheduler: PartialOrders[str]) -> list[Order]:
    found = []
    while scheduler.new_trial():
        model, at = Model([len(steps) for steps in sessions]), [0] * len(sessions)
        choices: Choices = []
        while options := model.options():
            chosen = scheduler.choose(options, None, "run")
            scheduler.observe(sessions[chosen][at[chosen]])
            choices.append((chosen, options, "run"))
            model.go(chosen)
            at[chosen] += 1
        scheduler.finished(choices)
        found.append(order(choices))
    return found


A_LAST = (["wx"], [*["wy"] * 8, "rx"])


@pytest.mark.parametrize("relation", [races, None])
def test_steps_that_race_with_nothing_do_not_hide_one_that_does(relation: Callable[[str, str], bool] | None) -> None:
    """The write is last if its priority is the least of ten, drawn once: 1/10. For a random walk it is 2^-9."""
    found = sampled(A_LAST, PartialOrders(1, 2001, relation))[1:]  # in the first trial nothing is known yet
    assert close(sum(one[-1] == 0 for one in found), 2000, 1 / 10)


def test_if_everything_raced_it_would_be_the_random_walk() -> None:
    found = sampled(A_LAST, PartialOrders(1, 2000, lambda a, b: True))
    assert close(sum(one[-1] == 0 for one in found), 2000, 2**-9)


@pytest.mark.parametrize(("relation", "p"), [(races, 1 / 4), (None, 1 / 6)])
def test_a_step_that_lost_a_race_draws_anew(relation: Callable[[str, str], bool] | None, p: float) -> None:
    """Between two writes that it races with: it loses to the first, 1/2, and anew beats the second, 1/2.

    With the priority that lost once it is the second of three in a given order: 1/6.
    """
    found = sampled((["wx"], ["wx", "wx"]), PartialOrders(2, 4001, relation))[1:]
    assert close(sum(one == (1, 0, 1) for one in found), 4000, p)


# ---- the uniform walk -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [(3, 3), (1, 5), (2, 2, 2)])
def test_every_order_has_equal_odds(steps: tuple[int, ...]) -> None:
    """Where nobody waits, and from the second trial on: 20, 6 and 90 orders, each within five standard deviations."""
    trials, orders = 9000, linear_extensions(steps)
    met = Counter(map(order, explored(steps, UniformWalk(3, trials + 1))[1:]))
    assert set(met) == set(map(order, every_order(steps)))
    assert all(close(count, trials, 1 / orders) for count in met.values())
    plain = Counter(map(order, explored(steps, RandomWalk(3, trials))))
    assert not all(close(plain[one], trials, 1 / orders) for one in met), "this test could not fail"


@given(few_sessions.filter(any), generators.integers())
def test_it_counts_the_orders_as_it_walks(steps: list[int], seed: int) -> None:
    scheduler = UniformWalk(seed, 3, steps=dict(enumerate(steps)))
    explored(steps, scheduler)
    assert scheduler.orders == pytest.approx(linear_extensions(steps)) == pytest.approx(len(every_order(steps)))


@pytest.mark.parametrize("steps", [(3, 3), (2, 2, 3)])
def test_it_counts_orders_without_bias_where_sessions_wait(steps: tuple[int, ...]) -> None:
    counts = []
    for seed in range(2000):
        scheduler = UniformWalk(seed, 1, steps=dict(enumerate(steps)))
        explored(steps, scheduler, locks=True)
        counts.append(scheduler.orders)
    mean = sum(counts) / len(counts)
    deviation = sqrt(sum((count - mean) ** 2 for count in counts)) / len(counts)
    there_are = len(every_order(steps, locks=True))
    assert abs(mean - there_are) <= 5 * deviation + 1e-9
    assert there_are < linear_extensions(steps) / 2, "waits are to leave most orders out"


def test_nothing_run_nothing_counted() -> None:
    assert UniformWalk(0, 5).orders == 0


def test_the_number_of_orders_of_chains() -> None:
    assert [linear_extensions(steps) for steps in ((3, 3), (3, 3, 3), (4,), ())] == [20, 1680, 1, 1]


def test_more_steps_than_were_seen_are_no_mistake() -> None:
    scheduler = UniformWalk(0, 1, steps={0: 1, 1: 1})
    assert scheduler.new_trial()
    assert len(follow(Model([4, 4]), scheduler)) == 8


# ---- in turn, and whether a search will come to its end -------------------------------------------------------------


def test_schedulers_take_turns_and_who_has_no_trial_left_is_passed_over() -> None:
    turns = Turns([Preemptions(0), RandomWalk(0, 4)])
    found = explored([1, 1], turns)
    serial, walked = explored([1, 1], Preemptions(0)), explored([1, 1], RandomWalk(0, 4))
    assert found == [serial[0], walked[0], serial[1], walked[1], *walked[2:]]


@given(few_sessions, generators.booleans())
def test_a_search_that_was_run_to_its_end_expected_no_more_than_that(steps: list[int], locks: bool) -> None:
    scheduler, bounds = Preemptions(), []
    while scheduler.new_trial():
        follow(Model(steps, locks), scheduler)
        bounds.append(scheduler.expected)
    assert bounds == sorted(bounds), "a lower bound of what is left to run never falls"
    assert bounds[-1] == len(bounds)


@pytest.mark.parametrize("steps", [[1, 1], [2, 2], [3, 3], [2, 2, 2]])
def test_the_part_of_the_tree_that_is_done_grows_to_all_of_it(steps: list[int]) -> None:
    scheduler = SleepSets[object](lambda a, b: True)
    parts = []
    while scheduler.new_trial():
        parts.append(scheduler.progress)
        follow(Model(steps), scheduler)
    assert parts == sorted(set(parts)) and parts[0] == 0
    # The last order shares its parent with nobody or with one: what is missing before it is its own share.
    assert 1 - len(steps) ** -1 <= parts[-1] < 1
