"""Schema files run on a real server: what they say is there afterwards; what fails is told with its line."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.doctor.sources import SourceError, SourceWarning, load_schema
from harness.servers import embedded
from harness.servers.databases import own_database
from harness.servers.server import Server

DUMP = r"""--
-- PostgreSQL database dump
--

\restrict abcDEF123

SET statement_timeout = 0;
SET transaction_timeout = 0;
SET unknown_setting_of_another_version = 1;
SELECT pg_catalog.set_config('search_path', '', false);
SET default_tablespace = '';

CREATE SCHEMA public;
ALTER SCHEMA public OWNER TO nobody_here;
CREATE ROLE app LOGIN;
CREATE DATABASE app;
\connect app

CREATE TABLE public.users (
    id integer NOT NULL,
    email text NOT NULL
);
ALTER TABLE public.users OWNER TO app;
COPY public.users (id, email) FROM stdin;
1	it's; here
2	\N
\.
ALTER TABLE ONLY public.users ADD CONSTRAINT users_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX users_email ON public.users USING btree (email);
ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION public.early() RETURNS int LANGUAGE sql AS 'SELECT later FROM not_yet';
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT SELECT ON TABLE public.users TO app;
\unrestrict abcDEF123
"""


@pytest.fixture
def scratch(server: Server, database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        yield connection


def indexes(connection: psycopg.Connection[Any]) -> list[str]:
    return [
        name
        for (name,) in connection.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
    ]


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_dump_is_loaded_without_its_roles_owners_grants_and_data(
    scratch: psycopg.Connection[Any], tmp_path: Path
) -> None:
    before = scratch.execute("SELECT count(*) FROM pg_roles").fetchone()
    load_schema(scratch, [write(tmp_path / "schema.sql", DUMP)])
    assert indexes(scratch) == ["users_email", "users_pkey"]
    assert scratch.execute("SELECT count(*) FROM public.users").fetchone() == (0,)
    assert scratch.execute("SELECT count(*) FROM pg_roles").fetchone() == before
    # pg_dump empties the search_path; it must not stay so.
    assert scratch.execute("SELECT count(*) FROM users").fetchone() == (0,)


def test_what_pg_dump_really_writes_is_loaded(server: Server, scratch: psycopg.Connection[Any], tmp_path: Path) -> None:
    pg_dump = embedded.wheel_binaries("18") / "pg_dump" if embedded.wheel() else None
    if pg_dump is None or server.provider != "embedded":
        pytest.skip("needs the wheel's pg_dump, and a server without a password")
    scratch.execute(
        """
        CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b text, c text DEFAULT 'x;y');
        INSERT INTO t (b) VALUES (E'a\tb\\.'), (NULL);
        CREATE UNIQUE INDEX u ON t (lower(b)) WHERE c IS NOT NULL;
        CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;
        CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;
        CREATE VIEW v AS SELECT b FROM t;
        """
    )
    before = indexes(scratch)
    dump = subprocess.run([pg_dump, server.dsn(scratch.info.dbname)], capture_output=True, text=True, check=True).stdout
    with own_database(server) as copy, psycopg.connect(server.dsn(copy), autocommit=True) as other:
        load_schema(other, [write(tmp_path / "dump.sql", dump)])
        assert indexes(other) == before == ["t_pkey", "u"]
        assert other.execute("SELECT count(*), g() FROM v").fetchone() == (0, 2)


def test_migrations_are_replayed_in_order(scratch: psycopg.Connection[Any], tmp_path: Path) -> None:
    write(tmp_path / "m/V1__a.sql", "BEGIN; CREATE TABLE t (a int); COMMIT;")
    write(tmp_path / "m/V2__b.sql", "CREATE INDEX CONCURRENTLY slow ON t (a) TABLESPACE fast;")
    write(
        tmp_path / "m/V10__c.sql",
        "DROP INDEX CONCURRENTLY slow; CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS u ON t (a);",
    )
    load_schema(scratch, [str(tmp_path / "m")])
    assert indexes(scratch) == ["u"]


def test_psql_includes_are_followed(scratch: psycopg.Connection[Any], tmp_path: Path) -> None:
    write(tmp_path / "tables/t.sql", "CREATE TABLE t (a int PRIMARY KEY);")
    write(tmp_path / "all.sql", "\\set ON_ERROR_STOP on\n\\ir tables/t.sql\nCREATE INDEX i ON t (a);")
    load_schema(scratch, [str(tmp_path / "all.sql")])
    assert indexes(scratch) == ["i", "t_pkey"]
    with pytest.raises(SourceError, match=r"all\.sql:1: .*missing\.sql: cannot be read: No such file"):
        load_schema(scratch, [write(tmp_path / "all.sql", "\\ir missing.sql")])
    with pytest.raises(SourceError, match="includes itself"):
        load_schema(scratch, [write(tmp_path / "all.sql", "\\ir all.sql")])


def test_a_policy_for_an_absent_role_is_made_for_everybody(scratch: psycopg.Connection[Any], tmp_path: Path) -> None:
    file = write(
        tmp_path / "s.sql",
        "CREATE TABLE t (a int);\nCREATE POLICY own ON t FOR SELECT TO authenticated, anon USING (a > 0);",
    )
    with pytest.warns(
        SourceWarning, match=r's\.sql:2: role "authenticated" does not exist: the policy is made for PUBLIC'
    ):
        load_schema(scratch, [file])
    assert scratch.execute("SELECT roles, cmd, qual FROM pg_policies").fetchall() == [(["public"], "SELECT", "(a > 0)")]


def test_an_error_names_file_line_and_statement(scratch: psycopg.Connection[Any], tmp_path: Path) -> None:
    file = write(
        tmp_path / "s.sql", "CREATE TABLE t (a int);\n\nCREATE UNIQUE INDEX CONCURRENTLY u\n    ON t (a, bb);\n"
    )
    with pytest.raises(
        SourceError, match=r's\.sql:3: 42703 column "bb" does not exist.*; in: CREATE UNIQUE INDEX CONCURRENTLY u ON t'
    ):
        load_schema(scratch, [file])
    with pytest.raises(SourceError, match=r's\.sql:4: 42601 syntax error at or near "x"'):
        load_schema(scratch, [write(tmp_path / "s.sql", "CREATE TABLE u (a int);\nCREATE TABLE\nv (a int)\nON x;")])


def test_data_that_fails_is_a_warning(scratch: psycopg.Connection[Any], tmp_path: Path) -> None:
    file = write(
        tmp_path / "s.sql", "INSERT INTO absent VALUES (1);\nCREATE EXTENSION absent;\nCREATE TABLE t (a int);"
    )
    with pytest.warns(SourceWarning) as told:
        load_schema(scratch, [file])
    assert [str(w.message).partition(".sql:")[2].split(" ")[0] for w in told] == ["1:", "2:"]
    assert scratch.execute("SELECT to_regclass('t')::text").fetchone() == ("t",)


def test_schemas_may_name_an_owner(scratch: psycopg.Connection[Any], tmp_path: Path) -> None:
    load_schema(
        scratch, [write(tmp_path / "s.sql", "CREATE SCHEMA a AUTHORIZATION joe; CREATE SCHEMA AUTHORIZATION jane;")]
    )
    found = scratch.execute("SELECT nspname FROM pg_namespace WHERE nspname IN ('a', 'jane') ORDER BY 1").fetchall()
    assert found == [("a",), ("jane",)]


def test_a_connection_in_a_transaction_is_left_as_it_was(server: Server, database: str, tmp_path: Path) -> None:
    with psycopg.connect(server.dsn(database)) as connection:
        load_schema(connection, [write(tmp_path / "s.sql", "CREATE TABLE t (a int);")])
        assert not connection.autocommit
        connection.rollback()
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
