"""Estimates of repeated measurements: intervals cover as often as they say, and wild values do not move them."""

from itertools import product
from math import comb, exp, inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.estimate import Estimate, kendall_tau, location, ratio, spread

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


def exact_level(count: int, cut: int) -> float:
    """Of the interval that leaves `cut` Walsh averages out at each end, by counting all signs: nothing of ours."""
    ranks = range(1, count + 1)
    below = sum(
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign) <= cut
        for signs in product((0, 1), repeat=count)
    )
    return 1 - 2 * below / 2**count


@pytest.mark.parametrize(("count", "cut"), [(6, 0), (7, 2), (8, 3), (10, 8), (12, 13)])
def test_the_interval_is_the_shortest_that_has_its_level(count: int, cut: int) -> None:
    """The cuts are those of the tables (Hollander and Wolfe, A.4); the levels are counted out."""
    assert exact_level(count, cut) >= 0.95 > exact_level(count, cut + 1)
    values = [2.0**n for n in range(count)]  # every Walsh average another one
    walsh = sorted((a + b) / 2 for i, a in enumerate(values) for b in values[i:])
    found = location(values)
    assert (found.low, found.high) == (walsh[cut], walsh[-1 - cut])


@pytest.mark.parametrize("count", range(1, 6))
def test_there_is_no_interval_below_six_values(count: int) -> None:
    found = location([1.0] * count)
    assert (found.low, found.high, found.bounded) == (-inf, inf, False)
    assert location([1.0] * 6).bounded


@pytest.mark.parametrize("draw", ["gauss", "cauchy", "uniform"])
def test_the_interval_covers_as_often_as_it_says(draw: str) -> None:
    """1,000 samples of 8: the level of 8 values is 96.1 %; fewer than 935 covers has odds below 1 in 10,000."""
    random, tries = Random(7), 1000
    one = {
        "gauss": lambda: random.gauss(3, 1),
        "cauchy": lambda: 3 + random.gauss(0, 1) / random.gauss(0, 1),  # no mean, no variance
        "uniform": lambda: random.uniform(2, 4),
    }[draw]
    level = exact_level(8, 3)
    odds = sum(comb(tries, k) * level**k * (1 - level) ** (tries - k) for k in range(935))
    assert odds < 1e-4
    covered = sum(not location([one() for _ in range(8)]).excludes(3) for _ in range(tries))
    assert 935 <= covered < tries


def test_a_tenth_of_wild_values_moves_it_less_than_it_moves_the_mean() -> None:
    values = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.01, 0.99, 1.0, 500.0]
    assert location(values).value == pytest.approx(1.0, abs=0.02)
    assert location(values).low > 0.9


@given(VALUES, st.floats(-1e3, 1e3))
def test_who_adds_to_all_values_adds_to_the_estimate(values: list[float], shift: float) -> None:
    before, after = location(values), location([value + shift for value in values])
    assert after.value == pytest.approx(before.value + shift, abs=1e-6)
    assert before.low <= before.value <= before.high


@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)), min_size=1, max_size=15))
def test_a_ratio_turned_over_is_the_other_ratio(pairs: list[tuple[float, float]]) -> None:
    there, back = ratio(pairs), ratio([(b, a) for a, b in pairs])
    assert there is not None
    assert back is not None
    assert there.value == pytest.approx(1 / back.value)
    if there.bounded:
        assert there.low == pytest.approx(1 / back.high)


def test_pairs_are_free_of_the_weather_that_both_sat_in() -> None:
    """Round by round the machine is up to a hundred times slower; one thing takes 1.2 times the time of the other."""
    random = Random(1)
    weather = [exp(random.uniform(0, 4.6)) for _ in range(12)]
    found = ratio([(1.2 * w * random.uniform(0.97, 1.03), w * random.uniform(0.97, 1.03)) for w in weather])
    assert found is not None
    assert found.low < 1.2 < found.high
    assert found.high - found.low < 0.1


def test_nothing_is_no_ratio() -> None:
    assert ratio([]) is None
    assert ratio([(0.0, 1.0), (1.0, 0.0)]) is None


def test_a_spread_has_the_middle_half() -> None:
    assert (spread([5, 1, 2, 3, 4]).low, spread([5, 1, 2, 3, 4]).median, spread([5, 1, 2, 3, 4]).high) == (2, 3, 4)
    assert spread([7]).low == spread([7]).high == 7
    with pytest.raises(ValueError, match="needs one"):
        spread([])
    with pytest.raises(ValueError, match="needs one"):
        location([])


def test_excludes_is_outside_of_the_interval_only() -> None:
    assert Estimate(2, 1.5, 2.5, 9).excludes(1)
    assert not Estimate(2, 0.9, 2.5, 9).excludes(1)


def test_rankings_agree_from_one_to_minus_one() -> None:
    assert kendall_tau([1, 2, 3, 4], [10, 20, 30, 40]) == 1
    assert kendall_tau([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    assert kendall_tau([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(1 / 3)  # 4 pairs agree, 2 do not
    assert kendall_tau([1, 1, 1], [1, 2, 3]) == 0
    with pytest.raises(ValueError, match="same things"):
        kendall_tau([1], [1, 2])
