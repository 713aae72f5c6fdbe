"""What happened in a trial, step by step, as plain text values: the material of every interleaving table and story."""

from dataclasses import dataclass
from enum import StrEnum

from harness.model.contest import OpRef, Order
from harness.model.outcome import Outcome


class Happening(StrEnum):
    SENT = "sent"  # a step that ran to its end
    WAITING = "waiting"  # a step that now waits for a lock, or stands at a gate
    COMPLETED = "completed"  # an earlier step that has now come to its end
    ANSWERED = "answered"  # what the client was told


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the interleaving table, in the column of its session."""

    step: int  # from 0; lines of one step share the number
    session: int
    happening: Happening
    statement: str  # as sent, with its parameters; for ANSWERED the call
    result: str  # "INSERT 0 1", "1 row", "23505 unique_violation", "waits for s1", "at gate BEFORE INSERT ON purchase"


Trace = tuple[Event, ...]


# What was observed besides, where a trial was run again to be explained. Values that the server or the clock made up
# are masked (`<id>`, `<uuid>`, `<now>`), so that two trials can be compared; steps are numbered as events are.

Values = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a row, once it was committed."""

    table: str
    columns: tuple[str, ...]
    row: Values
    ctid: str  # "(0,3)"
    writer: int | None  # by number, of the transaction that its xmin is; None: the start state's, or nobody knows
    known: bool = True  # False: some transaction of the trial wrote it, and it cannot be said which

    @property
    def as_dict(self) -> dict[str, str | None]:
        return dict(zip(self.columns, self.row, strict=True))


@dataclass(frozen=True, slots=True)
class Wait:
    """A lock that a statement waited for, as pg_locks has it (PostgreSQL, 53.13)."""

    kind: str  # its locktype: "transactionid" (the end of a transaction), "tuple", "relation", "advisory", ...
    mode: str  # "ShareLock"
    on: str  # the relation, or the row "score (0,1)" whose lock the waiter already queues for; empty if not told
    step: int  # in which the wait began
    holders: tuple[int, ...]  # sessions
    held_through: int | None = None  # number of the statement that took it, where that is known


@dataclass(frozen=True, slots=True)
class Gate:
    """A point inside a statement at which the session was held."""

    name: str
    step: int  # in which it came there


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as the server told it."""

    sqlstate: str
    message: str
    detail: str = ""
    constraint: str = ""
    table: str = ""


@dataclass(frozen=True, slots=True)
class Ran:
    """One statement of a session from the step that sent it to the step in which its answer came."""

    number: int
    session: int
    call: OpRef
    transaction: int  # its number
    began: int
    ended: int | None  # None: given up
    statement: str  # with its parameters
    text: str  # without
    status: str = ""  # the command tag: "INSERT 0 1"
    columns: tuple[str, ...] = ()
    rows: tuple[Values, ...] = ()  # returned: the first few
    returned: int = 0
    error: Refusal | None = None
    waits: tuple[Wait, ...] = ()
    gates: tuple[Gate, ...] = ()

    @property
    def affected(self) -> int | None:
        """Rows returned or written, by the command tag; None: it has none (COMMIT, LOCK TABLE) or met an error."""
        last = self.status.rpartition(" ")[2]
        return int(last) if last.isdigit() else None


@dataclass(frozen=True, slots=True)
class Transaction:
    number: int
    session: int
    autocommitted: bool  # a single statement that commits itself
    snapshot: int | None  # the step whose beginning its (first) statement saw; None: it took none
    ended: int | None
    committed: bool | None  # None: nobody knows, the connection was lost
    added: tuple[Version, ...] = ()  # that are there when it has committed, and were not before
    removed: tuple[Version, ...] = ()  # the other way round
    whole: bool = True  # False: another committed in the same step, and the server does not tell what lay between


@dataclass(frozen=True, slots=True)
class Observed:
    """One trial, or one serial order, in full."""

    statements: tuple[Ran, ...]  # by the step in which they ended
    transactions: tuple[Transaction, ...]
    one_snapshot: bool  # for each transaction: the isolation level is above READ COMMITTED
    start: tuple[Version, ...] = ()
    left: tuple[Version, ...] = ()  # at the end


@dataclass(frozen=True, slots=True)
class Serial:
    """The same operations one at a time: what each statement did, and what it came to."""

    order: Order
    observed: Observed
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Explained:
    """All that a story is told from."""

    observed: Observed
    serial: tuple[Serial, ...]
    every_order: bool  # whether `serial` has every order that a client could have seen, rather than the first of them
