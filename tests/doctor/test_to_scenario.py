"""A scenario written from a statement is explored at once: the correct upsert comes out safe, the check does not."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.campaign.campaign import Options, explore, select
from harness.doctor.parts import insert_parts
from harness.doctor.sources import functions
from harness.doctor.statement import Statement
from harness.doctor.to_scenario import TranslationError, candidates, scenario, write
from harness.model.cell import Isolation
from harness.scenario.check import check
from harness.scenario.discovery import load
from harness.servers.server import Server

SCHEMA = """
    CREATE TYPE plan AS ENUM ('basic', 'pro');
    CREATE TABLE users (
        id          serial PRIMARY KEY,
        email       text NOT NULL,
        name        text NOT NULL CHECK (name <> ''),
        plan        plan NOT NULL DEFAULT 'basic',
        logins      int NOT NULL DEFAULT 1,
        updated_at  timestamptz NOT NULL DEFAULT now()
    );
    CREATE UNIQUE INDEX users_email ON users (lower(email));
    CREATE SCHEMA cmis;
    CREATE TABLE cmis.connections (
        id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        org_id      uuid NOT NULL,
        "accountId" varchar(40) NOT NULL,
        token       jsonb,
        deleted_at  timestamptz
    );
    CREATE UNIQUE INDEX ON cmis.connections (org_id, "accountId") WHERE deleted_at IS NULL;
    CREATE TABLE codes (code char(2) PRIMARY KEY, used_by int, at date);
    CREATE TABLE purchases (
        id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        student_id  int NOT NULL,
        course_id   int NOT NULL,
        is_active   boolean NOT NULL DEFAULT true,
        amount      int NOT NULL
    );
    CREATE UNIQUE INDEX active ON purchases (student_id, course_id) WHERE is_active;
    CREATE TABLE installations (id serial PRIMARY KEY, location_id text, agency_id text, token text, at timestamptz);
    CREATE UNIQUE INDEX ON installations (location_id) WHERE location_id IS NOT NULL;
    CREATE TABLE accounts (
        id varchar PRIMARY KEY, number bigint UNIQUE, user_id uuid, waba text, token text, UNIQUE (user_id, waba)
    );
    CREATE TABLE slugs (
        id    int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        title text NOT NULL,
        slug  text GENERATED ALWAYS AS (replace(lower(title), ' ', '-')) STORED UNIQUE,
        n     int
    );
    CREATE TABLE twice (a int UNIQUE, b int UNIQUE, n int);
    CREATE TABLE parts (a int, b int, UNIQUE (a, b)) PARTITION BY LIST (a);
    CREATE VIEW seen AS SELECT * FROM codes;
