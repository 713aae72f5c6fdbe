"""A project with one small scenario file, in which pytest is run."""

from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

import harness.pytest_plugin.cells  # noqa: F401 - or else each run inside this process would import it anew
from harness.servers.server import Server

CONFTEST = """
from harness.pytest_plugin import plugin

def pytest_addoption(pluginmanager):
    if not pluginmanager.is_registered(plugin):
        pluginmanager.register(plugin, "upsert-harness")
"""

COUNTERS = '''
"""One counter per name."""

from harness import READ_COMMITTED, Connection, Identity, Key, Scenario, unsafe

counters = Scenario(
    "counters",
    tables="CREATE TABLE counter (name text NOT NULL, n int NOT NULL)",
    layouts={"unique": "CREATE UNIQUE INDEX ON counter (name)"},
    states={
        "new": "",
        "twice": ("INSERT INTO counter VALUES (%(name)s, 1)", "INSERT INTO counter VALUES (%(name)s, 1)"),
    },
    identity=Identity("counter", by=("name",)),
)


@counters.operation(name=Key(str))
def count(connection: Connection, name: str) -> None:
    if connection.execute("UPDATE counter SET n = n + 1 WHERE name = %s", (name,)).rowcount == 0:
        connection.execute("INSERT INTO counter VALUES (%s, 1)", (name,))


@count.strategy(isolation=READ_COMMITTED, expect=EXPECTED)
def update_or_insert(connection: Connection, name: str) -> None:
    count.body(connection, name)


@count.strategy(isolation=READ_COMMITTED, expect=[unsafe("42P10", layout="none")])
def on_conflict(connection: Connection, name: str) -> None:
    connection.execute(
        "INSERT INTO counter VALUES (%s, 1) ON CONFLICT (name) DO UPDATE SET n = counter.n + 1", (name,)
    )
'''
DECLARED = 'unsafe("duplicate", layout="none", state="new"), unsafe("23505", layout="unique")'

Project = Callable[..., pytest.Pytester]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """`project(scenario, expected=...)`: a folder with `scenarios/counters.py`, in which pytest may be run."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    for name in ("HARNESS_SERVER", "CI"):
        monkeypatch.delenv(name, raising=False)

    def make(scenario: str = COUNTERS, *, expected: str = DECLARED, ini: str = "", **files: str) -> pytest.Pytester:
        pytester.makeconftest(CONFTEST)
        pytester.makeini(f"[pytest]\naddopts = --strict-markers --strict-config\nfilterwarnings = error\n{ini}")
        folder = pytester.mkdir("scenarios")
        text = scenario.replace("EXPECTED", f"[{expected}]")
        for name, content in {"counters": text, **files}.items():
            (folder / f"{name}.py").write_text(content, encoding="utf-8")
        return pytester

    return make


@pytest.fixture
def address(server: Server) -> str:
    """The server of this run as a value of --harness-server."""
    return "postgresql://?" + make_conninfo(**{n: v for n, v in server.conninfo if v}).replace(" ", "&")
