"""A line recorded on one version, replayed on another by the command: the same, or precisely why not."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli.main import main
from harness.servers.server import Server

pytestmark = pytest.mark.server

ITEMS = str(Path(__file__).with_name("items.py"))

RETURNING = '''
from harness import READ_COMMITTED, Connection, Identity, Key, Scenario, unsafe

merged = Scenario("merged", tables="CREATE TABLE item (name text)", identity=Identity("item", by="name"))
MERGE = """MERGE INTO item USING (VALUES (%s::text)) AS v (name) ON item.name = v.name
           WHEN NOT MATCHED THEN INSERT VALUES (v.name) RETURNING item.name"""


@merged.operation(name=Key(str))
def put(connection: Connection, name: str) -> bool:
    taken = connection.execute("SELECT FROM item WHERE name = %s", [name]).fetchone()
    return not taken and connection.execute("INSERT INTO item VALUES (%s)", [name]).rowcount == 1


@put.strategy(isolation=READ_COMMITTED, expect=unsafe("duplicate", "42601"))
def merge(connection: Connection, name: str) -> bool:
    return connection.execute(MERGE, [name]).fetchone() is not None
'''


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def recorded(spec: str, cells: str) -> str:
    made = run("explore", cells, "--server", spec, "--workers", "0", "--witnesses", "all", "--no-variations")
    return re.findall(r"replay with: harness replay '(h1:\S+)'", made.output)[0]


@pytest.fixture
def both(server: Server) -> tuple[str, str]:
    """`server` only says that there is one: the wheel has two versions."""
    if server.provider != "embedded":
        pytest.skip("needs the embedded servers")
    return "embedded:16", "embedded:18"


def test_a_race_is_the_same_on_the_other_version_in_both_directions(both: tuple[str, str]) -> None:
    for here, there in (both, both[::-1]):
        line = recorded(here, f"{ITEMS}::hopeful[unique]")
        again = run("replay", line, "--server", there, "--times", "3", "--from", ITEMS, "--try-repairs")
        assert again.exit_code == 0, again.output
        assert f"warning: recorded on pg{here[-2:]}, replayed on pg{there[-2:]}\n" in again.output
        assert "\n23505: " in again.output and "cause: s" in again.output
        assert "of 2 other strategies 1 survives this contest: on_conflict\n" in again.output
        assert "  verified here by `on_conflict`\n" in again.output
        assert again.output.endswith("replayed to the same outcome: 3/3\n")


def test_what_the_other_version_lacks_is_named(both: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "merged.py"
    path.write_text(RETURNING)
    line = recorded(both[1], str(path))
    older = run("replay", line, "--server", both[0], "--from", str(path))
    assert "pg16 has no MERGE ... RETURNING, which came with PostgreSQL 17: s1 met 42601 syntax_error" in older.output
    assert "duplicate: " not in older.output
