"""The floor: the same statements in the same orders over libpq alone. Nothing is scheduled, compared or remembered.

Where a statement waits, the server is asked until it says so: without that, the next session's statement could come
first and the order would be another one.
"""

from time import perf_counter

from psycopg import pq

from harness.servers.server import Server

from .workload import INSERT, LOOK, Spent, Steps, pin

_STATEMENTS = {
    "BEGIN": "BEGIN",
    "SELECT": LOOK.replace("%s", "$1::int"),
    "INSERT": INSERT.replace("%s, %s", "$1::int, $2::int"),
    "COMMIT": "COMMIT",
    "ROLLBACK": "ROLLBACK",
}
_FINAL_ROWS_AND_RESET = b"SELECT * FROM bench; DELETE FROM bench; SELECT setval('bench_id_seq', 1, false)"
_GOOD = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class BareLibpq:
    """Connections to the database of a workload."""

    def __init__(self, server: Server, database: str, sessions: int, cpu: int | None) -> None:
        self._all = []
        for _ in range(sessions + 1):
            connection = pq.PGconn.connect(server.dsn(database).encode())
            if connection.status != pq.ConnStatus.OK:
                raise RuntimeError(connection.get_error_message())
            if server.local:
                pin(cpu, connection.backend_pid)
            self._all.append(connection)
        *self._sessions, self._control = self._all
        for connection in self._sessions:
            for verb, statement in _STATEMENTS.items():
                _check(connection.prepare(verb.encode(), statement.encode()))
        _check(self._control.prepare(b"blockers", b"SELECT pg_blocking_pids($1::int)"))
        self._parameters = [
            {"SELECT": [b"1"], "INSERT": [b"1", str(n + 1).encode()]} for n in range(len(self._sessions))
        ]

    def run(self, orders: list[Steps], spent: Spent) -> None:
        """Each order once."""
        _check(self._control.exec_(b"TRUNCATE bench"))
        for order in orders:
            began = perf_counter()
            self._one(order)
            spent.add(any(step.waits for step in order), perf_counter() - began)

    def _one(self, order: Steps) -> None:
        begun: set[int] = set()
        waiting: set[int] = set()
        for step in order:
            session, connection = step.session, self._sessions[step.session]
            if session not in begun:
                begun.add(session)
                connection.exec_prepared(b"BEGIN", None)
            if session in waiting:
                waiting.remove(session)
                while connection.get_result() is not None:
                    pass
            parameters = self._parameters[session].get(step.verb)
            if step.waits:
                waiting.add(session)
                connection.send_query_prepared(step.verb.encode(), parameters)
                pid = [str(connection.backend_pid).encode()]
                while self._control.exec_prepared(b"blockers", pid).get_value(0, 0) == b"{}":
                    pass
            else:
                connection.exec_prepared(step.verb.encode(), parameters)
        _check(self._control.exec_(_FINAL_ROWS_AND_RESET))

    def close(self) -> None:
        for connection in self._all:
            connection.finish()


def _check(result: pq.abc.PGresult) -> None:
    if result.status not in _GOOD:
        raise RuntimeError(result.get_error_message())
