"""What the server would do: EXPLAIN of a statement, generic or with values. Nothing is ever executed.

All of it happens in one transaction, READ ONLY unless the database is a scratch one, with a savepoint that is gone back
to before every statement: an error costs only its statement, and no lock outlives its question. EXPLAIN of an INSERT is
allowed in a READ ONLY transaction (ExecutorStart checks that only where it will execute), but not on a standby, where
even planning would take a lock that a standby cannot.

42P10 is raised by the planner (infer_arbiter_indexes, optimizer/util/plancat.c), so PREPARE alone does not show it.
Statements with parameters are planned generically, as the server does for a prepared statement from its sixth execution
on, if it is no dearer (plan_cache_mode, chapter 20.7): what holds for the generic plan holds for any value.
"""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.generators import fetch_many, pipeline_communicate

BATCH = 100
_AGO = b"ROLLBACK TO SAVEPOINT harness_doctor"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server's error: to a statement, or to a repair."""

    sqlstate: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    arbiters: tuple[str, ...] = ()  # of all its INSERTs
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """How would this statement be planned: for any values, or for these (SQL literals, one for each parameter)?"""

    sql: str
    parameters: int
    values: tuple[str, ...] | None = None


def begin(connection: psycopg.Connection[Any], *, read_only: bool, search_path: str | None = None) -> None:
    """To be ended by a ROLLBACK. The connection must be in autocommit mode."""
    # Somebody else's database: rather no answer than a queue behind our question.
    patience = "; SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '30s'" if read_only else ""
    access = "READ ONLY" if read_only else "READ WRITE"
    connection.execute(f"BEGIN {access}; SET LOCAL plan_cache_mode = force_generic_plan{patience}".encode())
    if search_path is not None:
        connection.execute("SELECT set_config('search_path', %s, true)", (search_path,))
    connection.execute("SAVEPOINT harness_doctor")


def plans(connection: psycopg.Connection[Any], questions: Sequence[Question]) -> list[Plan]:
    """One for each question, in order. Raises psycopg.Error only for what is no answer: a lost connection."""
    found: list[Plan] = []
    for start in range(0, len(questions), BATCH):
        found += _batch(connection, questions[start : start + BATCH])
    return found


def _batch(connection: psycopg.Connection[Any], questions: Sequence[Question]) -> list[Plan]:
    commands = [_commands(number, question) for number, question in enumerate(questions)]
    answers = _pipelined(connection, commands)
    prepared = [
        f"DEALLOCATE harness_doctor_{number}".encode()
        for number, (question, results) in enumerate(zip(questions, answers, strict=True))
        if question.parameters and _succeeded(results[1])
    ]
    _pipelined(connection, [[_AGO, *prepared]])
    return [_plan(results) for results in answers]


def _commands(number: int, question: Question) -> list[bytes]:
    # A text of several commands is refused by the extended protocol, so nothing can hide behind a semicolon.
    if not question.parameters:
        return [_AGO, b"EXPLAIN (VERBOSE, FORMAT JSON, COSTS FALSE) " + question.sql.encode()]
    name = f"harness_doctor_{number}"
    values = ", ".join(question.values or ("NULL",) * question.parameters)
    return [
        _AGO,
        f"PREPARE {name} AS {question.sql}".encode(),
        *([b"SET LOCAL plan_cache_mode = force_custom_plan"] if question.values is not None else []),
        f"EXPLAIN (VERBOSE, FORMAT JSON, COSTS FALSE) EXECUTE {name} ({values})".encode(),
    ]


def _pipelined(connection: psycopg.Connection[Any], groups: Sequence[Sequence[bytes]]) -> list[list[pq.abc.PGresult]]:
    """The results of each group; after an error the rest of its group is skipped by the server."""
    pgconn = connection.pgconn
    sent: deque[Any] = deque()
    for group in groups:
        sent.extend([lambda command=command: pgconn.send_query_params(command, None) for command in group])
        sent.append(pgconn.pipeline_sync)
    pgconn.enter_pipeline_mode()
    try:
        results = connection.wait(_all_answers(pgconn, sent))
    finally:
        if not connection.closed and pgconn.status == pq.ConnStatus.OK:
            pgconn.exit_pipeline_mode()
    told = iter(results)
    grouped = []
    for group in groups:
        grouped.append([next(told)[-1] for _ in group])
        next(told)  # that of the sync
    return grouped


def _all_answers(pgconn: pq.abc.PGconn, sent: deque[Any]) -> PQGen[list[list[pq.abc.PGresult]]]:
    """Sends all, reading meanwhile so that neither side fills its buffers; then waits for what is still to come."""
    expected = len(sent)
    results: list[list[pq.abc.PGresult]] = yield from pipeline_communicate(pgconn, sent)
    while len(results) < expected:
        results.append((yield from fetch_many(pgconn)))
    return results


def _succeeded(result: pq.abc.PGresult) -> bool:
    return result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)


def _plan(results: Sequence[pq.abc.PGresult]) -> Plan:
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            return Plan(refusal=refusal(result))
    shown = results[-1].get_value(0, 0)
    assert shown is not None
    return Plan(tuple(arbiters_in(json.loads(shown))))


def refusal(result: pq.abc.PGresult) -> Refusal:
    sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
    message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b""
    return Refusal(sqlstate.decode(), message.decode("utf-8", "replace"))


def arbiters_in(shown: Any) -> Iterator[str]:
    """The "Conflict Arbiter Indexes" of a plan in JSON, wherever they stand in it."""
    if isinstance(shown, dict):
        yield from shown.get("Conflict Arbiter Indexes", ())
        shown = [*shown.get("Plans", ()), shown.get("Plan")]
    for node in shown or ():
        yield from arbiters_in(node)
