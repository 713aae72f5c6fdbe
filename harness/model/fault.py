"""Faults of a race: what is done to it, in which round, to whom; a plan of them is a value that can be printed."""

from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """What happens to sessions that race."""

    CANCEL = "cancel"  # pg_cancel_backend while a command is under way: 57014
    TERMINATE = "terminate"  # pg_terminate_backend: 57P01, and the connection is gone
    CUT = "cut"  # the client's socket is shut once the command that commits was sent, before its answer is read
    LOCK_TIMEOUT = "lock_timeout"  # a millisecond: 55P03 for whoever waits
    STATEMENT_TIMEOUT = "statement_timeout"  # a few milliseconds: 57014
    RESTART_FAST = "restart_fast"  # the server, SIGINT: sessions are told 57P01
    RESTART_IMMEDIATE = "restart_immediate"  # the server, SIGQUIT: it recovers from its WAL, as after a crash
    KILLED = "killed"  # kill -9 of a process that carries sessions
    PAUSED = "paused"  # every process of the server stands still for a while

    @property
    def of_all(self) -> bool:
        """Whether it happens to all sessions, or to those of one process: at most one in each batch."""
        return self in _OF_ALL

    @property
    def needs_our_server(self) -> bool:
        """Whether it is done only to a server that the harness started from binaries of this machine."""
        return self in _OF_SERVER

    @property
    def sqlstate(self) -> str | None:
        """What a call that it hit may fail with, the transaction undone. None: its answer is Unknown."""
        return _FAILS.get(self)


_OF_SERVER = {FaultKind.RESTART_FAST, FaultKind.RESTART_IMMEDIATE, FaultKind.PAUSED}
_OF_ALL = _OF_SERVER | {FaultKind.KILLED}
_FAILS = {FaultKind.CANCEL: "57014", FaultKind.STATEMENT_TIMEOUT: "57014", FaultKind.LOCK_TIMEOUT: "55P03"}


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault of a plan."""

    kind: FaultKind
    round: int
    session: int  # whose first call of that round it happens to, or that gives the signal for it
    point: int = 0  # which of the commands of the call, modulo how many it was seen to have

    def __str__(self) -> str:
        return f"{self.kind} r{self.round} s{self.session + 1}"


@dataclass(frozen=True, slots=True)
class Injected:
    """What became of a fault that was planned for one session's call."""

    kind: FaultKind
    round: int
    session: int
    position: int
    done: bool  # it was really done, before the call was answered
    met: bool  # the client was told of it
    may_have_committed: bool = False  # something of the call, by a command before the one that was hit


@dataclass(slots=True)
class FaultCount:
    """Of one kind."""

    planned: int = 0
    done: int = 0
    met: int = 0  # a client was told of it
