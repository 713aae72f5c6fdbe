"""A schema in files, or somebody's database: where is asked, where is tried, and what is left alone."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from harness.doctor import sources
from harness.doctor.consult import Consultation, consult, upserting
from harness.doctor.rules.rule import RULES
from harness.doctor.statement import Statement
from harness.servers.server import Server, ServerError
from tests.doctor.conftest import address_of

PURCHASES = """
CREATE TYPE state AS ENUM ('open', 'paid');
CREATE DOMAIN money_cents AS int CHECK (VALUE >= 0);
CREATE TABLE purchases (id serial PRIMARY KEY, student int NOT NULL, course int NOT NULL, live boolean DEFAULT true,
    state state DEFAULT 'open', cents money_cents, doubled int GENERATED ALWAYS AS (student * 2) STORED);
CREATE UNIQUE INDEX one_live ON purchases (student, course) WHERE live;
CREATE SCHEMA app;
CREATE FUNCTION app.folded(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
CREATE TABLE app.people (email text NOT NULL);
CREATE UNIQUE INDEX people_email ON app.people (app.folded(email));
CREATE TABLE parts (id int NOT NULL, day date NOT NULL, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_july PARTITION OF parts FOR VALUES FROM ('2026-07-01') TO ('2026-08-01');
CREATE TABLE parent (a int UNIQUE);
CREATE TABLE child () INHERITS (parent)"""
STATEMENTS = """
INSERT INTO purchases (student, course) VALUES ($1, $2) ON CONFLICT (student, course) DO NOTHING;
INSERT INTO app.people VALUES ($1) ON CONFLICT (email) DO NOTHING;
INSERT INTO parts VALUES (1, '2026-07-02') ON CONFLICT (id) DO NOTHING;
INSERT INTO child VALUES (1) ON CONFLICT (a) DO NOTHING;
SELECT 1"""


def of(sql: str) -> list[Statement]:
    return list(sources.statements([], [sql], None))


def told(found: Consultation) -> list[tuple[str, ...]]:
    return [tuple(each.code for each in one.diagnoses if each.severity == "error") for one in found.examined]


def kinds(found: Consultation) -> list[list[str]]:
    return [[repair.kind for each in one.diagnoses[:1] for repair in each.repairs] for one in found.examined]


@pytest.fixture
def live(server: Server, database: str) -> Iterator[str]:
    """The address of a database with tables, as of somebody else's."""
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        connection.execute(PURCHASES.encode())
    yield address_of(server, database)


@pytest.mark.server
def test_a_schema_in_files_is_asked_and_tried_on(tmp_path: Path) -> None:
    first, second = PURCHASES.split("CREATE SCHEMA app;")
    (tmp_path / "V1.sql").write_text(first)
    (tmp_path / "V2.sql").write_text("CREATE SCHEMA app;" + second)
    found = consult(of(STATEMENTS), schema=[str(tmp_path)])
    assert told(found) == [("D103",), ("D105",), ("D112",), ("D113",)]
    assert kinds(found) == [["sql", "ddl"], ["sql", "ddl"], ["sql"], ["sql", "ddl"]]


def test_a_live_database_is_asked_and_a_copy_is_tried_on(live: str) -> None:
    found = consult(of(STATEMENTS), server=live)
    assert told(found) == [("D103",), ("D105",), ("D112",), ("D113",)]
    assert kinds(found) == [["sql", "ddl"], ["sql", "ddl"], ["sql"], ["sql", "ddl"]]
    assert all(each.untried is None for one in found.examined for each in one.diagnoses)


def test_a_live_database_is_left_as_it_was(live: str) -> None:
    with psycopg.connect(live, autocommit=True) as watcher:
        # A function that lies about being immutable is run by the planner, and may not write all the same.
        watcher.execute("CREATE TABLE log (n int)")
        watcher.execute(
            """
            CREATE FUNCTION logged() RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (1) RETURNING 1';
            CREATE FUNCTION lying(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
                AS 'BEGIN PERFORM logged(); RETURN $1; END'
            """
        )
        before = state_of(watcher)
        sql = "INSERT INTO parent VALUES (lying(1)) ON CONFLICT (a) DO NOTHING;" + STATEMENTS
        found = consult(of(sql), server=live)
        assert found.examined[0].unchecked == "cannot be checked: cannot execute INSERT in a read-only transaction"
        assert told(found)[1:] == [("D103",), ("D105",), ("D112",), ("D113",)]
        assert state_of(watcher) == before


def state_of(connection: psycopg.Connection) -> object:
    connection.execute("SELECT pg_stat_clear_snapshot()")
    return connection.execute(
        """
        SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM log), (SELECT count(*) FROM purchases),
            (SELECT last_value FROM purchases_id_seq), (SELECT is_called FROM purchases_id_seq),
            pg_current_xact_id_if_assigned()
        """
    ).fetchone()


def test_only_one_command_can_be_hidden_in_a_statement(live: str) -> None:
    sql = "INSERT INTO parent VALUES (1) ON CONFLICT (a) DO NOTHING; INSERT INTO parent VALUES (2)"
    smuggled = Statement("-e", 1, 1, sql, sql, 0)
    found = consult([smuggled], server=live)
    assert found.examined[0].diagnoses[0].sqlstate == "42601"
    with psycopg.connect(live) as watcher:
        assert watcher.execute("SELECT count(*) FROM parent").fetchone() == (0,)


def test_the_search_path_is_the_applications(live: str) -> None:
    sql = of("INSERT INTO people VALUES ('a') ON CONFLICT (app.folded(email)) DO NOTHING")
    lost = consult(sql, server=live)
    assert told(lost) == [("D114",)]
    assert [r.text for r in lost.examined[0].diagnoses[0].repairs] == [sql[0].text.replace("people", "app.people", 1)]
    found = consult(sql, server=live, search_path="app, public")
    assert found.examined[0].arbiters == ("people_email",)
    assert told(found) == [()]


def test_what_the_doctor_was_told_to_ignore_is_not_said(live: str) -> None:
    sql = "INSERT INTO child VALUES (1) ON CONFLICT (a) DO NOTHING"
    codes: list[frozenset[str]] = [frozenset(), frozenset({"D113"}), frozenset({"*"}), frozenset({"D101"})]
    statements = [Statement("-e", 1, 1, sql, sql, 0, ignored) for ignored in codes]
    assert told(consult(statements, server=live, repairs=False)) == [("D113",), (), (), ("D113",)]


def test_what_is_known_only_at_run_time_is_not_checked(live: str) -> None:
    sql = "INSERT INTO {table} VALUES (1) ON CONFLICT (a) DO NOTHING"
    dynamic = Statement("a.py", 1, 1, sql, sql.replace("{table}", "x"), 0, dynamic=("{table}",))
    (one,) = consult([dynamic], server=live).examined
    assert one.unchecked == "cannot be checked: {table} is known only when it runs"
    assert one.diagnoses == ()


@pytest.mark.parametrize(
    ("sql", "codes", "arbiters"),
    [
        # A temporary table that the application makes; parameters whose types only the driver knows.
        ("INSERT INTO parent SELECT a FROM staged ON CONFLICT (a) DO UPDATE SET a = 1", (), ("parent_a_key",)),
        ("INSERT INTO child SELECT a FROM staged ON CONFLICT (a) DO UPDATE SET a = 1", ("D113",), ()),
        ("INSERT INTO parent SELECT $1 + $2 ON CONFLICT (a) DO NOTHING", (), ("parent_a_key",)),
        ("INSERT INTO child SELECT $1 + $2 ON CONFLICT (a) DO NOTHING", ("D113",), ()),
        ("INSERT INTO purchases (student, course) SELECT $1 + $2, 1 ON CONFLICT (student, course) WHERE live = $3 "
         "DO NOTHING", ("D104",), ()),
        # Two in one statement: each has its own arbiter, or its own reason.
        ("WITH x AS (INSERT INTO parent VALUES (1) ON CONFLICT (a) DO NOTHING RETURNING a) "
         "INSERT INTO child SELECT a FROM x ON CONFLICT (a) DO NOTHING", ("D113",), ()),
        ("WITH x AS (INSERT INTO parent VALUES (1) ON CONFLICT (a) DO NOTHING RETURNING a) INSERT INTO app.people "
         "SELECT a::text FROM x ON CONFLICT (app.folded(email)) DO NOTHING", (), ("people_email", "parent_a_key")),
    ],
)  # fmt: skip
def test_the_clause_is_judged_without_what_stands_around_it(
    live: str, sql: str, codes: tuple[str, ...], arbiters: tuple[str, ...]
) -> None:
    found = consult(of(sql), server=live)
    assert told(found) == [codes]
    assert found.examined[0].arbiters == arbiters
    assert all(each.repairs for each in found.examined[0].diagnoses if each.severity == "error")


def test_the_server_may_know_of_more_statements_and_a_copy_is_lent(live: str) -> None:
    lent: list[object] = []

    def also(connection: psycopg.Connection) -> list[Statement]:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), connection.transaction():
            connection.execute("CREATE TABLE x ()")
        return of("INSERT INTO child VALUES (1) ON CONFLICT (a) DO NOTHING")

    def then(connection: psycopg.Connection) -> None:
        lent.append(connection.execute("SELECT to_regclass('child')::text, count(*) FROM child").fetchone())

    found = consult([], server=live, also=also, then=then)
    assert told(found) == [("D113",)]
    assert lent == [("child", 0)]


def test_a_table_that_is_nowhere_cannot_be_checked(live: str) -> None:
    (one,) = consult(of("INSERT INTO nowhere VALUES (1) ON CONFLICT (a) DO NOTHING"), server=live).examined
    assert one.diagnoses == ()
    assert one.unchecked == (
        'cannot be checked: relation "nowhere" does not exist: is the schema complete, and search_path right?'
    )


def test_a_role_that_may_only_read_is_told_so(live: str) -> None:
    with psycopg.connect(live, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS doctor_reader")
        owner.execute("CREATE ROLE doctor_reader LOGIN PASSWORD 'x'; GRANT SELECT ON parent, child TO doctor_reader")
        try:
            user = psycopg.conninfo.conninfo_to_dict(live)["user"]
            address = live.replace(f"//{user}", "//doctor_reader", 1)
            sql = "INSERT INTO {} VALUES (1) ON CONFLICT (a) DO NOTHING"
            sound, broken = consult(of(f"{sql.format('parent')};{sql.format('child')}"), server=address).examined
        finally:
            owner.execute("DROP OWNED BY doctor_reader; DROP ROLE doctor_reader")
    assert sound.unchecked is not None
    assert sound.unchecked.startswith("cannot be checked: permission denied for table parent; planning an INSERT takes")
    assert [each.code for each in broken.diagnoses] == ["D113"]


def test_what_else_the_server_refuses_is_said_in_its_words(live: str) -> None:
    (one,) = consult(of("INSERT INTO parent (b) VALUES (1) ON CONFLICT (a) DO NOTHING"), server=live).examined
    assert [(each.code, each.sqlstate) for each in one.diagnoses] == [("D199", "42703")]
    assert one.diagnoses[0].message == 'the server refuses it: column "b" of relation "parent" does not exist'


@pytest.mark.server
def test_a_schema_that_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "schema.sql"
    broken.write_text("CREATE TABLE t (a int); CREATE INDEX ON nowhere (a)")
    with pytest.raises(sources.SourceError, match=r'schema\.sql:.* relation "nowhere" does not exist'):
        consult(of(STATEMENTS), schema=[str(broken)])


def test_without_a_schema_and_without_a_database_there_is_nothing_to_ask() -> None:
    with pytest.raises(ServerError, match="expected --schema FILE"):
        consult(of(STATEMENTS), server="embedded")


def test_a_wrong_password_is_not_repeated(server: Server) -> None:
    with pytest.raises(ServerError) as caught:
        consult(of(STATEMENTS), server="postgresql://nobody:hunter2@127.0.0.1:1/x?connect_timeout=1")
    assert "hunter2" not in str(caught.value)


def test_only_upserts_are_worth_a_server() -> None:
    assert not upserting(of("SELECT 1; INSERT INTO t VALUES (1); UPDATE t SET a = 1"))
    assert upserting(of("SELECT 1; INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING"))


def test_every_rule_explains_itself() -> None:
    assert [rule.code for rule in RULES.values() if len(rule.text) < 150] == []
