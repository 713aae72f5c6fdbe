"""One PostgreSQL for a test run, started by the first test that asks for it, also when several processes run tests.

Under pytest-xdist the workers ask the process that started them, which owns the server and ends it: a worker that ended
before the others would take it away from them.
"""

import secrets
import threading
from contextlib import ExitStack
from multiprocessing.connection import Client, Listener

import pytest

from harness.servers.choose import running, settled
from harness.servers.server import Server, ServerError


class ServerOwner:
    """Starts the server when it is first wanted, and remembers why there is none."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._started: Server | ServerError | None = None
        self._lock = threading.Lock()
        self._listener: Listener | None = None

    @property
    def started(self) -> Server | ServerError | None:
        return self._started

    def server(self) -> Server | ServerError:
        with self._lock:
            if self._started is None:
                try:
                    self._started = self._stack.enter_context(running())
                except ServerError as error:
                    self._started = error
            return self._started

    def address(self) -> tuple[str, bytes]:
        """Where a worker may ask, and the word that lets it in."""
        if self._listener is None:
            self._word = secrets.token_bytes(16)
            self._listener = Listener(family="AF_UNIX", authkey=self._word)
            threading.Thread(target=self._answer, args=(self._listener,), daemon=True).start()
        return str(self._listener.address), self._word

    def _answer(self, listener: Listener) -> None:
        while True:
            try:
                with listener.accept() as worker:
                    server = self.server()
                    worker.send(str(server) if isinstance(server, ServerError) else {"server": server.to_json()})
            except OSError:
                return  # closed: the run is over

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._stack.close()


class AskingWorker:
    """A worker's end: asks once."""

    def __init__(self, address: str, word: bytes) -> None:
        self._address, self._word = address, word
        self._told: Server | ServerError | None = None

    def server(self) -> Server | ServerError:
        if self._told is None:
            with Client(self._address, authkey=self._word) as owner:
                answer = owner.recv()
            self._told = ServerError(answer) if isinstance(answer, str) else Server.from_json(answer["server"])
        return self._told

    def close(self) -> None:
        """The owner ends it."""


_SERVERS = pytest.StashKey[ServerOwner | AskingWorker]()


def pytest_configure(config: pytest.Config) -> None:
    told = getattr(config, "workerinput", {}).get("server")
    servers = AskingWorker(*told) if told else ServerOwner()
    config.stash[_SERVERS] = servers
    config.add_cleanup(servers.close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    owner = node.config.stash[_SERVERS]  # type: ignore[attr-defined]
    node.workerinput["server"] = owner.address()  # type: ignore[attr-defined]


def pytest_report_header() -> str:
    try:
        spec, asked_by = settled("auto")
    except ServerError as error:
        return f"server: {error}"
    return f"server: {spec} ({asked_by}), started by the first test that needs it"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    started = getattr(config.stash[_SERVERS], "started", None)
    if isinstance(started, Server):
        terminalreporter.write_line(f"server: {started.describe()}")


@pytest.fixture(scope="session")
def shared_server(request: pytest.FixtureRequest) -> Server | ServerError:
    return request.config.stash[_SERVERS].server()
