"""A history: which calls of which round and session began and ended when, and what they were told; in columns."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.model.contest import Contest
from harness.model.outcome import Answer


@dataclass(frozen=True, slots=True)
class Batch:
    """Rounds drawn ahead."""

    first: int  # number of the first round
    templates: "array[int]"  # of each round, an index into Setup.templates; type "H"
    bases: "array[int]"  # of each round, where its keys are numbered from; type "q"


class OneCall(NamedTuple):
    """One row of `Calls`."""

    round: int
    session: int
    position: int
    began_ns: int
    ended_ns: int
    answer: Answer


@dataclass(slots=True)
class Calls:
    """What the calls of a batch came to, in columns; those of each process in the order of their ends.

    Times are nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
    """

    first: int = 0  # number of the batch's first round
    rounds: "array[int]" = field(default_factory=lambda: array("I"))  # from `first` on
    sessions: "array[int]" = field(default_factory=lambda: array("B"))
    positions: "array[int]" = field(default_factory=lambda: array("B"))
    began_ns: "array[int]" = field(default_factory=lambda: array("q"))
    ended_ns: "array[int]" = field(default_factory=lambda: array("q"))
    told: "array[int]" = field(default_factory=lambda: array("I"))  # indexes into `answers`
    answers: list[Answer] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rounds)

    def __iter__(self) -> Iterator[OneCall]:
        columns = (self.rounds, self.sessions, self.positions, self.began_ns, self.ended_ns, self.told)
        for number, session, position, began, ended, told in zip(*columns, strict=True):
            yield OneCall(self.first + number, session, position, began, ended, self.answers[told])

    def extend(self, other: "Calls") -> None:
        """Add what another process tells of the same batch."""
        shift = len(self.answers)
        self.answers += other.answers
        for mine, theirs in (
            (self.rounds, other.rounds),
            (self.sessions, other.sessions),
            (self.positions, other.positions),
            (self.began_ns, other.began_ns),
            (self.ended_ns, other.ended_ns),
        ):
            mine.extend(theirs)
        self.told.extend(array("I", [code + shift for code in other.told]) if shift else other.told)


def missing(calls: Calls, batch: Batch, templates: Sequence[Contest]) -> set[int]:
    """Rounds of the batch of which some call has no answer."""
    seen = array("I", bytes(4 * len(batch.templates)))
    for number in calls.rounds:
        seen[number] += 1
    wanted = [sum(map(len, contest.sessions)) for contest in templates]
    return {batch.first + n for n, template in enumerate(batch.templates) if seen[n] != wanted[template]}
