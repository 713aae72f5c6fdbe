"""Schedulers against a model without a server: every feasible order once, fewest preemptions first; replays; walks."""

import pytest
from hypothesis import given
from hypothesis import strategies as generators

from harness.schedulers.preemptions import Preemptions
from harness.schedulers.protocol import Departure
from harness.schedulers.random_walk import RandomWalk
from harness.schedulers.replay import Replay
from tests.schedulers.model import Model, every_order, explored, few_sessions, follow, order, preemptions, schedule

# ---- preemptions ----------------------------------------------------------------------------------------------------


@given(few_sessions, generators.booleans())
def test_without_a_bound_every_order_is_run_exactly_once(steps: list[int], locks: bool) -> None:
    found = explored(steps, Preemptions(), locks=locks)
    assert sorted(map(order, found)) == sorted(map(order, every_order(steps, locks=locks)))


@given(few_sessions, generators.booleans(), generators.integers(0, 4))
def test_with_a_bound_exactly_those_within_it(steps: list[int], locks: bool, bound: int) -> None:
    scheduler = Preemptions(bound)
    found = explored(steps, scheduler, locks=locks)
    everything = every_order(steps, locks=locks)
    within = [order(choices) for choices in everything if preemptions(choices) <= bound]
    assert sorted(map(order, found)) == sorted(within)
    assert scheduler.cut_off == (len(within) < len(everything))


@given(few_sessions, generators.booleans())
def test_fewer_preemptions_come_first(steps: list[int], locks: bool) -> None:
    scheduler = Preemptions()
    said, made = [], []
    while scheduler.new_trial():
        choices = follow(Model(steps, locks), scheduler)
        made.append(preemptions(choices))
        said.append(scheduler.preemptions)
        assert schedule(choices).preemptions == made[-1]
    assert made == said == sorted(made)


@pytest.mark.parametrize(
    ("steps", "bounded", "everything"),
    [
        ([3, 3], [2, 6, 14], 20),
        ([2, 2], [2, 4, 6], 6),
        ([1, 1], [2, 2, 2], 2),
        ([3, 3, 3], [6, 42, 192], 1680),
        ([7], [1, 1, 1], 1),
    ],
)
def test_the_counts_of_free_sessions(steps: list[int], bounded: list[int], everything: int) -> None:
    assert [len(explored(steps, Preemptions(bound))) for bound in range(3)] == bounded
    assert len(explored(steps, Preemptions())) == everything


def test_serial_orders_are_those_without_preemption() -> None:
    assert sorted(map(order, explored([2, 2], Preemptions(0)))) == [(0, 0, 1, 1), (1, 1, 0, 0)]


def test_a_trial_that_does_not_repeat_its_prefix_departs() -> None:
    scheduler = Preemptions()
    assert scheduler.new_trial()
    follow(Model([2, 2]), scheduler)
    assert scheduler.new_trial()
    with pytest.raises(
        Departure, match="the schedule departs at step 1: expected s1, s2 to be able to go on, found s1"
    ):
        scheduler.choose((0,), None, "run")


# ---- replay ---------------------------------------------------------------------------------------------------------


@given(few_sessions, generators.booleans(), generators.integers())
def test_a_replay_takes_the_recorded_choices_and_a_replay_of_it_too(steps: list[int], locks: bool, seed: int) -> None:
    (once,) = explored(steps, RandomWalk(seed, 1), locks=locks)
    (again,) = explored(steps, Replay(once), locks=locks)
    assert again == once == explored(steps, Replay(again), locks=locks)[0]


def check_departs(recorded: list[int], replayed: list[int], message: str) -> None:
    """Choices recorded with sessions of so many steps do not fit others."""
    (choices,) = explored(recorded, Preemptions(0))[:1]
    replay = Replay(choices)
    assert replay.new_trial()
    with pytest.raises(Departure) as departure:
        follow(Model(replayed), replay)
    assert str(departure.value) == message
    assert isinstance(departure.value.step, int)


def test_a_departure_says_where_what_was_expected_and_what_was_found() -> None:
    check_departs([1, 1], [1], "the schedule departs at step 1: expected s1 out of s1, s2, found s1")
    check_departs([1], [1, 1], "the schedule departs at step 1: expected s1 out of s1, found s1, s2")
    check_departs([1, 2], [2, 2], "the schedule departs at step 2: expected s2 out of s2, found s1, s2")


def test_a_session_that_goes_on_after_the_end_departs() -> None:
    check_departs([2], [3], "the schedule departs at step 3: expected the end, found s1 still going on")


def test_a_session_that_ends_early_departs() -> None:
    check_departs([3], [2], "the schedule departs at step 3: expected s1, found the end")


def test_another_kind_of_choice_departs() -> None:
    replay = Replay([(0, (0, 1), "run")])
    assert replay.new_trial()
    with pytest.raises(Departure):
        replay.choose((0, 1), None, "victim")


# ---- random walk ----------------------------------------------------------------------------------------------------


@given(generators.integers())
def test_equal_seeds_give_equal_walks(seed: int) -> None:
    assert explored([3, 3, 3], RandomWalk(seed, 5)) == explored([3, 3, 3], RandomWalk(seed, 5))


def test_different_seeds_give_different_walks() -> None:
    # Two walks over 3 x 3 steps agree with p < 1/27 (their first three steps are free); ten pairs with p < 10^-14.
    assert explored([3, 3, 3], RandomWalk(1, 10)) != explored([3, 3, 3], RandomWalk(2, 10))


def test_a_walk_makes_as_many_trials_as_it_was_told() -> None:
    assert [len(explored([1, 1], RandomWalk(0, trials))) for trials in (0, 1, 7)] == [0, 1, 7]


def test_walks_meet_every_order() -> None:
    # The rarest order of 2 x 2 steps has p = 1/8; 150 walks miss one of the six with p < 6 (7/8)^150 = 1.2 10^-8.
    assert {order(choices) for choices in explored([2, 2], RandomWalk(0, 150))} == set(map(order, every_order([2, 2])))
