"""What tests of the servers ask for: a Docker engine to themselves, and a user who configured nothing."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from harness.servers import container
from harness.servers.server import ServerError
from tests.conftest import do_without


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
