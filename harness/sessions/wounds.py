"""Faults that happen to one call of one session of a race: by its own client, or by a connection beside it."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import greenlet
import psycopg
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus

from harness.model.fault import FaultKind, Injection
from harness.sessions.racing import Race, RacingConnection
from harness.sessions.statement import Kind, describe

_SHORT_MS = (1, 2, 5)
_FIRED_MAX = 40  # cancels sent to one call: it may have commands that cannot be cancelled, and code that tries again
_HELD_MS = 250
_PIECE = 1 << 16
_BY_SERVER = {FaultKind.CANCEL: "pg_cancel_backend", FaultKind.TERMINATE: "pg_terminate_backend"}
_TIMEOUTS = (FaultKind.LOCK_TIMEOUT, FaultKind.STATEMENT_TIMEOUT)


class Injector:
    """A connection beside the sessions of a race, that cancels and terminates them, or holds up those who write."""

    def __init__(self, connect: Callable[[], RacingConnection], race: Race) -> None:
        self._connect, self.race = connect, race
        self._connection: RacingConnection | None = None
        self.holding = False

    def fire(self, function: str, pid: int) -> None:
        """Called by a greenlet of the race, as the others here. A server that is gone hurts nobody any more."""
        self._send(f"SELECT {function}({pid})")

    def hold(self, table: str) -> None:
        """Lock the table: who writes waits, and is hurt while it waits. Readers go on.

        One table only, and before the session that is to be hurt has any lock: so nobody can come to a deadlock by it.
        Should that session wait without an end, the server ends the hold.
        """
        self._send(f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = '{_HELD_MS}ms'")
        self.holding = self._send(f"LOCK TABLE {table} IN EXCLUSIVE MODE")

    def release(self) -> None:
        if self.holding:
            self.holding = False
            self._send("ROLLBACK")

    def ready(self) -> None:
        """Connect ahead of the race: that takes longer than most calls."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
            self._connection.hurts = True

    def _send(self, query: str) -> bool:
        try:
            self.ready()
            assert self._connection is not None
            self._connection.execute(query.encode())
        except psycopg.Error:
            self.close()
            return False
        return True

    def close(self) -> None:
        if self._connection is not None:
            self.race.forget(self._connection)
            self._connection.close()


class Wounded:
    """One injection, for as long as the call that it is for lasts."""

    def __init__(
        self,
        injection: Injection,
        commands: tuple[int, int],
        injector: Injector,
        table: str,
        tell: Callable[[], None],
    ) -> None:
        """`commands`: how many a call of this kind was last seen to send, and how many of them commit.

        `table`: that is held while the call is hurt. `tell`: called in the middle of the call, for faults that are not
        the session's own.
        """
        self.injection, self.injector = injection, injector
        kind = injection.kind
        # Of those by the server every other one hits wherever the call happens to be.
        self._held = table if kind in _TIMEOUTS or (kind in _BY_SERVER and injection.point % 2) else ""
        self._at = 0 if self._held else injection.point // 2 % max(1, commands[kind is FaultKind.CUT])
        self._tell = tell
        self.sent = self.commits = 0
        self._last_commits = False
        self.done = False
        self.connection: RacingConnection | None = None  # that was hit
        self.pid = 0  # of its backend
        self._firing = self._enough = False
        self._waiting: greenlet.greenlet | None = None

    @property
    def may_have_committed(self) -> bool:
        """Something of the call, before its last command."""
        return self.commits > self._last_commits

    def wait(self, connection: RacingConnection, gen: Any, drive: Callable[..., Any]) -> Any:
        """Drive one command of the call."""
        idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
        statement = describe(gen)
        commits = statement.kind is Kind.COMMIT or (idle and connection.autocommit and statement.kind is Kind.STATEMENT)
        kind = self.injection.kind
        here = not self.done and (self.commits if kind is FaultKind.CUT else self.sent) == self._at
        here = here and (commits or kind is not FaultKind.CUT) and kind not in _TIMEOUTS
        if self._held and self.sent == 0 and idle:
            self.injector.hold(self._held)
        self.sent += 1
        self.commits += commits
        self._last_commits = commits
        try:
            if kind in _TIMEOUTS:
                return self._in_short_time(connection, gen, drive, idle=idle)
            return drive(gen, greenlet.getcurrent(), (lambda: self._hit(connection)) if here else None)
        except psycopg.Error:  # it is hurt; what the code under test does next is its own
            self._let_go()
            raise

    def end(self) -> None:
        """The call was answered. What is on its way to its backend arrives before the session goes on."""
        self._let_go()
        if self._firing:
            self._waiting = greenlet.getcurrent()
            self.injector.race.pause()

    def _let_go(self) -> None:
        self._enough = True
        if not self._firing:
            self.injector.release()

    # ---- what is done ---------------------------------------------------------------------------------------------

    def _hit(self, connection: RacingConnection) -> None:
        self.done, self.connection, self.pid = True, connection, connection.pgconn.backend_pid
        match self.injection.kind:
            case FaultKind.CUT:
                shut(connection)
            case FaultKind.CANCEL | FaultKind.TERMINATE:
                self._firing = True
                self.injector.race.start(self._fire)
            case _:
                self._tell()

    def _fire(self) -> None:
        """A cancel that comes between two commands is forgotten by the server: so until one is heard."""
        kind = self.injection.kind
        for _ in range(_FIRED_MAX if kind is FaultKind.CANCEL else 1):
            self.injector.fire(_BY_SERVER[kind], self.pid)
            if self._enough:
                break
        self.injector.release()
        self._firing = False
        if self._waiting is not None:
            self.injector.race.wake(self._waiting)

    def _in_short_time(self, connection: RacingConnection, gen: Any, drive: Callable[..., Any], *, idle: bool) -> Any:
        """Set outside transactions only, and put back as soon as one is over: others may share the connection."""
        name = str(self.injection.kind)
        if idle:
            ms = 1 if self.injection.kind is FaultKind.LOCK_TIMEOUT else _SHORT_MS[self.injection.point % 3]
            self.done = _plainly(connection, f"SET {name} = '{ms}ms'") or self.done
        try:
            return drive(gen, greenlet.getcurrent())
        finally:
            if connection.pgconn.status == ConnStatus.OK and (
                connection.pgconn.transaction_status == TransactionStatus.IDLE
            ):
                # A millisecond may be too short for this, too.
                while not _plainly(connection, f"RESET {name}") and connection.pgconn.status == ConnStatus.OK:
                    pass


def _plainly(connection: RacingConnection, statement: str) -> bool:
    with suppress(psycopg.OperationalError):
        return connection.pgconn.exec_(statement.encode()).status == ExecStatus.COMMAND_OK
    return False


def shut(connection: psycopg.Connection[Any]) -> None:
    """End the client's side of a connection: what was sent arrives, what is answered does not, nor what was already."""
    with suppress(OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as twin:
        twin.shutdown(socket.SHUT_RDWR)
        while twin.recv(_PIECE):
            pass
