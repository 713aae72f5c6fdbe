"""How often something happened by luck, and how that is said."""

import pytest

from harness.model.verdict import Rate
from harness.reports.witness import without_gates


@pytest.mark.parametrize(
    ("hits", "tries", "low", "high"),
    [
        # Worked out by hand: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.96.
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (10, 40, 0.1419, 0.4019),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_is_wilson_s(hits: int, tries: int, low: float, high: float) -> None:
    assert Rate(hits, tries).interval == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (None, ""),
        (Rate(10, 40), "; without gates in 10 of 40 overlapping runs, 25 % (14-40 %)"),
        (Rate(0, 1000), "; unconfirmed without gates: in none of 1,000 overlapping runs (below 0.38 %)"),
        (Rate(0, 0), "; unconfirmed without gates: no overlapping run came to its end"),
    ],
)
def test_what_was_not_met_is_called_unconfirmed(rate: Rate | None, said: str) -> None:
    assert without_gates(rate) == said
