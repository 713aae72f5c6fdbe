"""Connections of clients that nobody steers: plain psycopg that counts what it sends, and the pool that lends them."""

import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row

from harness.model.cell import Isolation
from harness.servers.server import Server

# What code under test may have left on a connection, short of its prepared statements: those are what it would keep.
_PUT_BACK = (
    "SELECT pg_advisory_unlock_all(); RESET SESSION AUTHORIZATION; RESET ALL; DISCARD TEMP; UNLISTEN *; CLOSE ALL"
)


class CountingConnection(psycopg.Connection[TupleRow]):
    """An ordinary connection that counts commands, and the SQLSTATEs of those that fail, whoever catches them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands = 0
        self.errors: Counter[str] = Counter()

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:  # the signature differs between 3.1, 3.2 and 3.3
        self.commands += 1
        try:
            return super().wait(gen, *args, **kwargs)
        except psycopg.Error as error:
            self.errors[error.sqlstate or type(error).__name__] += 1
            raise


class Connections:
    """The connections of one application to one database, at one isolation level; made when wanted, lent again.

    Behaves as `psycopg_pool.ConnectionPool` does towards code that asks for a pool, and never runs out: what a strategy
    costs is not to depend on the size of a pool that the scenario says nothing about. Threads may share it.
    """

    def __init__(self, server: Server, database: str, isolation: Isolation, settings: Mapping[str, str]) -> None:
        # As start-up options RESET ALL comes back to them; a space in a value would begin the next option.
        chosen = {"timezone": "UTC", **settings, "default_transaction_isolation": isolation.sql}
        self._options = " ".join(
            "-c {}={}".format(name, re.sub(r"([\\\\ ])", r"\\\1", value)) for name, value in chosen.items()
        )
        self._dsn = server.dsn(database)
        self._free: list[CountingConnection] = []
        self._all: list[CountingConnection] = []
        self._guard = threading.Lock()
        self.autocommit = True  # of those that are lent from now on

    def getconn(self, timeout: float | None = None) -> CountingConnection:
        with self._guard:
            while self._free:
                connection = self._free.pop()  # last in, first out, as psycopg_pool does it
                if not connection.closed:
                    break
            else:
                connection = self._connect()
        if connection.autocommit is not self.autocommit:
            connection.autocommit = self.autocommit
        return connection

    def putconn(self, connection: CountingConnection) -> None:
        if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
            connection.rollback()
        with self._guard:
            self._free.append(connection)

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[CountingConnection]:
        """Lend a connection for the block: commits at its end, rolls back when it raises."""
        connection = self.getconn(timeout)
        try:
            yield connection
            if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
                connection.commit()
        finally:
            self.putconn(connection)

    def warm(self, count: int) -> None:
        """Have this many ready: connecting is not what is measured."""
        lent = [self.getconn() for _ in range(count)]
        for connection in lent:
            self.putconn(connection)

    @property
    def pids(self) -> list[int]:
        return [connection.info.backend_pid for connection in self._all if not connection.closed]

    def drawn(self) -> tuple[int, Counter[str]]:
        """Commands and errors since this was asked last."""
        commands, errors = 0, Counter[str]()
        for connection in self._all:
            commands += connection.commands
            errors.update(connection.errors)
            connection.commands = 0
            connection.errors.clear()
        return commands, errors

    def put_back(self) -> None:
        """Undo what code under test changed on its connections: it must not reach the next strategy's."""
        for connection in self._all:
            if connection.closed:
                continue
            if connection.info.transaction_status != TransactionStatus.IDLE:
                connection.rollback()
            connection.pgconn.exec_(_PUT_BACK.encode())
            connection.row_factory = tuple_row
            connection.prepare_threshold = 5
        self._forget_closed()

    def flush_statistics(self) -> None:
        """Have every backend report what it counted: at once where the server can (15), else by ending."""
        for connection in self._all:
            if connection.closed:
                continue
            if connection.info.server_version >= 150_000:
                connection.pgconn.exec_(b"SELECT pg_stat_force_next_flush()")
            else:
                connection.close()
        self._forget_closed()

    def close(self) -> None:
        for connection in self._all:
            with suppress(psycopg.Error):
                connection.close()
        self._forget_closed()

    def _forget_closed(self) -> None:
        self._all = [connection for connection in self._all if not connection.closed]
        self._free = [connection for connection in self._free if not connection.closed]

    def _connect(self) -> CountingConnection:
        connection: CountingConnection = CountingConnection.connect(
            self._dsn,
            autocommit=self.autocommit,
            options=self._options,
            application_name="harness client",
        )
        connection.commands = 0
        self._all.append(connection)
        return connection
