"""What repeated measurements come to: a median with its spread, and the ratio of pairs with its interval.

Pairs, not means of means: two blocks that ran one after the other shared the weather of the machine, and their ratio is
free of it. Of the logarithms of such ratios we take the Hodges-Lehmann estimate (Annals of Mathematical Statistics 34,
1963) and the interval that belongs to it, the inverted Wilcoxon signed-rank test (Hollander, Wolfe, Chicken:
Nonparametric Statistical Methods, 3rd ed., sections 3.2 and 3.3). No normal distribution is assumed, only that a ratio
is as likely to be too large as too small; one wild block among ten moves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, combinations_with_replacement
from math import exp, inf, log
from statistics import median, quantiles

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeated measurements of one thing: their median and quartiles."""

    median: float
    low: float  # a quarter of the measurements are at most this
    high: float  # and a quarter at least this
    count: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its confidence interval; the interval is infinite where there are too few measurements for one."""

    value: float
    low: float
    high: float
    count: int

    @property
    def bounded(self) -> bool:
        return self.low > -inf and self.high < inf

    def excludes(self, value: float) -> bool:
        """Whether the interval says that it is not this value."""
        return not self.low <= value <= self.high


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError without values."""
    if not values:
        raise ValueError("no values: a spread needs one")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high, len(values))


def location(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Hodges-Lehmann: the median of the means of all pairs, each value with itself too; its interval is exact.

    Below six values no interval has 95 %: the ranks of five have only 32 signs. Raises ValueError without values.
    """
    if not values:
        raise ValueError("no values: an estimate needs one")
    walsh = sorted((a + b) / 2 for a, b in combinations_with_replacement(values, 2))
    cut = _cut(len(values), confidence)
    low, high = (-inf, inf) if cut is None else (walsh[cut], walsh[-1 - cut])
    return Estimate(median(walsh), low, high, len(values))


def ratio(pairs: Sequence[tuple[float, float]], confidence: float = CONFIDENCE) -> Estimate | None:
    """How many times the second of each pair the first is; None where no pair has two positive numbers."""
    logs = [log(a / b) for a, b in pairs if a > 0 and b > 0]
    if not logs:
        return None
    found = location(logs, confidence)
    return Estimate(exp(found.value), exp(found.low), exp(found.high) if found.high < inf else inf, found.count)


@lru_cache
def _cut(count: int, confidence: float) -> int | None:
    """How many of the ordered Walsh averages lie outside of the interval at each end; None: it would not be 95 %.

    The largest k for which the signed-rank statistic is at most k with half of the error probability.
    """
    ways = [1]  # sign assignments of the ranks so far, by the sum of the positive ones
    for rank in range(1, count + 1):
        ways = [
            (ways[total] if total < len(ways) else 0) + (ways[total - rank] if total >= rank else 0)
            for total in range(len(ways) + rank)
        ]
    tail, allowed = 0, (1 - confidence) / 2 * 2**count
    for total, number in enumerate(ways):
        tail += number
        if tail > allowed:
            return total - 1 if total else None
    return None


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """How far two rankings of the same things agree, from 1 (in every pair) to -1 (in none): Kendall's tau-b.

    Biometrika 33 (1945): pairs that are tied in one ranking count half. Raises ValueError unless both have the same
    length, and nan never: a ranking in which all are tied agrees with any other by 0.
    """
    if len(first) != len(second):
        raise ValueError(f"rankings of {len(first)} and of {len(second)} things: expected the same things")
    agreed = tied_first = tied_second = total = 0
    for (a, b), (c, d) in combinations(zip(first, second, strict=True), 2):
        x, y = (a > c) - (a < c), (b > d) - (b < d)
        agreed += x * y
        tied_first += x == 0
        tied_second += y == 0
        total += 1
    scale = ((total - tied_first) * (total - tied_second)) ** 0.5
    return agreed / scale if scale else 0.0
