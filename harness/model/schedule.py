"""The order of steps taken: a value that can be printed, stored and replayed to the same outcome."""

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from harness.model.cell import Cell
from harness.model.contest import Contest, OpRef, Order


class Gates(IntEnum):
    """Which points inside statements sessions may be held at; harness/sessions/gates.py says where they stand."""

    NONE = 0
    USUAL = 1  # before a statement scans, before its second row, before its row reaches the unique indexes
    ALL = 2  # and after it wrote


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision: which session goes next, out of which, and what it then did.

    `event` is `run` (the session takes its next step), `victim` (the server would break a deadlock: this session
    loses), `wake` (several were granted their locks: this one goes on first) or `timeout` (the waiting statement of
    this session meets its lock_timeout or statement_timeout).
    """

    session: int
    options: tuple[int, ...]
    event: str = "run"
    fingerprint: str = ""  # of the statement and of how the step ended; compared on replay, never trusted


class Failing(StrEnum):
    """How a client fails."""

    CANCEL = "cancel"  # the command is cancelled: 57014, and the transaction is over
    CUT = "cut"  # the backend is ended before the command reaches it: 57P01
    LOST = "lost"  # the command has ended a transaction, and the connection breaks before the client hears of it


@dataclass(frozen=True, slots=True)
class Fault:
    """One client fails once."""

    session: int
    command: int  # the session's n-th, from 0, of those that others can see
    failing: Failing

    def __str__(self) -> str:
        how = {
            Failing.CANCEL: "is cancelled",
            Failing.CUT: "is cut off before it arrives",
            Failing.LOST: "is done, and its answer lost",
        }
        return f"command {self.command + 1} of s{self.session + 1} {how[self.failing]}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A whole trial on one line (DESIGN: `h1:` and what stands alone without the scenario's file history)."""

    cell: Cell
    contest: Contest
    choices: tuple[Choice, ...]
    gates: Gates
    aged: bool
    digest: str  # of tables + layout + operations; a mismatch is an error, a changed strategy body is a departure
    alone: bool = False  # a serial order of operations rather than an interleaving
    fault: Fault | None = None

    @property
    def order(self) -> Order:
        """Of a serial order: its operations, one after the other."""
        taken: Counter[int] = Counter()
        refs = []
        for choice in self.choices:
            refs.append(OpRef(choice.session, taken[choice.session]))
            taken[choice.session] += 1
        return tuple(refs)

    @property
    def preemptions(self) -> int:
        """How often a session had to stop that could have gone on."""
        count, last = 0, None
        for choice in self.choices:
            if choice.event == "run":
                count += last in choice.options and choice.session != last
                last = choice.session
        return count
