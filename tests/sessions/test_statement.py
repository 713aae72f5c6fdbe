"""What a session is about to send is known before it is sent, from names and frames of psycopg's own generators.

A release of psycopg that renames them fails here.
"""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from harness.servers.server import Server
from harness.sessions.statement import Kind, Statement, describe, with_parameters

STATEMENT, LOCAL, COMMIT, ROLLBACK = Kind.STATEMENT, Kind.LOCAL, Kind.COMMIT, Kind.ROLLBACK


def told(text: object) -> Statement:
    """As if `text` were about to be executed."""

    def execute(query: object, params: object = None) -> Iterator[None]:
        yield

    return describe(execute(text))


def check(kind: Kind, *texts: str) -> None:
    assert {text: told(text).kind for text in texts} == dict.fromkeys(texts, kind)


def test_what_others_can_see_is_a_statement() -> None:
    check(
        STATEMENT,
        "SELECT 1",
        "INSERT INTO t VALUES (1)",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "LOCK TABLE t",
        "SELECT pg_advisory_unlock(1)",
        "DO $$ BEGIN END $$",
        "CALL p()",
        "FETCH 1 FROM c",
        "PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'x'",
        "ROLLBACK PREPARED 'x'",
        "CREATE TABLE begin (x int)",
        "",
    )


def test_what_nobody_else_can_see_goes_with_the_next_statement() -> None:
    check(
        LOCAL,
        "BEGIN",
        "begin isolation level serializable",
        "START TRANSACTION READ WRITE",
        "SAVEPOINT a",
        "RELEASE SAVEPOINT a",
        "SET search_path = a",
        "SET LOCAL lock_timeout = '1s'",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "RESET ALL",
        "SHOW search_path",
        "BEGIN;",
        "  BEGIN ; ",
    )


def test_comments_do_not_hide_a_command() -> None:
    check(LOCAL, "-- first\nBEGIN", "/* a; b */ BEGIN", "/* SELECT */ SET x.y = 1 -- ;", "SET x.y = ';'")
    check(COMMIT, "/* done */ COMMIT -- now")
    check(STATEMENT, "-- BEGIN\nSELECT 1", "SELECT 'COMMIT'")


def test_commits_and_rollbacks_are_told_apart() -> None:
    check(COMMIT, "COMMIT", "commit work", "END", "COMMIT AND CHAIN", "END TRANSACTION;")
    check(ROLLBACK, "ROLLBACK", "ABORT", "ROLLBACK TO SAVEPOINT a", "rollback to a")


def test_several_statements_in_one_message_are_one_statement() -> None:
    check(STATEMENT, "BEGIN; INSERT INTO t VALUES (1)", "SET x.y = 1; SELECT 1", "SELECT 1; COMMIT", "COMMIT; SELECT 1")


def test_a_set_that_reaches_others_is_a_statement() -> None:
    # It imports a snapshot; it runs deferred constraints, which may wait or fail.
    check(STATEMENT, "SET TRANSACTION SNAPSHOT '1'", "SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.parametrize(
    "text",
    [
        "SET search_path = a",
        "SET SESSION statement_timeout = 0",
        "RESET ALL",
        "SELECT set_config('a.b', '1', false)",
        "DO $$ BEGIN PERFORM set_config('a.b', '1', false); END $$",
        "CREATE TEMP TABLE x (y int)",
        "CREATE TEMPORARY SEQUENCE x",
        "LISTEN x",
        "PREPARE p AS SELECT 1",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock_shared(1, 2)",
        "BEGIN; SET search_path = a; COMMIT",
        "/* */ SET search_path = a",
    ],
)
def test_what_stays_in_the_session_leaves_traces(text: str) -> None:
    assert told(text).leaves_traces


@pytest.mark.parametrize(
    "text",
    [
        "SET LOCAL search_path = a",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT 'SET x'",
        "INSERT INTO t VALUES (1)",
        "SELECT offset_temperature FROM t",
    ],
)
def test_what_ends_with_the_transaction_leaves_none(text: str) -> None:
    assert not told(text).leaves_traces


