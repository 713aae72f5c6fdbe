"""The pool that application code asks for connections: behaves like psycopg_pool, and its waits are seen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import greenlet
from psycopg.pq import TransactionStatus

from harness.sessions.session import Session

if TYPE_CHECKING:
    from harness.sessions.connection import GatedConnection


class SessionPool:
    """One process's pool for one trial. A session that finds no free slot waits, and the hub knows for whom."""

    def __init__(self, lend: Callable[[Session | None], "GatedConnection"], *, max_size: int = 4) -> None:
        self._lend = lend
        self._max_size = max_size
        self._free: list[GatedConnection] = []
        self._lent: dict[int, Session | None] = {}  # id of the connection -> who has it

    def has_slot(self) -> bool:
        return len(self._lent) < self._max_size

    def _last_slot_is_left(self) -> bool:
        return len(self._lent) == self._max_size - 1

    def holders(self) -> set[Session]:
        return {session for session in self._lent.values() if session is not None}

    def getconn(self, timeout: float | None = None) -> "GatedConnection":
        current = greenlet.getcurrent()
        session = current if isinstance(current, Session) else None
        if session is not None and not session.draining and self._last_slot_is_left() and session in self.holders():
            session.yield_turn()  # whoever takes the last slot while all want another one makes them wait for ever
        while not self.has_slot():
            if session is None:
                raise RuntimeError(
                    f"the pool's {self._max_size} connections are all lent, to nobody who could return one"
                )
            session.wait_for_slot(self)
        # Last in, first out, as psycopg_pool does it.
        connection = self._free.pop() if self._free else self._lend(session)
        self._lent[id(connection)] = session
        if session is not None:
            connection.owners[connection.pid] = session
        return connection

    def putconn(self, connection: "GatedConnection") -> None:
        self._lent.pop(id(connection), None)
        if connection.closed:
            return
        if connection.info.transaction_status != TransactionStatus.IDLE:
            connection.rollback()
        self._free.append(connection)

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator["GatedConnection"]:
        """Lend a connection for the block: commits at its end, rolls back when it raises."""
        connection = self.getconn(timeout)
        try:
            yield connection
            if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
                connection.commit()
        except BaseException:
            if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
                connection.rollback()
            raise
        finally:
            self._lent.pop(id(connection), None)
            if not connection.closed:
                self._free.append(connection)
