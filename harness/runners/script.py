"""A trial as a script: every command as the server got it, in order, and what came of it. Exports are made of it."""

from dataclasses import dataclass
from enum import StrEnum

from harness.model.contest import OpRef
from harness.model.schedule import Failing
from harness.scenario import lexer


class Unwritable(ValueError):
    """A trial that cannot be written as SQL for another tool; the message says what is in the way."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A value that the server made and an earlier command of the same connection returned, where it is used again."""

    command: int  # number of the command that returned it
    column: int  # from 0
    literal: str  # as it was in the recorded trial
    type: str  # of the column, as PostgreSQL calls it

    @property
    def setting(self) -> str:
        """Of a session, to hold it."""
        return f"harness.value_{self.command}_{self.column + 1}"


Sql = tuple[str | Carried, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What a command came to. A failure has a SQLSTATE, all else a status."""

    status: str = ""  # "INSERT 0 1"
    sqlstate: str = ""
    message: str = ""  # first line of the server's, untranslated
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()

    @property
    def count(self) -> int:
        """Rows that were returned or affected, as psql's ROW_COUNT has it: 0 of a command that counts none."""
        last = self.status.rpartition(" ")[2]
        return int(last) if last.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared statement, as PREPARE is told it."""

    name: str
    types: tuple[str, ...]
    statement: str  # with $1...


@dataclass(frozen=True, slots=True)
class Command:
    """One command of one session."""

    number: int  # from 1, in the order in which they were sent
    session: int
    connection: int  # of this session, from 0: most need only one
    call: OpRef
    sql: Sql
    result: Result = Result()
    gates: tuple[str, ...] = ()  # places inside it that it passed, in order
    fault: Failing | None = None  # how its client fails at it
    inside: bool = False  # a transaction that was open when it was sent
    prepared: Prepared | None = None  # what it prepares or executes

    @property
    def text(self) -> str:
        """As it was sent, on one message."""
        return "".join(part if isinstance(part, str) else part.literal for part in self.sql)

    @property
    def verb(self) -> str:
        return verb_of(self.text)


def verb_of(sql: str) -> str:
    """Its first word, in lower case."""
    words = [token.word for token in lexer.tokens(sql) if token.word]
    return words[0] if words and words[0].isalpha() else "command"


class Happening(StrEnum):
    SENT = "sent"
    WAITS = "waits"  # for a lock
    HELD = "held"  # at a gate inside the statement
    RELEASED = "released"  # from the gate
    DONE = "done"
    TOLD = "told"  # a client has its answer


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened to a command, in the order in which things happened."""

    happening: Happening
    command: int  # number
    note: str = ""  # WAITS: for whom; HELD, RELEASED: which passing of a gate, from 1; TOLD: the call and the answer


@dataclass(frozen=True, slots=True)
class Script:
    """All that was sent in a trial, and when. Stops at gates during which nobody else did anything are left out."""

    commands: tuple[Command, ...]
    moments: tuple[Moment, ...]

    def command(self, number: int) -> Command:
        return self.commands[number - 1]
