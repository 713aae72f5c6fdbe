"""Sources: what cannot be read is an error, what cannot be understood a warning, and comments can silence both."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.doctor.sources import SourceError, SourceWarning, from_server, statements
from harness.doctor.sources.languages import PYTHON, parser_of
from harness.doctor.statement import Statement
from harness.servers.server import Server

Found = Callable[..., list[Statement]]


@pytest.fixture
def found(tmp_path: Path) -> Found:
    def read(content: str | bytes, suffix: str = ".sql") -> list[Statement]:
        path = tmp_path / f"source{suffix}"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(statements([str(path)], [], None))

    return read


def sqls(content: list[Statement]) -> list[str]:
    return [" ".join(statement.sql.split()) for statement in content]


# ---- what cannot be read ---------------------------------------------------------------------------------------------


def test_a_path_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SourceError, match=r"absent\.sql: no such file or folder"):
        list(statements(["absent.sql"], [], None))


def test_a_file_of_another_kind_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.rs").write_text("")
    with pytest.raises(SourceError, match=r"a\.rs: expected a file ending in one of \.sql .* \.cs; .*by -e or -"):
        list(statements([str(tmp_path / "a.rs")], [], None))


def test_bytes_that_are_no_text_are_an_error_with_their_line(found: Found) -> None:
    with pytest.raises(SourceError, match=r"source\.sql:2: byte 0xe9 is no UTF-8; save the file as UTF-8"):
        found(b"INSERT INTO t VALUES (1);\n-- caf\xe9\n")


def test_in_a_folder_only_files_that_may_hold_statements_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "a.php").write_bytes(b"<?php echo 'caf\xe9';")
    assert not list(statements([str(tmp_path)], [], None))
    (tmp_path / "a.php").write_bytes(b"<?php q('INSERT INTO t VALUES (1)'); echo 'caf\xe9';")
    with pytest.raises(SourceError, match=r"a\.php:1: byte 0xe9"):
        list(statements([str(tmp_path)], [], None))


def test_files_of_windows_are_read(found: Found) -> None:
    (one,) = found("\ufeffSELECT 1;\r\nINSERT INTO t\r\nVALUES (1);\r\n".encode("utf-16-le"))
    assert (one.line, one.column, one.sql) == (2, 1, "INSERT INTO t\r\nVALUES (1)")
    (one,) = found(b"\xef\xbb\xbfINSERT INTO t VALUES (1);")
    assert (one.line, one.column) == (1, 1)


def test_texts_and_standard_input_are_sources() -> None:
    read = list(
        statements(
            [], ["INSERT INTO t VALUES (:a)"], io.StringIO("\nMERGE INTO t USING s ON true WHEN MATCHED THEN DELETE")
        )
    )
    assert [(s.file, s.line, s.parameters) for s in read] == [("-e", 1, 1), ("<stdin>", 2, 0)]


def test_a_file_that_no_grammar_reads_is_a_warning_and_its_statements_are_found(found: Found) -> None:
    with pytest.warns(SourceWarning, match=r"source\.go:2: cannot be read as Go here; statements nearby may be missed"):
        (one,) = found('package p\nfunc ( {{{\n\nfunc F() {\n\tdb.Exec("INSERT INTO t VALUES (1)")\n}\n', ".go")
    assert (one.line, one.sql) == (5, "INSERT INTO t VALUES (1)")


def test_a_type_argument_before_a_template_is_no_error(found: Found) -> None:
    (one,) = found("const f = async () => await sql<Row[]>`INSERT INTO t VALUES (${1})`;\n", ".ts")
    assert (one.sql, one.dynamic) == ("INSERT INTO t VALUES ($1)", ())


def test_a_grammar_that_is_not_installed_says_how_to_get_it() -> None:
    with pytest.raises(
        SourceError, match=r"grammar that is not installed \(absent\): pip install 'upsert-harness\[doctor\]'"
    ):
        parser_of(replace(PYTHON, package="absent"))


# ---- harness: ignore -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "suffix", "codes"),
    [
        ("-- harness: ignore D103\nINSERT INTO t VALUES (1);", ".sql", "D103"),
        ("-- harness: ignore D103, D104: checked\n-- by hand\nINSERT INTO t VALUES (1);", ".sql", "D103 D104"),
        ("INSERT INTO t -- harness: ignore\nVALUES (1);", ".sql", "*"),
        ("INSERT INTO t VALUES (1); -- harness: ignore D200", ".sql", "D200"),
        ("-- harness: ignore D103\n\nINSERT INTO t VALUES (1);", ".sql", ""),
        ("INSERT INTO t VALUES (1);\n-- harness: ignore D103", ".sql", ""),
        ("SELECT 1; -- harness: ignore D103\nSELECT 2;\nINSERT INTO t VALUES (1);", ".sql", ""),
        ('# harness: ignore D103\nc.execute("""\n  INSERT INTO t VALUES (1)""")', ".py", "D103"),
        ('c.execute("""\n  -- harness: ignore D103\n  INSERT INTO t VALUES (1)""")', ".py", "D103"),
        ("// harness: ignore D103\nq(`INSERT INTO t VALUES (1)`)", ".ts", "D103"),
        ("/* harness: ignore D103 */\nq(`INSERT INTO t VALUES (1)`)", ".ts", "D103"),
        ("const harness = ignore(`INSERT INTO t VALUES (1)`)", ".ts", ""),
    ],
)
def test_a_comment_on_or_above_a_statement_is_heard(found: Found, content: str, suffix: str, codes: str) -> None:
    (one,) = found(content, suffix)
    assert one.ignored == frozenset(codes.split())


# ---- texts put together ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "suffix", "sql", "dynamic"),
    [
        ('q = "INSERT INTO t VALUES (1)"\nq += " RETURNING a"\n', ".py", "INSERT INTO t VALUES (1) RETURNING a", ()),
        (
            'def f(x):\n    q = "INSERT INTO t VALUES (1)"\n    if x:\n        q += " RETURNING a"\n    go(q)\n',
            ".py",
            'INSERT INTO t VALUES (1){" RETURNING a"}',
            ('{" RETURNING a"}',),
        ),
        ('T = "t"\nq = "INSERT INTO " + T + " VALUES (1)"\n', ".py", "INSERT INTO t VALUES (1)", ()),
        ('def f(T):\n    q = "INSERT INTO " + T + " VALUES (1)"\n', ".py", "INSERT INTO {T} VALUES (1)", ("{T}",)),
        (
            'T = "t"\ndef f(T):\n    q = f"INSERT INTO {T} VALUES (1)"\n',
            ".py",
            "INSERT INTO {T} VALUES (1)",
            ("{T}",),
        ),
        ('q = "INSERT INTO {} VALUES ({})".format("t", 1)', ".py", "INSERT INTO t VALUES ({})", ("{}",)),
        ('q = "INSERT INTO %s VALUES (%%s)" % t', ".py", "INSERT INTO %s VALUES ($1)", ("%s",)),
        ("$q = \"INSERT INTO t VALUES (1)\"; $q .= ' RETURNING a';", ".php", None, ()),
        (
            "<?php $q = \"INSERT INTO t VALUES (1)\"; $q .= ' RETURNING a';",
            ".php",
            "INSERT INTO t VALUES (1) RETURNING a",
            (),
        ),
        (
            'class A { String q = "INSERT INTO t VALUES (?)".concat(" RETURNING a"); }',
            ".java",
            "INSERT INTO t VALUES ($1) RETURNING a",
            (),
        ),
        ("x = ['INSERT INTO t', 'VALUES (1)']", ".rb", None, ()),
        ('q = " ".join(["INSERT INTO t", "VALUES (1)"])', ".py", "INSERT INTO t VALUES (1)", ()),
        ("q = `INSERT INTO t (a, ${b}) VALUES (1, $1)`", ".js", "INSERT INTO t (a, ${b}) VALUES (1, $1)", ("${b}",)),
        ("q = sql`INSERT INTO t (a, ${b}) VALUES (${c})`", ".js", "INSERT INTO t (a, ${b}) VALUES ($1)", ("${b}",)),
        ("q = dedent`INSERT INTO t VALUES (${c})`", ".js", "INSERT INTO t VALUES (${c})", ("${c}",)),
        ("q(`INSERT /* ${b} */ INTO t VALUES (1)`)", ".js", "INSERT /* ${b} */ INTO t VALUES (1)", ()),
        (
            "Q = \"INSERT INTO t ({0}) VALUES ({}, '{}')\"\nrun(Q)",
            ".py",
            "INSERT INTO t ({0}) VALUES ({}, '{}')",
            ("{0}", "{}"),
        ),
        (
            'U = "INSERT INTO t VALUES (1); "\nx = f"{U}SELECT 1"\ny = f"{U}SELECT 2"',
            ".py",
            "INSERT INTO t VALUES (1)",
            (),
        ),
        ("q(`EXPLAIN ANALYZE INSERT INTO t VALUES (1)`)", ".js", "INSERT INTO t VALUES (1)", ()),
        (
            'class A { @Insert("INSERT INTO ${t} VALUES (#{a.id}, #{b,jdbcType=INTEGER})") void f(); }',
            ".java",
            "INSERT INTO ${t} VALUES ($1, $2)",
            ("${t}",),
        ),
        (
            "-- name: Put :one\nINSERT INTO t VALUES (sqlc.arg(a), sqlc.narg('b'), sqlc.arg(a));",
            ".sql",
            "INSERT INTO t VALUES ($1, $2, $1)",
            (),
        ),
        (
            "INSERT INTO {{ ref('t') }} SELECT * FROM ${schema}.s;",
            ".sql",
            "INSERT INTO {{ ref('t') }} SELECT * FROM ${schema}.s",
            ("{{ ref('t') }}", "${schema}"),
        ),
        (
            "q = 'INSERT INTO t VALUES (' " + "+ '1, ' " * 2000 + "+ '2)'",
            ".js",
            f"INSERT INTO t VALUES ({'1, ' * 2000}2)",
            (),
        ),
        ("PREPARE p (int) AS INSERT INTO t VALUES ($1);", ".sql", "INSERT INTO t VALUES ($1)", ()),
        ('INSERT INTO :"t" VALUES (1);', ".sql", 'INSERT INTO :"t" VALUES (1)', (':"t"',)),
        ("INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = 2;", ".sql", None, ()),
    ],
)
def test_a_text_put_together_is_one_statement(
    found: Found, content: str, suffix: str, sql: str | None, dynamic: tuple[str, ...]
) -> None:
    read = found(content, suffix)
    assert [(s.sql, s.dynamic) for s in read] == ([] if sql is None else [(sql, dynamic)])


# ---- placeholders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("VALUES (?, ?)", "VALUES ($1, $2)"),
        ("VALUES (?2, ?1)", "VALUES ($2, $1)"),
        (
            "SELECT 1 WHERE j ? 'k' AND j ?| ? AND j -> 'a' ? ? AND (j) ? 'b' AND a = ?",
            "SELECT 1 WHERE j ? 'k' AND j ?| $1 AND j -> 'a' ? $2 AND (j) ? 'b' AND a = $3",
        ),
        ("SELECT $1 WHERE j ? 'k' AND j ?& $2", "SELECT $1 WHERE j ? 'k' AND j ?& $2"),
        ("VALUES (:a::int, ':b', a[1:2], :a)", "VALUES ($1::int, ':b', a[1:2], $1)"),
        ("VALUES (@a, b @> c, @@x, d <@ e, '@f', @a)", "VALUES ($1, b @> c, @@x, d <@ e, '@f', $1)"),
        ("VALUES (%(a)s, %(b)s, %(a)s, 5 %% 2, 'x%%')", "VALUES ($1, $2, $1, 5 % 2, 'x%')"),
        ("VALUES (%s, %s::text[])", "VALUES ($1, $2::text[])"),
        ("VALUES ($2, $1, $2)", "VALUES ($2, $1, $2)"),
        (
            "VALUES ('$1', $$ ? :a $$, \"%s\", E'\\':x', /* ? /* :y */ */ :z) -- ?",
            "VALUES ('$1', $$ ? :a $$, \"%s\", E'\\':x', /* ? /* :y */ */ $1)",
        ),
    ],
)
def test_placeholders_are_found_where_they_are_and_nowhere_else(text: str, sql: str) -> None:
    whole = f"INSERT INTO t {text}"
    (one,) = statements([], [whole], None)
    assert one.sql == f"INSERT INTO t {sql}"


# ---- functions of the server -----------------------------------------------------------------------------------------

PLPGSQL = """
CREATE FUNCTION f(p_id int, email text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v text := 'INSERT INTO nowhere VALUES (1)';
    r record;
    k users%ROWTYPE;
BEGIN
    PERFORM 1 FROM users WHERE id = p_id;
    FOR r IN SELECT * FROM users WHERE email = f.email LOOP
        INSERT INTO users (id, email) VALUES (r.id, v) ON CONFLICT (id) DO UPDATE SET email = v, id = users.id;
    END LOOP;
    IF found THEN
        UPDATE users SET email = v WHERE id = p_id RETURNING id, email INTO STRICT k;
    ELSE
        EXECUTE 'INSERT INTO nowhere VALUES (1)';
        INSERT INTO users AS u VALUES (p_id, k.email);
    END IF;
EXCEPTION WHEN unique_violation THEN
    INSERT INTO users SELECT p_id, lower(v) WHERE NOT EXISTS (SELECT FROM users WHERE id = p_id);
END $$;
"""


def test_variables_of_a_function_are_parameters_and_its_own_words_are_hidden(found: Found) -> None:
    assert sqls(found(PLPGSQL)) == [
        "SELECT 1 FROM users WHERE id = $1",
        "SELECT * FROM users WHERE $1 = $1/*.*//*email*/",
        "INSERT INTO users (id, email) VALUES ($1/*.*//*id*/, $2) "
        "ON CONFLICT (id) DO UPDATE SET email = $2, id = users.id",
        "UPDATE users SET email = $1 WHERE id = $2 RETURNING id, $3 /*INTO*/ /*STRICT*/ /*k*/",
        "INSERT INTO users AS u VALUES ($1, $2/*.*//*email*/)",
        "INSERT INTO users SELECT $1, lower($2) WHERE NOT EXISTS (SELECT FROM users WHERE id = $1)",
    ]


def test_the_server_parses_what_functions_and_programs_say(server: Server, database: str) -> None:
    """Every statement without dynamic parts: nothing is a syntax error, whatever tables are there."""
    here = Path(__file__).parent
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        read = [*statements([str(here / "programs")], [PLPGSQL], None)]
        checked = [statement for statement in read if not statement.dynamic]
        assert len(checked) >= 35
        for statement in checked:
            if server.version_num < 150_000 and statement.sql.lower().startswith("merge"):
                continue
            try:
                connection.execute(f"PREPARE p AS {statement.sql}".encode())
                connection.execute("DEALLOCATE p")
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                continue  # parsed, and then looked up


# ---- pg_stat_statements ----------------------------------------------------------------------------------------------


def test_statements_come_from_the_statistics_of_the_server(counting: psycopg.Connection[Any]) -> None:
    counting.execute("CREATE EXTENSION pg_stat_statements")
    counting.execute("CREATE TABLE t (a int, live bool); CREATE UNIQUE INDEX ON t (a) WHERE live; SELECT 'insert'")
    for n in range(3):
        counting.execute("INSERT INTO t VALUES (%s, true) ON CONFLICT DO NOTHING", [n])
    counting.execute("INSERT INTO t (a, live) VALUES (7, true) ON CONFLICT (a) WHERE live = true DO NOTHING")
    read = list(from_server(counting))
    assert [(s.file, s.line, s.sql, s.parameters) for s in read] == [
        ("pg_stat_statements", 1, "INSERT INTO t VALUES ($1, $2) ON CONFLICT DO NOTHING", 2),
        (
            "pg_stat_statements",
            2,
            "INSERT INTO t (a, live) VALUES ($1, $2) ON CONFLICT (a) WHERE live = $3 DO NOTHING",
            3,
        ),
    ]
    # What was a constant must not be taken for a parameter in the predicate.
    assert [s.dynamic for s in read] == [(), ("$3, a constant that pg_stat_statements left out",)]


def test_statements_that_are_hidden_from_the_user_are_counted(counting: psycopg.Connection[Any]) -> None:
    counting.execute("CREATE EXTENSION pg_stat_statements; CREATE ROLE nobody")
    counting.execute("CREATE TABLE t (a int)")
    counting.execute("SET ROLE nobody")
    with pytest.warns(SourceWarning, match=r"hides \d+ statements of other users: GRANT pg_read_all_stats"):
        assert not list(from_server(counting))


def test_an_extension_that_is_not_loaded_says_how_to_load_it(server: Server, database: str) -> None:
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        try:
            connection.execute("CREATE EXTENSION pg_stat_statements")
        except psycopg.Error as error:
            pytest.skip(f"no such extension here: {error.diag.message_primary}")
        with pytest.raises(SourceError, match="is installed, but not loaded: add it to shared_preload_libraries"):
            list(from_server(connection))


def test_without_the_extension_it_is_said_how_to_get_it(server: Server, database: str) -> None:
    with (
        psycopg.connect(server.dsn(database)) as connection,
        pytest.raises(
            SourceError, match=f"database {database} has no extension pg_stat_statements: add it to shared_pre"
        ),
    ):
        list(from_server(connection))