def test_a_query_is_shown_whatever_it_is_made_of() -> None:
    composed = sql.SQL("INSERT INTO {} VALUES (%s)").format(sql.Identifier("T"))
    assert told(composed) == Statement(STATEMENT, 'INSERT INTO "T" VALUES (%s)', writes_only=True)
    assert told(b"BEGIN") == Statement(LOCAL, "BEGIN")
    assert told(object()).kind is STATEMENT
    assert describe(None).kind is STATEMENT


# ---- what psycopg itself sends --------------------------------------------------------------------------------------


class Recording(psycopg.Connection[tuple[Any, ...]]):
    """Every command that passes `wait`, described before it runs."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        self.__dict__.setdefault("log", []).append(with_parameters(describe(gen), gen))
        return super().wait(gen, *args, **kwargs)


Use = Callable[[Recording], object]


@pytest.fixture
def sent(server: Server) -> Callable[..., list[Statement]]:
    def sent(use: Use, *, autocommit: bool = True) -> list[Statement]:
        with Recording.connect(server.dsn(), autocommit=autocommit) as connection:
            log = connection.__dict__["log"] = []
            use(connection)
            return list(log)

    return sent


def kinds(log: list[Statement]) -> list[tuple[Kind, str]]:
    return [(statement.kind, statement.text) for statement in log]


def test_parameters_are_known_before_the_statement_is_sent(sent: Callable[..., list[Statement]]) -> None:
    (positional,) = sent(lambda c: c.execute("SELECT %s::int", (1,)))
    (named,) = sent(lambda c: c.execute("SELECT %(a)s::int", {"a": 1}))
    assert str(positional) == "SELECT %s::int  -- 1"
    assert str(named) == "SELECT %(a)s::int  -- a=1"
    (on_client,) = sent(lambda c: psycopg.ClientCursor(c).execute("SELECT %s", (1,)))
    assert (on_client.kind, on_client.parameters) == (STATEMENT, (1,))


def nested(connection: Recording, *, fail: bool = False) -> None:
    with connection.transaction():
        connection.execute("SELECT 1")
        with connection.transaction():
            connection.execute("SELECT 2")
            if fail:
                raise psycopg.Rollback


def test_the_commands_of_transaction_blocks_are_known(sent: Callable[..., list[Statement]]) -> None:
    begin, savepoint = (LOCAL, "BEGIN"), (LOCAL, "SAVEPOINT")
    one, two, commit = (STATEMENT, "SELECT 1"), (STATEMENT, "SELECT 2"), (COMMIT, "COMMIT")
    assert kinds(sent(nested)) == [begin, one, savepoint, two, (LOCAL, "RELEASE SAVEPOINT"), commit]
    back = (ROLLBACK, "ROLLBACK TO SAVEPOINT")
    assert kinds(sent(lambda c: nested(c, fail=True))) == [begin, one, savepoint, two, back, commit]


def test_a_block_that_raises_or_is_told_to_rolls_back(sent: Callable[..., list[Statement]]) -> None:
    def raises(connection: Recording) -> None:
        with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
            connection.execute("SELECT 1 / 0")

    def is_told_to(connection: Recording) -> None:
        with connection.transaction(force_rollback=True):
            connection.execute("SELECT 1")

    assert kinds(sent(raises))[-1] == kinds(sent(is_told_to))[-1] == (ROLLBACK, "ROLLBACK")


def test_commit_and_rollback_of_the_connection_are_known(sent: Callable[..., list[Statement]]) -> None:
    def use(connection: Recording) -> None:
        connection.execute("SELECT 1")
        connection.commit()
        connection.execute("SELECT 1")
        connection.rollback()

    assert [statement.kind for statement in sent(use, autocommit=False)] == [STATEMENT, COMMIT, STATEMENT, ROLLBACK]


def test_what_has_no_text_of_its_own_is_still_a_statement(sent: Callable[..., list[Statement]]) -> None:
    def use(connection: Recording) -> None:
        connection.execute("CREATE TEMP TABLE x (y int)")
        with connection.cursor().copy("COPY x FROM STDIN") as copy:
            copy.write_row((1,))
        connection.cursor().executemany("INSERT INTO x VALUES (%s)", [(1,), (2,)])
        with connection.pipeline():
            connection.execute("SELECT 1")
        with connection.transaction(), connection.cursor("named") as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()

    log = sent(use)
    assert "COPY x FROM STDIN" in [statement.text for statement in log]
    assert "INSERT INTO x VALUES (%s)" in [statement.text for statement in log]
