"""Sums with planted faults: what was acknowledged is there, what nobody knows may be."""

from decimal import Decimal

import pytest

from harness.oracles.ledger import Entry, judge


def kind(start: int, found: int, *entries: tuple[int, bool]) -> str | None:
    violation = judge("the sum", Decimal(start), Decimal(found), [Entry(Decimal(a), sure) for a, sure in entries])
    return violation.kind if violation else None


@pytest.mark.parametrize("found", [3, 7])
def test_an_unknown_answer_brackets_the_sum(found: int) -> None:
    assert kind(1, found, (2, True), (4, False)) is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [(1, "lost-update"), (2, "lost-update"), (8, "non-serializable"), (0, "non-serializable")],
)
def test_outside_of_the_bracket_is_condemned(found: int, expected: str) -> None:
    assert kind(1, found, (2, True), (4, False)) == expected


def test_what_is_taken_away_is_counted_too() -> None:
    assert kind(10, 7, (-1, True), (-2, True)) is None
    assert kind(10, 8, (-1, True), (-2, True)) == "lost-update"
    assert kind(10, 6, (-1, True), (-2, True)) == "non-serializable"


def test_nothing_acknowledged_changes_nothing() -> None:
    assert kind(5, 5) is None
    assert kind(5, 6) == "non-serializable"
