"""The one gate between application code and server: a psycopg connection whose every wait passes the hub."""

from typing import Any

import greenlet
import psycopg
from psycopg.rows import TupleRow, tuple_row

from harness.model.cell import Isolation
from harness.sessions.session import Session


class SharedConnection(RuntimeError):
    """One connection used by two sessions at once: a bug in the code under test, or in its pool."""


class GuardLock:
    """Stands for psycopg's lock. Two greenlets on a real one would hang the process; this one says whose it is."""

    __slots__ = ("depth", "owner")

    def __init__(self) -> None:
        self.owner: object = None
        self.depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        current = greenlet.getcurrent()
        if self.owner is not None and self.owner is not current:
            raise SharedConnection(
                "one connection is used by two sessions at once: take one per session, or from the pool"
            )
        self.owner = current
        self.depth += 1
        return True

    def release(self) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.owner = None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class GatedConnection(psycopg.Connection[TupleRow]):
    """An ordinary connection; inside a session every command stops at `wait` until the hub lets it through.

    In psycopg's sync driver `Connection.wait(gen)` is the only door to the server (connecting and cancelling aside),
    so unmodified code, pools and ORMs are scheduled without knowing it.
    """

    # Kept by the arena that opened the connection.
    pid: int = 0
    owners: dict[int, Session]
    at: Isolation
    gated: bool = False
    turnstile: bool = False  # the control connection holds this backend's first key
    traces: bool = False  # SET, temp tables, session locks: to be discarded after the trial
    threshold: int | None = None
    autocommit_at_start: bool = True

    def guard(self) -> None:
        """Called once, after connecting: replace the lock that would hang the process."""
        self.lock = GuardLock()  # type: ignore[assignment]
        # Asked of the server: behind a session pooler the number that came with the connection is another's.
        answer = self.pgconn.exec_(b"SELECT pg_backend_pid()").get_value(0, 0)
        self.pid = int(answer or 0)
        self.owners = {}

    def restore(self) -> None:
        """Undo what application code may have set on the object; reading is much cheaper than setting."""
        self._num_transactions = 0  # of blocks whose end was never sent, in a trial that was given up
        if self._isolation_level is not None:
            self.isolation_level = None
        if self._read_only is not None:
            self.read_only = None
        if self._deferrable is not None:
            self.deferrable = None
        if self._autocommit is not self.autocommit_at_start:
            self.autocommit = self.autocommit_at_start
        if self.row_factory is not tuple_row:
            self.row_factory = tuple_row
        if self.prepare_threshold != self.threshold:
            self.prepare_threshold = self.threshold

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:  # the signature differs between 3.1, 3.2 and 3.3
        session = greenlet.getcurrent()
        if not isinstance(session, Session) or kwargs.get("timeout") is not None:
            return super().wait(gen, *args, **kwargs)
        if session.draining:
            return session.drain(self, gen, super().wait)
        return session.ask(self, gen)