"""
UPSERTS = {
    "counter": """
        INSERT INTO users (email, name)
        VALUES (%s, %s)
        ON CONFLICT (lower(email)) DO UPDATE SET name = EXCLUDED.name, logins = users.logins + 1""",
    "positional_twice": """
        INSERT INTO users (email, name, plan) VALUES (?, ?, ?)
        ON CONFLICT (lower(email)) DO UPDATE SET name = ?, plan = EXCLUDED.plan""",
    "partial_returning": """
        INSERT INTO cmis.connections (org_id, "accountId", token)
        VALUES (:orgId, :accountId, :token)
        ON CONFLICT (org_id, "accountId") WHERE deleted_at IS NULL DO UPDATE SET token = EXCLUDED.token
        RETURNING id""",
    "predicate_of_the_new_row": """
        INSERT INTO purchases (student_id, course_id, amount, is_active) VALUES ($1, $2, $3, $4)
        ON CONFLICT (student_id, course_id) WHERE is_active DO UPDATE SET amount = EXCLUDED.amount""",
    "another_key_of_the_caller": """
        INSERT INTO accounts (id, number, user_id, waba, token) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (user_id, waba) DO UPDATE SET token = EXCLUDED.token""",
    "generated_key": "INSERT INTO slugs (title, n) VALUES ($1, $2) ON CONFLICT (slug) DO UPDATE SET n = excluded.n",
    "overriding": """
        INSERT INTO slugs (id, title) OVERRIDING SYSTEM VALUE VALUES ($1, $2)
        ON CONFLICT (id) DO UPDATE SET title = EXCLUDED.title""",
    "only_the_key_again": """
        INSERT INTO codes (code) VALUES (:code) ON CONFLICT (code) DO UPDATE SET code = EXCLUDED.code""",
    "nothing": "INSERT INTO codes (code, used_by, at) VALUES ($1, $2, $3) ON CONFLICT (code) DO NOTHING",
    "nothing_without_target": "INSERT INTO codes VALUES (%(code)s, %(user)s, '2024-01-01') ON CONFLICT DO NOTHING",
    "predicate_and_case": """
        INSERT INTO installations (location_id, token, at) VALUES ($1, $2, now())
        ON CONFLICT (location_id) WHERE location_id IS NOT NULL
        DO UPDATE SET token = CASE WHEN EXCLUDED.token IS NULL THEN installations.token ELSE EXCLUDED.token END""",
    "long": f"""
        INSERT INTO users (email, name, plan, logins, updated_at)
        VALUES ($1, $2, $3, $4, {" + ".join(["now()"] + ["interval '1 hour'"] * 4)})
        ON CONFLICT (lower(email)) DO UPDATE SET name = EXCLUDED.name, plan = EXCLUDED.plan, logins = EXCLUDED.logins,
        updated_at = EXCLUDED.updated_at""",
    "where": """
        INSERT INTO codes AS c (code, used_by) SELECT @code, @who
        ON CONFLICT ON CONSTRAINT codes_pkey DO UPDATE SET (used_by, at) = (EXCLUDED.used_by, EXCLUDED.at)
        WHERE c.used_by IS DISTINCT FROM 7 AND '100 %' <> ''""",
}
CHECKS = {
    "select_insert": (
        "SELECT 1 FROM purchases WHERE student_id = %s AND course_id = %s AND is_active = true",
        "INSERT INTO purchases (student_id, course_id, amount) VALUES (%s, %s, %s)",
    ),
    "select_update_insert": (
        "SELECT * FROM users WHERE email = %s",
        "UPDATE users SET name = %s WHERE id = %s",
        "INSERT INTO users (email, name) VALUES (%s, %s) RETURNING id",
    ),
    "exists_insert": (
        "SELECT EXISTS (SELECT 1 FROM purchases WHERE student_id = $1 AND course_id = $2 AND is_active)",
        "INSERT INTO purchases (student_id, course_id, amount) VALUES ($1, $2, $3)",
    ),
    "count_insert": (
        "SELECT count(*) FROM codes WHERE code = ?",
        "INSERT INTO codes (code) VALUES (?)",
    ),
    "delete_insert": (
        "DELETE FROM codes WHERE $1 = code",
        "INSERT INTO codes (code, used_by) VALUES ($1, $2)",
    ),
    "update_insert": (
        "UPDATE codes SET used_by = :user WHERE code = :code",
        "INSERT INTO codes (code, used_by) VALUES (:code, :user)",
    ),
}


@pytest.fixture
def schema(server: Server, database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        connection.execute(SCHEMA)
        yield connection


def read(*sqls: str) -> tuple[Statement, ...]:
    """As they are found in a function of a program."""
    sent = "\n".join(f'    c.execute("""{sql}""")' for sql in sqls)
    (found,) = functions_of(f"def store(c):\n{sent}\n")
    return found


def functions_of(program: str) -> list[tuple[Statement, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "app.py"
        path.write_text(program)
        return list(functions([str(path)], [], None))


def verdicts(path: Path, server: Server, isolation: Isolation = Isolation.READ_COMMITTED) -> dict[str, str]:
    """`strategy[layout,state]` and what exploring it says: the verdict, and the kind of a finding."""
    options = Options(workers=0, isolations=(isolation,))
    report = explore(select([str(path)], options, [server.id]), [server], options)
    return {
        f"{r.cell.strategy}[{r.cell.layout},{r.cell.state}]": " ".join(
            [r.verdict.value, *sorted(finding.violation.name for finding in r.findings)]
        )
        for r in report.cells
    }


def is_formatted(path: Path) -> bool:
    for verb in (("format", "--check"), ("check", "--select", "E,F,I,UP,RUF")):
        command = [sys.executable, "-m", "ruff", *verb, "--line-length", "120", "--quiet", str(path)]
        if subprocess.run(command, check=False).returncode:
            return False
    return True


@pytest.mark.parametrize("name", UPSERTS)
def test_a_correct_upsert_comes_out_safe(
    name: str, schema: psycopg.Connection[Any], server: Server, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.py"
    write(read(UPSERTS[name]), schema, path)
    (loaded,) = load(path)
    check(loaded)
    found = verdicts(path, server)
    assert {cell: verdict for cell, verdict in found.items() if "[schema" in cell} == dict.fromkeys(
        [cell for cell in found if "[schema" in cell], "safe"
    )
    without = "wrong-alone" if name == "nothing_without_target" else "42P10"
    without = "42704" if "ON CONSTRAINT" in UPSERTS[name] else without
    assert {verdict for cell, verdict in found.items() if "[none" in cell} == {f"unsafe {without}"}
    assert is_formatted(path)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_before_an_insert_comes_out_unsafe(
    name: str, schema: psycopg.Connection[Any], server: Server, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.py"
    write(read(*CHECKS[name]), schema, path)
    (loaded,) = load(path)
    check(loaded)
    found = verdicts(path, server)
    ways = [cell for cell in found if "_then_insert" in cell]
    assert {found[cell] for cell in ways if "[schema,new]" in cell} == {"unsafe 23505"}
    assert {found[cell] for cell in ways if "[none,new]" in cell} == {"unsafe duplicate"}
    # DELETE, INSERT is no better when the row is there: the second DELETE does not see the first one's new row.
    there = {found[cell] for cell in ways if "[none,there]" in cell}
    assert there <= ({"unsafe duplicate"} if name == "delete_insert" else {"safe"})
    # Where an index could arbitrate, the file also has the statement that is right.
    instead = {cell: verdict for cell, verdict in found.items() if cell.startswith("on_conflict[schema")}
    assert set(instead.values()) == (set() if name in ("select_update_insert", "delete_insert") else {"safe"})
    assert is_formatted(path)


def test_a_function_of_the_server_is_translated_too(
    schema: psycopg.Connection[Any], server: Server, tmp_path: Path
) -> None:
    (tmp_path / "f.sql").write_text("""
        CREATE FUNCTION connect(p_location text, p_token text) RETURNS int LANGUAGE plpgsql AS $$
        DECLARE
            v_id int;
        BEGIN
            SELECT id INTO v_id FROM installations WHERE location_id = p_location;
            IF NOT FOUND THEN
                INSERT INTO installations (location_id, token) VALUES (p_location, p_token) RETURNING id INTO v_id;
            END IF;
            RETURN v_id;
        END $$;
    """)
    (found,) = functions([str(tmp_path / "f.sql")], [], None)
    path = tmp_path / "connect.py"
    write(found, schema, path)
    assert "/*" not in path.read_text()
    assert "p_location=Key(str)" in path.read_text()
    assert verdicts(path, server)["check_then_insert_in_a_transaction[none,new]"] == "unsafe duplicate"
    assert is_formatted(path)


def test_serializable_mends_the_check_only_in_a_transaction(
    schema: psycopg.Connection[Any], server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "checked.py"
    write(read(*CHECKS["select_insert"]), schema, path)
    found = verdicts(path, server, Isolation.SERIALIZABLE)
    assert found["check_then_insert[none,new]"] == "unsafe duplicate"
    assert found["check_then_insert_in_a_transaction[none,new]"] == "retry"


@pytest.mark.parametrize(
    ("sqls", "told"),
    [
        (["INSERT INTO codes (code) VALUES ($1), ($2) ON CONFLICT (code) DO NOTHING"], "several rows is several calls"),
        (["INSERT INTO codes (code) SELECT code FROM seen ON CONFLICT (code) DO NOTHING"], "rows come from a query"),
        (["INSERT INTO codes (code) VALUES ('x') ON CONFLICT (code) DO NOTHING"], "no parameter is part of the key"),
        (["INSERT INTO users (name) VALUES ($1) ON CONFLICT (id) DO NOTHING"], "key column id is filled by the server"),
        (["INSERT INTO codes (used_by) VALUES ($1) ON CONFLICT (used_by) DO NOTHING"], "the server refuses it: 42P10"),
        (
            ["INSERT INTO twice (a, b) VALUES ($1, $2) ON CONFLICT DO NOTHING"],
            r"2 unique indexes \(twice_a_key, twice_b",
        ),
        (["INSERT INTO parts (a, b) VALUES ($1, $2) ON CONFLICT (a, b) DO NOTHING"], "no plain table"),
        (["INSERT INTO absent (a) VALUES ($1) ON CONFLICT (a) DO NOTHING"], "42P01 relation"),
        (
            ["INSERT INTO codes (code) VALUES ($1) ON CONFLICT (code) DO UPDATE SET at = now() RETURNING (xmax = 0)"],
            "RETURNING xmax says what the server did",
        ),
        (
            [
                "INSERT INTO purchases (student_id, course_id, amount, is_active) VALUES ($1, $2, $3, false) "
                "ON CONFLICT (student_id, course_id) WHERE is_active DO NOTHING"
            ],
            "a new row is never part of index active",
        ),
        (["INSERT INTO codes (code) VALUES ($1)"], "found: INSERT"),
        (
            [
                "SELECT name FROM users WHERE email = $1",
                "UPDATE users SET name = $1 WHERE id = $2",
                "INSERT INTO users (email, name) VALUES ($1, $2)",
            ],
            "the row to change is found by id, which is neither inserted nor looked up",
        ),
        (
            ["SELECT 1 FROM codes WHERE used_by = $1", "INSERT INTO codes (code) VALUES ($1)"],
            "what is looked for is not what is inserted",
        ),
    ],
)
def test_what_cannot_be_translated_is_said(sqls: list[str], told: str, schema: psycopg.Connection[Any]) -> None:
    with pytest.raises(TranslationError, match=told):
        scenario(read(*sqls), schema, name="x")


def test_a_statement_that_only_the_program_knows_cannot_be_translated(schema: psycopg.Connection[Any]) -> None:
    (found,) = functions_of('def f(c, t):\n    c.execute(f"INSERT INTO {t} (a) VALUES (%s)")\n')
    with pytest.raises(TranslationError, match=r"app\.py:2: parts are known to the running program only: \{t\}"):
        scenario(found, schema, name="x")


def test_nothing_is_written_to_the_database_it_reads(schema: psycopg.Connection[Any]) -> None:
    schema.execute("SET default_transaction_read_only = on")
    assert "Scenario(" in scenario(read(UPSERTS["counter"]), schema, name="x")
    assert schema.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    assert schema.execute("SHOW search_path").fetchone() == ('"$user", public',)


def test_candidates_are_each_upsert_and_each_insert_with_what_is_beside_it() -> None:
    found = read(UPSERTS["nothing"], *CHECKS["select_insert"], *CHECKS["update_insert"])
    assert [[s.sql.split()[0] for s in one] for one in candidates(found)] == [
        ["INSERT"],
        ["SELECT", "INSERT"],
        ["UPDATE", "INSERT"],
    ]


def test_the_one_row_may_be_selected_from_nothing_and_hold_queries() -> None:
    parts = insert_parts(
        "INSERT INTO t AS x (a, b) OVERRIDING SYSTEM VALUE SELECT $1, (SELECT max(n) FROM y WHERE n > 1) "
        "ON CONFLICT (a) DO UPDATE SET (b, c) = (1, 2) WHERE x.a > 1 RETURNING a"
    )
    assert (parts.table, parts.alias, parts.overriding) == ("t", "x", "OVERRIDING SYSTEM VALUE ")
    assert parts.values == ("$1", "(SELECT max(n) FROM y WHERE n > 1)")
    assert (parts.assignments, parts.where, parts.returning) == ((("b", "1"), ("c", "2")), "x.a > 1", "a")
    for rows in ("SELECT n FROM y", "DEFAULT VALUES", "VALUES (1), (2)", "VALUES (1) ON CONFLICT (a) DO UPDATE SET "
                 "(a, b) = (SELECT 1, 2)"):  # fmt: skip
        with pytest.raises(TranslationError, match=r"cannot be translated|several calls"):
            insert_parts(f"INSERT INTO t {rows}")
