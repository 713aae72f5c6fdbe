"""What an oracle may look at: one trial, and what its operations do when run one at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from harness.model.contest import Contest, OpRef, Order
from harness.model.outcome import Outcome, Rows

Key = tuple[object, ...]
"""The values of one identity's columns."""

LiveKeys = Mapping[str, Mapping[Key, int]]
"""For each identity, by its name as a person reads it, how many live rows each key has (counted on the heap)."""


def _no_identities(_: Outcome) -> LiveKeys:
    return {}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One trial and its serial outcomes. Whoever ran it also asked the server which rows are live: no SQL here."""

    contest: Contest
    outcome: Outcome
    # Real time, as a relation closed under transitivity: a was answered before b was called.
    before: frozenset[tuple[OpRef, OpRef]] = frozenset()
    start: Rows
    # The same strategy, these operations one at a time from the start state; remembered by whoever supplies it, because
    # every oracle asks anew. Any subset of the operations may be asked for, except none: that is `start`.
    serial: Callable[[Order], Outcome]
    # The operations' own bodies on layout `none`: what a call means. None where nothing is specified.
    specification: Callable[[Order], Outcome] | None = None
    # SQLSTATEs that the caller of this strategy retries at this isolation level.
    retryable: frozenset[str] = frozenset()
    # Asked about the trial's outcome, and about outcomes that `serial` gave.
    live: Callable[[Outcome], LiveKeys] = _no_identities
    live_at_start: LiveKeys = field(default_factory=dict)
    # The part of the rows that the specification speaks of: a soft delete and a delete leave the same live rows.
    live_rows: Callable[[Outcome], Rows] = attrgetter("rows")
    # A cycle that the server could not see, in words: "s1 waits for a connection of the pool, which s2 holds; ...".
    # Operations given up for it have no answer in `outcome`, or Unknown: never the 57014 of their cancellation.
    hang: str | None = None
    invariants: tuple[tuple[str, str], ...] = ()  # name and row, of invariant queries that returned one


@dataclass(frozen=True, slots=True)
class OracleCrashed:
    """An oracle broke, so nobody knows: the trial counts as unknown, never as a pass."""

    oracle: str
    reason: str
    exception: Exception = field(compare=False, repr=False)
