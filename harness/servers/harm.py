"""What is done to a server of our own on purpose: it is restarted, or stands still for a while.

Only to one that was started from binaries of this machine for this run: its supervisor is a parent of the postmaster,
its processes are those that work in its data directory. Whoever dies meanwhile leaves nothing behind: the supervisor
lets stopped processes go on before it ends them.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from harness.servers import supervisor
from harness.servers.server import Server, ServerError, one_line

_BACK_WITHIN_S = 60.0
_AGAIN_S = 0.005


def can_be_harmed(server: Server) -> bool:
    """Whether it is ours to restart and to stop."""
    return server.provider in ("embedded", "path") and sys.platform == "linux"


def restart(server: Server, *, immediate: bool) -> None:
    """End it, fast (sessions are told 57P01) or as a crash does, and start it again; returns before it is there.

    Raises ServerError if it is not running.
    """
    os.kill(_supervisor(_postmaster(server)), signal.SIGUSR2 if immediate else signal.SIGUSR1)


def wait_until_back(server: Server, postmaster: int | None = None) -> None:
    """Until it answers; `postmaster`: a pid that is to be gone. Raises ServerError when it stays away."""
    deadline = time.monotonic() + _BACK_WITHIN_S
    while True:
        try:
            if postmaster is None or postmaster_of(server) not in (None, postmaster):
                with psycopg.connect(server.dsn(), connect_timeout=10) as connection:
                    connection.execute("SELECT")
                return
        except psycopg.OperationalError as error:
            why = one_line(error)
        else:
            why = "it has not ended"
        if time.monotonic() > deadline:
            raise ServerError(f"the server is not back within {_BACK_WITHIN_S:.0f} s of its restart: {why}")
        time.sleep(_AGAIN_S)


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """Within the block every process of the server stands still, those that it starts meanwhile excepted."""
    data = _data(server)
    stopped = [_postmaster(server)]
    try:
        os.kill(stopped[0], signal.SIGSTOP)  # first, so that it starts nobody
        for pid in supervisor.processes_in(data, stopped[0]):
            stopped.append(pid)
            supervisor.send(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in stopped:
            supervisor.send(pid, signal.SIGCONT)


def wait_until_gone(count: Callable[[], int], what: str) -> None:
    """Until nobody is counted any more. Raises ServerError."""
    deadline = time.monotonic() + _BACK_WITHIN_S
    while left := count():
        if time.monotonic() > deadline:
            raise ServerError(f"{left} {what} are still there after {_BACK_WITHIN_S:.0f} s")
        time.sleep(_AGAIN_S)


def postmaster_of(server: Server) -> int | None:
    """Its pid; None while there is none."""
    try:
        return int((_data(server) / "postmaster.pid").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return None


def _data(server: Server) -> Path:
    return Path(dict(server.conninfo)["host"]) / "data"


def _postmaster(server: Server) -> int:
    pid = postmaster_of(server)
    if pid is None or not can_be_harmed(server):
        raise ServerError(f"{server.describe()}: expected a running server of our own (--server embedded)")
    return pid


def _supervisor(postmaster: int) -> int:
    # The name of a process may hold anything; after its last parenthesis come its state and its parent.
    return int(Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()[1])
