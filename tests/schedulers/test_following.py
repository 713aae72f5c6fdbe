"""Going on past a departure: what was recorded as far as it is possible, else the running session goes on."""

import pytest

from harness.schedulers.replay import Following

Choices = list[tuple[int, tuple[int, ...], str]]


def taken(recorded: Choices, steps: list[int], *, open_ended: bool = False) -> tuple[str, str]:
    """The sessions in the order they ran, when each has so many steps; and the departure."""
    following = Following(recorded, open_ended=open_ended)
    assert following.new_trial()
    left, order, current = list(steps), "", None
    while options := tuple(i for i, n in enumerate(left) if n):
        current = following.choose(options, current if current in options else None, "run")
        left[current] -= 1
        order += str(current)
    following.finished([])
    assert not following.new_trial()
    return order, str(following.departure or "")


RECORDED: Choices = [(0, (0, 1), "run"), (1, (0, 1), "run"), (1, (0, 1), "run"), (0, (0,), "run")]


@pytest.mark.parametrize(
    ("steps", "order", "departs"),
    [
        ([2, 2], "0110", ""),
        ([2, 3], "01101", "at step 4: expected s1 out of s1, found s1, s2"),
        ([3, 2], "01100", "at step 5: expected the end, found s1 still going on"),
        ([1, 2], "011", "at step 2: expected s2 out of s1, s2, found s2"),
        ([2, 1], "010", "at step 3: expected s2 out of s1, s2, found s1"),
    ],
)
def test_what_is_possible_is_followed(steps: list[int], order: str, departs: str) -> None:
    went, departure = taken(RECORDED, steps)
    assert went == order
    assert departure.endswith(departs)
    assert bool(departure) == bool(departs)


def test_the_beginning_of_a_trial_departs_nowhere_when_it_goes_on() -> None:
    assert taken(RECORDED[:2], [2, 2], open_ended=True) == ("0110", "")


def test_options_that_were_not_recorded_are_not_compared() -> None:
    assert taken([(1, (), "run")], [1, 2], open_ended=True) == ("110", "")


def test_a_question_that_was_not_asked_then_takes_no_recorded_step() -> None:
    following = Following(RECORDED)
    following.new_trial()
    assert following.choose((0, 1), None, "victim") == 0
    assert [following.choose((0, 1), None, "run") for _ in range(3)] == [0, 1, 1]


def test_a_question_that_is_not_asked_any_more_is_left_out() -> None:
    following = Following([(1, (0, 1), "victim"), (1, (0, 1), "run")])
    following.new_trial()
    assert following.choose((0, 1), None, "run") == 1
