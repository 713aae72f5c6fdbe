"""Somebody else's server: what is checked before use, which poolers are refused, and what is left as it was."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from harness.servers import dsn
from harness.servers.choose import running
from harness.servers.databases import MARK, own_database
from harness.servers.server import Server, ServerError

PASSWORD = "s3cr3t/&?"


def address(server: Server, user: str, database: str = "postgres") -> str:
    host = quote(dict(server.conninfo)["host"], safe="")
    return f"postgresql://{user}:{quote(PASSWORD, safe='')}@{host}:5432/{database}"


@pytest.fixture
def role(embedded_server: Server) -> Iterator[str]:
    with psycopg.connect(embedded_server.dsn(), autocommit=True) as connection:
        connection.execute('CREATE ROLE "app Role" LOGIN CREATEDB')
        yield "app Role"
        connection.execute('DROP ROLE "app Role"')


def check_refused(spec: str, *parts: str) -> None:
    with pytest.raises(ServerError) as refused, running(spec):
        pass
    for part in parts:
        assert part in str(refused.value)
    assert PASSWORD not in str(refused.value)
    assert quote(PASSWORD, safe="") not in str(refused.value)


@pytest.mark.server
def test_a_role_that_may_create_databases_is_enough(embedded_server: Server, role: str) -> None:
    with running(address(embedded_server, quote(role))) as server:
        assert (server.provider, server.id, server.superuser, server.local) == ("dsn", "pg18", False, False)
        assert (server.wake_order, server.durability, server.maintenance_database) == (
            "dropped",
            "default",
            "postgres",
        )
        with own_database(server) as name, psycopg.connect(server.dsn(name)) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (role,)
        assert PASSWORD not in repr(server) + server.describe()


@pytest.mark.server
def test_a_role_without_createdb_is_told_what_to_paste(embedded_server: Server, role: str) -> None:
    with psycopg.connect(embedded_server.dsn(), autocommit=True) as connection:
        connection.execute(f'ALTER ROLE "{role}" NOCREATEDB')
        check_refused(
            address(embedded_server, quote(role)), "may not create databases", f'ALTER ROLE "{role}" CREATEDB'
        )


@pytest.mark.server
def test_what_dead_runs_left_is_swept_at_the_start(embedded_server: Server, role: str) -> None:
    with psycopg.connect(embedded_server.dsn(), autocommit=True) as connection:
        mark = MARK.format(lock=5, database="postgres")
        for name, owner in (("harness_mine", role), ("harness_theirs", "postgres")):
            connection.execute(f'CREATE DATABASE {name} OWNER "{owner}"')
            connection.execute(f"COMMENT ON DATABASE {name} IS '{mark}'")
        with running(address(embedded_server, quote(role))):
            left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'harness%'").fetchall()
        connection.execute("DROP DATABASE harness_theirs")
        assert left == [("harness_theirs",)]


@pytest.mark.server
def test_a_server_that_does_not_let_us_in_is_named_without_the_password(embedded_server: Server) -> None:
    check_refused(address(embedded_server, "nobody_known"), "cannot use postgresql://nobody_known@", "does not exist")


def test_a_server_that_is_not_there_is_named_without_the_password(tmp_path: Path) -> None:
    check_refused(
        f"postgresql://app:{quote(PASSWORD, safe='')}@{quote(str(tmp_path), safe='')}/shop",
        "cannot use postgresql://app@",
        "/shop",
        "check host, port, user and password with psql",
    )


def test_messages_are_scrubbed_in_both_spellings() -> None:
    spec = f"postgresql://app:{quote(PASSWORD, safe='')}@db/shop"
    said = f'FATAL: no entry for "{PASSWORD}"\n\tor {quote(PASSWORD, safe="")}'
    assert dsn.scrubbed(said, spec) == 'FATAL: no entry for "..." or ...'


# Poolers -------------------------------------------------------------------------------------------------------------


class Pooler:
    """As much of a connection pooler as a client can tell: it answers the greeting itself, then lends out backends."""

    def __init__(self, server: Server, *, mode: str, size: int) -> None:
        self.server, self.mode, self.size = server, mode, size
        self.free: list[socket.socket] = []
        self.made = 0
        self.greeting = b""
        self.condition = threading.Condition()
        self.sockets: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.sockets.append(client)
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def borrow(self) -> socket.socket:
        with self.condition:
            if not self.free and self.made < self.size:
                self.made += 1
                backend = socket.socket(socket.AF_UNIX)
                backend.connect(dict(self.server.conninfo)["host"] + "/.s.PGSQL.5432")
                self.sockets.append(backend)
                body = struct.pack("!I", 196608) + b"user\0postgres\0database\0postgres\0\0"
                backend.sendall(struct.pack("!I", len(body) + 4) + body)
                greeting = self.until_ready(backend)
                at = greeting.index(b"K\x00\x00\x00\x0c")
                self.greeting = greeting[: at + 5] + struct.pack("!I", 1) + greeting[at + 9 :]
                self.free.append(backend)
            while not self.free:
                self.condition.wait()
            return self.free.pop(0)

    def give_back(self, backend: socket.socket) -> None:
        with self.condition:
            self.free.append(backend)
            self.condition.notify()

    @staticmethod
    def exactly(source: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = source.recv(count - len(data))
            if not chunk:
                raise ConnectionError
            data += chunk
        return data

    def message(self, source: socket.socket) -> bytes:
        head = self.exactly(source, 5)
        return head + self.exactly(source, struct.unpack("!I", head[1:])[0] - 4)

    def until_ready(self, backend: socket.socket) -> bytes:
        data = b""
        while data[-6:-1] != b"Z\x00\x00\x00\x05":
            data += self.message(backend)
        return data

    def serve(self, client: socket.socket) -> None:
        backend: socket.socket | None = None
        with contextlib.suppress(OSError):
            while True:  # the greeting, perhaps after questions about encryption
                body = self.exactly(client, struct.unpack("!I", self.exactly(client, 4))[0] - 4)
                if struct.unpack("!I", body[:4])[0] == 196608:
                    break
                client.sendall(b"N")
            backend = self.borrow()
            client.sendall(self.greeting)
            if self.mode == "transaction":
                self.give_back(backend)
                backend = None
            while (said := self.message(client))[:1] != b"X":
                backend = backend or self.borrow()
                backend.sendall(said)
                if said[:1] in b"QS":
                    answer = self.until_ready(backend)
                    if self.mode == "transaction" and answer[-1:] == b"I":
                        self.give_back(backend)
                        backend = None
                    client.sendall(answer)
        if backend is not None:
            self.give_back(backend)


@contextlib.contextmanager
def pooler(server: Server, *, mode: str, size: int) -> Iterator[str]:
    running_one = Pooler(server, mode=mode, size=size)
    try:
        yield f"postgresql://postgres@127.0.0.1:{running_one.port}/postgres"
    finally:
        running_one.close()


@pytest.mark.server
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_transaction_pooler_is_refused_with_the_way_round_it(embedded_server: Server, size: int) -> None:
    with pooler(embedded_server, mode="transaction", size=size) as spec:
        check_refused(spec, "is a transaction pooler", "give the direct address", "5432 instead of 6543")


@pytest.mark.server
def test_a_session_pooler_is_used_and_said(embedded_server: Server) -> None:
    with pooler(embedded_server, mode="session", size=10) as spec, running(spec) as server:
        assert server.chosen_because.endswith(", through a session pooler")
