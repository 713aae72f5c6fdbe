"""The harness's own connection: who waits for whom, the turnstile of the gates, reading and resetting tables.

Sees heavyweight locks and safe snapshots only, as pg_locks does: a backend that waits for anything else is not blocked,
it is slow.
"""

from collections.abc import Iterable, Sequence

import psycopg
from psycopg import OperationalError, pq

from harness.servers.server import Server, one_line

_TUPLES, _OK = pq.ExecStatus.TUPLES_OK, (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY)

Result = tuple[tuple[str | None, ...], ...]

# One prepared query on a raw libpq connection costs 11 us; psycopg's cursor would add as much again.
_BLOCKERS = b"""
    SELECT p, pg_blocking_pids(p) || pg_safe_snapshot_blocking_pids(p)
      FROM unnest($1::int[]) AS p"""


class ControlLost(RuntimeError):
    """The server no longer answers the harness's own connection."""


class SqlRefused(ValueError):
    """The server refused SQL of a scenario; the message is the server's, `sqlstate` its code."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class Control:
    def __init__(self, server: Server, database: str) -> None:
        try:
            # By the driver, which is all that it is for: libpq alone prints what a dying server says while we connect.
            self._connection = psycopg.connect(server.dsn(database), autocommit=True)
        except OperationalError as error:
            raise ControlLost(one_line(error)) from None
        self._pgconn = self._connection.pgconn
        self._pgconn.nonblocking = 1
        self.fd = self._pgconn.socket
        self.run(
            "SET application_name = 'harness control'; SET client_min_messages = error;"
            " SET synchronous_commit = off;"  # nothing here has to last
            " SET timezone = 'UTC'; SET datestyle = 'ISO'; SET extra_float_digits = 1; SET bytea_output = hex"
        )
        self.pid = int(self.run("SELECT pg_backend_pid()")[0][0][0] or 0)
        self._check(self._pgconn.prepare(b"blockers", _BLOCKERS))

    def close(self) -> None:
        self._connection.close()

    def _check(self, result: pq.abc.PGresult | None) -> None:
        if result is None or self._pgconn.status != pq.ConnStatus.OK:
            raise ControlLost(one_line(self._pgconn.get_error_message()) or "the server closed the connection")
        if result.status not in _OK:
            state = result.error_field(pq.DiagnosticField.SQLSTATE)
            if state is None or state.startswith((b"08", b"57P")):  # it says good-bye: the connection is gone, too
                raise ControlLost(one_line(result.get_error_message()))
            raise SqlRefused(result.get_error_message().strip(), state.decode())

    def run(self, query: str | bytes) -> list[Result]:
        """Send one or several statements in one message; the rows of each, as text (None is NULL)."""
        return self.run_raw(query if isinstance(query, bytes) else query.encode())

    def run_raw(self, query: bytes) -> list[Result]:
        pgconn = self._pgconn
        if pgconn.status != pq.ConnStatus.OK:
            raise ControlLost("the server closed the connection")
        try:
            pgconn.send_query(query)
            while pgconn.flush():
                pass
        except OperationalError as lost:
            raise ControlLost(one_line(lost)) from None
        results: list[Result] = []
        error: SqlRefused | None = None
        while (result := pgconn.get_result()) is not None:
            if result.status == _TUPLES:
                get = result.get_value
                columns = range(result.nfields)
                results.append(tuple([tuple([_text(get(r, c)) for c in columns]) for r in range(result.ntuples)]))
            elif result.status not in _OK:
                try:
                    self._check(result)
                except SqlRefused as refused:
                    error = refused
        if error is not None:
            raise error
        return results

    def ask_blockers(self, pids: Sequence[int]) -> None:
        """Send the question; the answer is read when the socket is readable, next to the sessions' sockets."""
        try:
            self._pgconn.send_query_prepared(b"blockers", [b"{%s}" % ",".join(map(str, pids)).encode()])
            while self._pgconn.flush():
                pass
        except OperationalError as error:
            raise ControlLost(one_line(error)) from None

    def read_blockers(self) -> dict[int, frozenset[int]] | None:
        """The answer by waiting pid (empty: not blocked); None while it has not arrived."""
        pgconn = self._pgconn
        try:
            pgconn.consume_input()
        except OperationalError as error:
            raise ControlLost(one_line(error)) from None
        if pgconn.is_busy():
            return None
        answer: dict[int, frozenset[int]] = {}
        while (result := pgconn.get_result()) is not None:
            self._check(result)
            for row in range(result.ntuples):
                pids = result.get_value(row, 1) or b"{}"
                answer[int(result.get_value(row, 0) or 0)] = (
                    frozenset(map(int, pids[1:-1].split(b","))) if len(pids) > 2 else frozenset()
                )
        return answer

    def cancel(self, pid: int) -> None:
        self.run_raw(b"SELECT pg_cancel_backend(%d)" % pid)

    def signal(self, pid: int, number: int) -> None:
        """By the server itself, for backends of another machine or container. Needs a superuser."""
        self.run_raw(b"COPY (SELECT) TO PROGRAM 'kill -%d %d; cat >/dev/null'" % (number, pid))

    def terminate(self, pids: Iterable[int]) -> None:
        self.run_raw(b"SELECT pg_terminate_backend(p) FROM unnest('{%s}'::int[]) p" % ",".join(map(str, pids)).encode())

    def is_there(self, pid: int) -> bool:
        return bool(self.run_raw(b"SELECT FROM pg_stat_activity WHERE pid = %d" % pid)[0])

    def relation_locks(self, pid: int) -> list[tuple[int, str]]:
        """Relations (oid) that the backend holds locks on, with the mode."""
        (rows,) = self.run_raw(
            b"SELECT relation, mode FROM pg_locks WHERE pid = %d AND locktype = 'relation' AND granted" % pid
            + b" UNION SELECT 0, 'Advisory' FROM pg_locks WHERE pid = %d AND locktype = 'advisory' AND objsubid = 1"
            % pid
        )
        return [(int(oid or 0), mode or "") for oid, mode in rows]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
