"""What is told beside a witness: which of its parts do not matter, what survives the same contest, what to write."""

from dataclasses import dataclass
from enum import StrEnum

from harness.model.cell import Cell
from harness.model.verdict import Verdict


class Came(StrEnum):
    """What a witness of which one part was varied came to."""

    SAME = "same"  # a violation of the same kind
    OTHER = "other"  # not that kind in any order, but one of another kind
    NOTHING = "nothing"  # in no order any violation
    OPEN = "open"  # not found within the trials allowed, and not every order was run
    IMPOSSIBLE = "impossible"  # there is no such contest: the layout forbids the state


@dataclass(frozen=True, slots=True)
class Variation:
    """A witness with one part changed, run again."""

    part: str  # "layout", "state", "isolation", "server", or a parameter's name
    value: str  # what it was changed to
    came: Came
    kind: str = ""  # of OTHER: the violation that was met instead, as `expect` names it
    argument: bool = False  # `part` is a parameter of the operations


@dataclass(frozen=True, slots=True)
class Tried:
    """Another strategy, or another layout, in the same contest."""

    cell: Cell
    verdict: Verdict
    kinds: tuple[str, ...]  # of what was found
    reason: str  # why it is unknown
    orders: int
    exhaustive: bool
    statements: tuple[str, ...] = ()  # of one that survives: those its sessions sent, each once, without parameters
    lines: int = 0  # of its source

    @property
    def survives(self) -> bool:
        """Whether it stood every order that was run, and something was met in them."""
        return self.verdict in (Verdict.SAFE, Verdict.RETRY)


@dataclass(frozen=True, slots=True)
class Repairs:
    """The scenario's other strategies, and its layouts, in the contest of a witness."""

    here: Cell  # of the witness
    tried: tuple[Tried, ...]  # those that survive first, the shortest to read before the others


@dataclass(frozen=True, slots=True)
class Hint:
    """A cause that the trace of a finding establishes, and what to write instead."""

    cause: str  # its name: "check-then-act"
    says: str  # what happened, with the user's own table and columns
    rewrite: str  # what to write instead
    verified: tuple[Cell, ...] = ()  # where a strategy of the scenario writes so, and survives the same contest


@dataclass(frozen=True, slots=True)
class Advice:
    """All of it. None: not asked for, or not possible."""

    hints: tuple[Hint, ...] = ()
    variations: tuple[Variation, ...] | None = None
    repairs: Repairs | None = None
