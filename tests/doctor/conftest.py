"""Servers of several versions: the embedded ones, and containers of those images that are at hand."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from filelock import FileLock

from harness.servers import embedded
from harness.servers.choose import running
from harness.servers.databases import own_database
from harness.servers.embedded import WHEEL_MAJORS
from harness.servers.server import Server, ServerError

BINARIES = Path("/usr/lib/postgresql/15/bin")
MAJORS = ("13", "14", "15", "16", "17", "18")
# That of tests/servers: its tests count containers.
CONTAINER_LOCK = Path(tempfile.gettempdir()) / "upsert-harness-container-tests.lock"


def has_image(major: str) -> bool:
    docker = shutil.which("docker")
    asked = [docker or "", "image", "inspect", f"postgres:{major}"]
    return docker is not None and subprocess.run(asked, capture_output=True).returncode == 0


@pytest.fixture(scope="module", params=MAJORS)
def any_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One after the other those versions that are to be had without a download."""
    major = request.param
    embedded = major in WHEEL_MAJORS
    if not embedded and not has_image(major):
        pytest.skip(f"no PostgreSQL {major} here: not in the wheel, and there is no image postgres:{major}")
    with contextlib.ExitStack() as stack:
        try:
            if not embedded:
                stack.enter_context(FileLock(CONTAINER_LOCK))
            server = stack.enter_context(running(f"{'embedded' if embedded else 'container'}:{major}"))
        except ServerError as error:
            if embedded and "CI" in os.environ:
                pytest.fail(f"required here: {error}")
            pytest.skip(str(error))
        yield server


@pytest.fixture(scope="module")
def scratch(any_server: Server) -> Iterator[psycopg.Connection]:
    """A database of our own, in autocommit mode; every test makes its schema anew."""
    with (
        own_database(any_server, label="doctor") as name,
        psycopg.connect(any_server.dsn(name), autocommit=True, prepare_threshold=None) as connection,
    ):
        yield connection


def address_of(server: Server, database: str) -> str:
    """As somebody would give it on the command line."""
    given = dict(server.conninfo)
    password = f":{quote(given['password'], safe='')}" if given.get("password") else ""
    return (
        f"postgresql://{given['user']}{password}@/{database}?host={quote(given['host'], safe='')}"
        f"&port={given.get('port', '5432')}"
    )


@pytest.fixture
def counting_server(monkeypatch: pytest.MonkeyPatch, server: Server) -> Iterator[Server]:
    """One that loads pg_stat_statements; it asks for `server` so that it is marked."""
    if not (BINARIES.parent / "lib" / "pg_stat_statements.so").exists():
        pytest.skip(f"no pg_stat_statements beside {BINARIES}")
    monkeypatch.setitem(embedded.SETTINGS, "shared_preload_libraries", "pg_stat_statements")
    with running(f"path:{BINARIES}") as ours:
        yield ours


@pytest.fixture
def counting(counting_server: Server) -> Iterator[psycopg.Connection[Any]]:
    with (
        own_database(counting_server) as name,
        psycopg.connect(counting_server.dsn(name), autocommit=True) as connection,
    ):
        yield connection
