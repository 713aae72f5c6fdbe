"""The statements of a strategy as its sessions sent them, and the generic plans that the server has for them."""

from collections.abc import Sequence
from typing import Any

import psycopg

from harness.model.cell import Isolation
from harness.model.verdict import Plan
from harness.sessions.arena import Arena
from harness.sessions.connection import GatedConnection
from harness.sessions.statement import Kind, Statement


class Statements:
    """An Observer of the hub that keeps every statement once, with the parameters it first had."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, tuple[type, ...]], Statement] = {}

    one_by_one = False

    def settled(self) -> None: ...
    def step_begins(self, session: int) -> None: ...

    def sent(self, session: int, statement: Statement, result: str) -> None:
        if statement.kind is Kind.STATEMENT:
            # The driver tells the server other types for other Python types, and the plan may follow them.
            self._seen.setdefault((statement.text, tuple(map(type, _values(statement.parameters)))), statement)

    def waiting(self, session: int, statement: Statement, why: str) -> None:
        self.sent(session, statement, why)

    def completed(self, session: int, statement: Statement, result: str) -> None:
        self.sent(session, statement, result)

    def plans(self, arena: Arena) -> tuple[Plan, ...]:
        """In the order of their texts: which session sent what first is no part of it.

        Statements inside functions are the function's; a function is a part of the schema.
        """
        arena.begin(Isolation.READ_COMMITTED, aged=True)
        connection = arena.lend(None)
        found = {
            Plan(statement.text, _plan(connection, statement, number))
            for number, statement in enumerate(self._seen.values())
        }
        connection.close()  # its prepared statements are not the next trial's
        return tuple(sorted(found, key=lambda plan: (plan.statement, plan.plan)))


def _values(parameters: Any) -> Sequence[Any]:
    if isinstance(parameters, dict):
        return [parameters[name] for name in sorted(parameters, key=str)]
    return parameters if isinstance(parameters, list | tuple) else []


def _plan(connection: GatedConnection, statement: Statement, number: int) -> str:
    """EXPLAIN without costs and without values; on this connection every plan is generic.

    EXPLAIN itself plans with the parameters at hand, EXPLAIN EXECUTE as the plan cache does. So the driver sends the
    first, from which the server knows the types of the parameters, and they are what the second is prepared with.
    """
    mark = f"EXPLAIN /* harness {number} */ "
    try:
        connection.execute(mark + statement.text, statement.parameters, prepare=True)
        query = "SELECT statement, parameter_types::text[] FROM pg_prepared_statements WHERE starts_with(statement, %s)"
        prepared = connection.execute(query, [mark]).fetchone()
        if prepared is None:
            return "[cannot be prepared]"
        text, types = prepared
        name = f"harness_{number}"
        declared = f" ({', '.join(types)})" if types else ""
        arguments = f" ({', '.join(['NULL'] * len(types))})" if types else ""
        # By libpq itself: the driver would take a % of the text for a parameter.
        _send(connection, f"PREPARE {name}{declared} AS {text.removeprefix(mark)}")
        return "\n".join(_send(connection, f"EXPLAIN (COSTS OFF) EXECUTE {name}{arguments}"))
    except psycopg.Error as error:
        return f"[no plan: {error.sqlstate or type(error).__name__}]"


def _send(connection: GatedConnection, statement: str) -> list[str]:
    result = connection.pgconn.exec_(statement.encode())
    if result.error_message:
        raise psycopg.errors.error_from_result(result)
    return [(result.get_value(row, 0) or b"").decode() for row in range(result.ntuples)]
