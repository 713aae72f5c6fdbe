"""One PostgreSQL for a test run, started by the first cell that needs it, also when several processes run tests."""

import secrets
import threading
from contextlib import ExitStack
from multiprocessing.connection import Client, Listener
from typing import TYPE_CHECKING, Any

# The owner is there in every run with xdist, also where nobody will ask: what is heavy is imported when somebody does.
if TYPE_CHECKING:
    from harness.servers.server import Server, ServerError


class ServerOwner:
    """Starts the server when it is first wanted, and remembers why there is none."""

    def __init__(self, spec: str) -> None:
        self._spec = spec
        self._stack = ExitStack()
        self._id: str | ServerError | None = None
        self._started: Server | ServerError | None = None
        self._lock = threading.Lock()
        self._listener: Listener | None = None

    @property
    def started(self) -> "Server | ServerError | None":
        return self._started

    def id(self) -> "str | ServerError":
        """The id that stands in the names of cells, told without starting the server; one for all processes."""
        from harness.servers.choose import foreseen_id
        from harness.servers.server import ServerError

        with self._lock:
            if self._id is None:
                try:
                    self._id = foreseen_id(self._spec)
                except ServerError as error:
                    self._id = error
            return self._id

    def server(self) -> "Server | ServerError":
        from harness.servers.choose import running
        from harness.servers.server import ServerError

        with self._lock:
            if self._started is None:
                try:
                    self._started = self._stack.enter_context(running(self._spec))
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
                    worker.send(self.id() if worker.recv() == "id" else self.server())
            except (EOFError, OSError):
                return  # closed: the run is over

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._stack.close()


class ServerAsker:
    """A worker's end: asks once. The password travels here, and in no option that somebody might print."""

    def __init__(self, address: str, word: bytes) -> None:
        self._address, self._word = address, word
        self._told: Server | ServerError | None = None

    def id(self) -> "str | ServerError":
        told: str | ServerError = self._ask("id")
        return told

    def server(self) -> "Server | ServerError":
        if self._told is None:
            self._told = self._ask("server")
        return self._told

    def _ask(self, what: str) -> Any:
        with Client(self._address, authkey=self._word) as owner:
            owner.send(what)
            return owner.recv()

    def close(self) -> None:
        """The owner ends it."""
