"""What tests with a server ask for: the server, a database of their own, an arena with their tables in it."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NoReturn

import pytest

from harness.servers.choose import running
from harness.servers.databases import own_database
from harness.servers.server import Server, ServerError
from harness.sessions.arena import Arena

# A store would carry findings from one test to the next; those of the store ask for one of their own.
os.environ["HARNESS_STORE"] = "off"

MakeArena = Callable[..., Arena]


@pytest.hookimpl(tryfirst=True)  # before -m deselects
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if {"server", "embedded_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("server")


def do_without(reason: object, *, required: bool) -> NoReturn:
    if required:
        pytest.fail(f"required here: {reason}")
    pytest.skip(str(reason))


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[Server]:
    """A server of this process alone: for what is counted on a whole server, or done to it."""
    manager = running("embedded")
    try:
        server = manager.__enter__()
    except ServerError as error:
        do_without(error, required="CI" in os.environ)
    yield server
    manager.__exit__(None, None, None)


@pytest.fixture(scope="session")
def server(shared_server: Server | ServerError) -> Server:
    if isinstance(shared_server, ServerError):
        do_without(shared_server, required="CI" in os.environ)
    return shared_server


@pytest.fixture
def database(server: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    with own_database(server, label=request.node.name) as name:
        yield name


@pytest.fixture
def one_cpu() -> Iterator[int | None]:
    """Client and backends on one CPU, another one for each worker: round trips take a quarter of the time."""
    if not hasattr(os, "sched_getaffinity"):
        yield None
        return
    allowed = os.sched_getaffinity(0)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    cpu = sorted(allowed)[worker % len(allowed)]
    os.sched_setaffinity(0, {cpu})
    yield cpu
    os.sched_setaffinity(0, allowed)


@pytest.fixture
def arena(server: Server, database: str, one_cpu: int | None) -> Iterator[MakeArena]:
    """`arena(ddl, start, queries=...)`: an arena ready for its first trial."""
    with ExitStack() as stack:

        def make(ddl: str | Sequence[str], start: str = "", *, gates: bool = False, **options: object) -> Arena:
            made = Arena(server, database, [ddl] if isinstance(ddl, str) else ddl, cpu=one_cpu, **options)  # type: ignore[arg-type]
            stack.callback(made.close)
            if gates:
                made.install_gates()
                made.gated = True
            made.prepare(start.encode())
            return made

        yield make
