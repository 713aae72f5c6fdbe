"""`harness doctor --scenario` and `--pg-stat-statements` from the command line: what is written, explored and said."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from harness.cli.main import main
from harness.servers.server import Server
from tests.doctor.conftest import address_of

TABLE = """
CREATE TABLE codes (id serial PRIMARY KEY, code text NOT NULL, used_by text);
CREATE UNIQUE INDEX one_unused ON codes (code) WHERE used_by IS NOT NULL;
"""
BROKEN = "INSERT INTO codes (code, used_by) VALUES ($1, $2) ON CONFLICT (code) DO NOTHING"
SOUND = BROKEN.replace("(code) DO", "(code) WHERE used_by IS NOT NULL DO")
CHECK = """
def use(cursor, code, user):
    cursor.execute("SELECT 1 FROM codes WHERE code = %s", (code,))
    if cursor.fetchone() is None:
        cursor.execute("INSERT INTO codes (code, used_by) VALUES (%s, %s)", (code, user))
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def explored(path: Path) -> Result:
    return run("explore", path, "--isolation", "read_committed", "--workers", "0")


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "schema.sql"
    path.write_text(TABLE)
    return path


@pytest.fixture
def live(server: Server, database: str) -> str:
    with psycopg.connect(server.dsn(database)) as connection:
        connection.execute(TABLE.encode())
    return address_of(server, database)


@pytest.mark.server
def test_a_scenario_is_written_of_the_first_statement_that_can_be_one(schema: Path, tmp_path: Path) -> None:
    path = tmp_path / "codes.py"
    rows = "INSERT INTO codes (code) SELECT code FROM codes ON CONFLICT DO NOTHING"
    result = run("doctor", "-e", rows, "-e", SOUND, "--schema", schema, "--scenario", path)
    assert result.exit_code == 0, result.output
    assert result.stderr == f"written: {path}; what comes of it: harness explore {path}\n"
    verdict = explored(path)
    assert verdict.exit_code == 0, verdict.output
    assert "safe" in verdict.output


def test_a_check_before_an_insert_is_written_from_a_live_database(live: str, tmp_path: Path) -> None:
    program, path = tmp_path / "app.py", tmp_path / "proof.py"
    program.write_text(CHECK)
    result = run("doctor", program, "--server", live, "--scenario", path)
    assert (result.exit_code, "0 upserts in 2 statements" in result.output) == (0, True), result.output
    verdict = explored(path)
    assert verdict.exit_code == 1, verdict.output
    assert "check_then_insert" in verdict.output
    assert "duplicate" in verdict.output


@pytest.mark.server
def test_where_no_scenario_can_be_written_the_diagnoses_are_told_all_the_same(schema: Path, tmp_path: Path) -> None:
    path = tmp_path / "codes.py"
    result = run("doctor", "-e", BROKEN, "-e", SOUND.replace("$1", "'x'"), "--schema", schema, "--scenario", path)
    assert (result.exit_code, path.exists()) == (2, False)
    assert "error[D103]" in result.output
    assert result.stderr == (
        "error: --scenario: -e:1: the server refuses it: 42P10 there is no unique or exclusion constraint matching the "
        "ON CONFLICT specification: what it must mean is not known\n"
    )
    nothing = run("doctor", "-e", "SELECT 1", "--schema", schema, "--scenario", path)
    assert nothing.exit_code == 2
    assert nothing.stderr.startswith("error: --scenario: expected an INSERT ... ON CONFLICT, or a look and an INSERT")


@pytest.mark.server
def test_what_sources_warn_of_is_told_once(schema: Path, tmp_path: Path) -> None:
    seed = tmp_path / "seed.sql"
    seed.write_text("INSERT INTO nowhere VALUES (1);")
    result = run("doctor", "-e", SOUND, "--schema", schema, "--schema", seed, "--schema", seed)
    assert result.exit_code == 0
    assert result.stderr == (
        f'warning: {seed}:1: 42P01 relation "nowhere" does not exist; in: INSERT INTO nowhere VALUES (1)\n'
    )


def test_the_statistics_of_a_server_are_examined(
    counting: psycopg.Connection[Any], counting_server: Server, tmp_path: Path
) -> None:
    counting.execute(f"CREATE EXTENSION pg_stat_statements; {TABLE}".encode())
    counting.execute("INSERT INTO codes (code, used_by) VALUES (%s, 'me') ON CONFLICT DO NOTHING", ["a"])
    with pytest.raises(psycopg.errors.InvalidColumnReference):  # what fails when it is planned is not counted
        counting.execute("INSERT INTO codes (code, used_by) VALUES (%s, 'me') ON CONFLICT (code) DO NOTHING", ["a"])
    counting.execute("CREATE UNIQUE INDEX for_now ON codes (code)")
    counting.execute("INSERT INTO codes (code, used_by) VALUES (%s, 'me') ON CONFLICT (code) DO NOTHING", ["b"])
    counting.execute("DROP INDEX for_now")
    address = address_of(counting_server, counting.info.dbname)
    result = run("doctor", "--pg-stat-statements", "--server", address)
    assert result.exit_code == 1, result.output
    assert "error[D103]" in result.output
    assert "--> pg_stat_statements:1:" in result.output
    assert "2 upserts in 2 statements: 1 error" in result.output


def test_a_server_without_statistics_is_exit_code_2(live: str) -> None:
    result = run("doctor", "--pg-stat-statements", "--server", live)
    assert result.exit_code == 2
    assert "has no extension pg_stat_statements: add it to shared_preload_libraries" in result.stderr
