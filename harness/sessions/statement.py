"""What a session is about to send: read off the psycopg generator that waits to be driven."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from types import GeneratorType
from typing import Any

from psycopg import Transaction
from psycopg.pq import TransactionStatus


class Kind(Enum):
    """How a command concerns the other sessions."""

    STATEMENT = "statement"  # a schedulable step
    LOCAL = "local"  # nobody else can see it: BEGIN, SAVEPOINT, RELEASE, SET. Goes with the statement that follows
    COMMIT = "commit"
    ROLLBACK = "rollback"  # local too when the transaction has already failed: its locks went with the error


@dataclass(frozen=True, slots=True)
class Statement:
    kind: Kind
    text: str
    parameters: Any = None
    writes_only: bool = False  # one INSERT, UPDATE, DELETE or MERGE: not a function that may run several
    upserts: bool = False  # has an ON CONFLICT
    leaves_traces: bool = False  # in the session: SET, temp tables, session locks. It needs a DISCARD ALL afterwards

    def __str__(self) -> str:
        return self.text if self.parameters is None else f"{self.text}  -- {_shown(self.parameters)}"


def _shown(parameters: Any) -> str:
    if isinstance(parameters, dict):
        return ", ".join(f"{name}={value!r}" for name, value in parameters.items())
    return ", ".join(map(repr, parameters))


# A transaction's own SET is invisible to others and takes no snapshot; SET TRANSACTION SNAPSHOT imports one, and SET
# CONSTRAINTS may run deferred checks, which wait and fail.
_LOCAL = re.compile(
    r"\s*(BEGIN|START\s+TRANSACTION|SAVEPOINT|RELEASE|SET(?!\s+(TRANSACTION\s+SNAPSHOT|CONSTRAINTS))|RESET|SHOW)\b",
    re.I,
)
_COMMIT = re.compile(r"\s*(COMMIT|END)\b(?!\s+PREPARED)", re.I)
_ROLLBACK = re.compile(r"\s*(ROLLBACK|ABORT)\b(?!\s+PREPARED)", re.I)
_TRACES = re.compile(
    r"(?:^|;)\s*(SET(?!\s+(LOCAL|TRANSACTION|CONSTRAINTS))|RESET|LISTEN|PREPARE(?!\s+TRANSACTION)|DISCARD|DO|CALL)\b"
    r"|\b(set_config|TEMP|TEMPORARY|WITH\s+HOLD|pg_(try_)?advisory_lock(_shared)?)\b",
    re.I,
)
_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|MERGE|WITH)\b", re.I)
_UPSERTS = re.compile(r"\bON\s+CONFLICT\b", re.I)
_CODE = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.S)


@lru_cache(maxsize=4096)
def _of_text(text: str) -> Statement:
    code = _CODE.sub(lambda found: "''" if found[0][0] == "'" else " ", text)
    alone = ";" not in code.rstrip().rstrip(";")
    traces = bool(_TRACES.search(code))
    if alone and _LOCAL.match(code):
        return Statement(Kind.LOCAL, text, leaves_traces=traces)
    if alone and _COMMIT.match(code):
        return Statement(Kind.COMMIT, text)
    if alone and _ROLLBACK.match(code):
        return Statement(Kind.ROLLBACK, text)
    writes_only = alone and bool(_WRITES.match(code))
    return Statement(Kind.STATEMENT, text, None, writes_only, bool(_UPSERTS.search(code)), traces)


_BEGIN = Statement(Kind.LOCAL, "BEGIN")
_SAVEPOINT = Statement(Kind.LOCAL, "SAVEPOINT")
_COMMITS = Statement(Kind.COMMIT, "COMMIT")
_RELEASE = Statement(Kind.LOCAL, "RELEASE SAVEPOINT")
_ROLLS_BACK = Statement(Kind.ROLLBACK, "ROLLBACK")
_ROLLS_BACK_TO = Statement(Kind.ROLLBACK, "ROLLBACK TO SAVEPOINT")
_OTHER = Statement(Kind.STATEMENT, "(a command of the driver)")
_PIPELINE = Statement(Kind.LOCAL, "(a pipeline begins)")
_PIPELINE_ENDS = Statement(Kind.STATEMENT, "(the pipeline ends)")


def _entering(frame: dict[str, Any]) -> Statement:
    begun = frame["self"]
    if not isinstance(begun, Transaction):  # executemany begins a pipeline of its own
        return _PIPELINE
    return _BEGIN if begun._conn.pgconn.transaction_status == TransactionStatus.IDLE else _SAVEPOINT


def _exiting(frame: dict[str, Any]) -> Statement:
    transaction = frame["self"]
    if not isinstance(transaction, Transaction):
        return _PIPELINE_ENDS
    rolls_back = bool(frame.get("exc_val")) or transaction.force_rollback
    if transaction._outer_transaction:
        return _ROLLS_BACK if rolls_back else _COMMITS
    return _ROLLS_BACK_TO if rolls_back else _RELEASE


def _query(frame: dict[str, Any]) -> Statement:
    query = frame.get("query", frame.get("statement", ""))
    if isinstance(query, bytes):
        text = query.decode(errors="replace")
    elif isinstance(query, str):
        text = query
    else:  # psycopg.sql, or a template string
        try:
            text = query.as_string(None)
        except Exception:  # labels are for people: a query we cannot show is still run
            text = repr(query)
    return _of_text(text)


_BY_NAME: dict[str, Callable[[dict[str, Any]], Statement]] = {
    "_enter_gen": _entering,
    "_exit_gen": _exiting,
    "_commit_gen": lambda frame: _COMMITS,
    "_rollback_gen": lambda frame: _ROLLS_BACK,
}


def describe(generator: Any) -> Statement:
    """The command behind a generator that `Connection.wait` was given, known before it is sent.

    Reads names of psycopg's generators (3.2 and 3.3) and their unstarted frames; tests/sessions/test_statement.py
    fails when a release renames them.
    """
    if not isinstance(generator, GeneratorType):
        return _OTHER
    frame = generator.gi_frame
    if frame is None:
        return _OTHER
    special: Callable[[dict[str, Any]], Statement] | None = _BY_NAME.get(generator.__name__)
    return special(frame.f_locals) if special is not None else _query(frame.f_locals)


def with_parameters(statement: Statement, generator: Any) -> Statement:
    """The same with what it is sent with: for people only, so that trials nobody watches do without."""
    parameters = parameters_of(generator) if statement.kind is Kind.STATEMENT else None
    return statement if parameters is None else replace(statement, parameters=parameters)


def parameters_of(generator: Any) -> Any:
    frame = getattr(generator, "gi_frame", None)
    return None if frame is None else frame.f_locals.get("params", frame.f_locals.get("params_seq"))


def cursor_of(generator: Any) -> Any:
    """The cursor that the command came from, to read its result off afterwards; None for a transaction's commands."""
    frame = getattr(generator, "gi_frame", None)
    return frame.f_locals.get("self") if frame is not None else None
