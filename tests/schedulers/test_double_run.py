"""What a schedule that is run twice must not differ in, and how a difference is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as generators

from harness.schedulers.double_run import Differs, DoubleRun
from harness.schedulers.preemptions import Preemptions
from tests.schedulers.model import Model, every_order, explored, few_sessions, follow, order


@given(few_sessions, generators.booleans())
def test_every_schedule_is_run_twice_in_a_row(steps: list[int], locks: bool) -> None:
    found = explored(steps, DoubleRun(Preemptions()), locks=locks)
    assert found[::2] == found[1::2]
    assert sorted(map(order, found[::2])) == sorted(map(order, every_order(steps, locks=locks)))


def twice(first: list[int], then: list[int], **facts: tuple[object, object]) -> DoubleRun:
    """One schedule, of sessions with so many steps in the first run and in the second."""
    scheduler = DoubleRun(Preemptions(0))
    for steps, which in ((first, 0), (then, 1)):
        assert scheduler.new_trial()
        assert scheduler.again == bool(which)
        follow(Model(steps), scheduler)
        scheduler.compare({name: fact[which] for name, fact in facts.items() if fact[which] is not None})
    return scheduler


def test_equal_runs_are_counted() -> None:
    assert twice([2, 1], [2, 1], waits=(1, 1)).compared == 1


def check_differs(first: list[int], then: list[int], said: str, **facts: tuple[object, object]) -> None:
    with pytest.raises(Differs) as differs:
        twice(first, then, **facts)
    assert str(differs.value) == f"a schedule, run twice, did two things: {said}"


def test_other_options_differ() -> None:
    check_differs([1, 1], [1], "the schedule departs at step 1: expected s1 out of s1, s2, found s1")


def test_an_end_too_early_or_too_late_differs() -> None:
    check_differs([3], [2], "the schedule departs at step 3: expected s1, found the end")
    check_differs([2], [3], "the schedule departs at step 3: expected the end, found s1 still going on")


def test_what_the_runner_saw_differs() -> None:
    check_differs([1], [1], "waits: first 2, then 3", rows=("a", "a"), waits=(2, 3))
    check_differs([1], [1], "answer: first nothing, then 1", answer=(None, 1))


def test_a_trial_that_was_given_up_is_not_run_again() -> None:
    scheduler = DoubleRun(Preemptions(0))
    assert scheduler.new_trial()
    scheduler.choose((0, 1), None, "run")  # and the order was lost
    assert not scheduler.new_trial()
    assert not scheduler.again
