"""What is run concurrently: a start state and the calls of each session."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


class OpRef(NamedTuple):
    """One operation of a contest: the `position`th call of session `session`, both from 0."""

    session: int
    position: int


Order = tuple[OpRef, ...]
"""Operations run one at a time, first to last; may leave operations of the contest out."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the application: `purchase(student=1, course=1, amount=2)`."""

    operation: str
    arguments: tuple[tuple[str, object], ...]

    def __str__(self) -> str:
        return f"{self.operation}({', '.join(f'{name}={value!r}' for name, value in self.arguments)})"


@dataclass(frozen=True, slots=True)
class Contest:
    state: str
    sessions: tuple[tuple[Call, ...], ...]
    pattern: str  # the collision pattern: "same student, same course"
    prelude: tuple[Call, ...] = ()  # operations run one after the other before the sessions begin

    @property
    def operations(self) -> tuple[OpRef, ...]:
        return tuple(OpRef(s, p) for s, calls in enumerate(self.sessions) for p in range(len(calls)))

    @property
    def stays(self) -> bool:
        """Whether each session makes one call from the start state itself: else calls come upon what others left."""
        return not self.prelude and all(len(calls) <= 1 for calls in self.sessions)

    def call(self, ref: OpRef) -> Call:
        return self.sessions[ref.session][ref.position]

    def __str__(self) -> str:
        sessions = "; ".join(f"s{i + 1}: {', '.join(map(str, calls))}" for i, calls in enumerate(self.sessions))
        first = f", then {', '.join(map(str, self.prelude))}" if self.prelude else ""
        return f"from '{self.state}'{first} ({self.pattern}): {sessions}"


def orders(
    refs: frozenset[OpRef] | tuple[OpRef, ...], before: frozenset[tuple[OpRef, OpRef]] = frozenset()
) -> Iterator[Order]:
    """Every order of the operations that keeps each session's program order and the pairs of `before`."""
    remaining = sorted(refs)
    program = {(a, b) for a, b in pairwise(remaining) if a.session == b.session}
    constraints = program | {(a, b) for a, b in before if a in refs and b in refs}

    def extend(done: Order, left: list[OpRef]) -> Iterator[Order]:
        if not left:
            yield done
        for ref in left:
            if not any(b == ref and a in left for a, b in constraints):
                yield from extend((*done, ref), [other for other in left if other != ref])

    yield from extend((), remaining)
