"""Conservation: what calls that only add have added is what is there, however many they are.

For counters and appends no order has to be found: if every call adds the same whatever was there before, the sum of
what was acknowledged is the answer. Calls whose answer nobody knows bracket it. Cheaper than a search, and without its
cap.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from harness.model.verdict import Violation


@dataclass(frozen=True, slots=True)
class Entry:
    """What one call adds, alone or not."""

    amount: Decimal
    certain: bool  # acknowledged; otherwise it may have been added or not


def judge(what: str, start: Decimal, found: Decimal, entries: Iterable[Entry]) -> Violation | None:
    """`what`: the sum that is kept, as a person reads it. Less than was acknowledged is lost, more is nobody's."""
    low = high = start
    for entry in entries:
        low += entry.amount if entry.certain else min(entry.amount, Decimal(0))
        high += entry.amount if entry.certain else max(entry.amount, Decimal(0))
    if low <= found <= high:
        return None
    expected = f"{low}" if low == high else f"{low} to {high}"
    words = f"{what} is {found}; with all that was acknowledged it is {expected}"
    if start <= found < low or high < found <= start:  # between where it was and where it should be
        return Violation("lost-update", words, anomaly="P4")
    return Violation("non-serializable", words)
