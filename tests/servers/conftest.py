"""Servers for the tests of the servers: one embedded server a session; a reason instead where there can be none."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

from harness.servers import container
from harness.servers.choose import running
from harness.servers.server import Server, ServerError


def do_without(reason: object, *, required: bool) -> NoReturn:
    if required:
        pytest.fail(f"required here: {reason}")
    pytest.skip(str(reason))


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[Server]:
    manager = running("embedded")
    try:
        server = manager.__enter__()
    except ServerError as error:
        do_without(error, required="CI" in os.environ)
    yield server
    manager.__exit__(None, None, None)


@pytest.fixture
def docker_engine() -> Iterator[None]:
    """The engine, to oneself: these tests count containers, and another process of the run may be making one."""
    try:
        container.check_engine()
    except ServerError as error:
        do_without(error, required="CI" in os.environ and os.environ.get("HARNESS_REQUIRE_DOCKER") == "1")
    with FileLock(Path(tempfile.gettempdir()) / "upsert-harness-container-tests.lock"):
        yield


@pytest.fixture
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
    monkeypatch.delenv("HARNESS_SERVER", raising=False)
    monkeypatch.chdir(tmp_path)
