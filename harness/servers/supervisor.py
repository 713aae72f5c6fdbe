"""Ends what the harness started, also when the harness was killed: a tiny process at the other end of a pipe.

The lower half runs in a process of its own, by path and with the standard library only, so that nothing the harness
does (a hung thread, kill -9, a closed terminal) can keep it from cleaning up. The upper half is the harness's end.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypedDict


class Command(TypedDict):
    argv: Sequence[str]
    user: int | None  # uid and gid to become; None: stay who we are
    group: int | None


class Job(TypedDict):
    controller: int  # the pid whose end is ours
    directory: str | None  # made by the supervisor, so that no moment exists in which it is there and unguarded
    data: str  # the working directory by which the server's processes are known
    user: int | None  # who owns the directory
    group: int | None
    prepare: Sequence[Command]  # run to their end, one after the other
    server: Command | None
    at_end: Sequence[str] | None  # run last; the supervisor's exit status is its


# The harness's end ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Supervised:
    process: "subprocess.Popen[bytes]"
    report: bytes = b""

    def wait_for_report(self, *, until: float) -> str | None:
        """The next line the supervisor writes, or None when there is none by then; "" once it has gone."""
        assert self.process.stdout is not None
        while b"\n" not in self.report:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            chunk = os.read(self.process.stdout.fileno(), 4096)
            if not chunk:
                return ""
            self.report += chunk
        line, _, self.report = self.report.partition(b"\n")
        return line.decode(errors="replace")


@contextlib.contextmanager
def supervised(job: Job) -> Iterator[Supervised]:
    argv = [sys.executable, "-I", "-S", __file__, json.dumps(job)]
    # A session of its own: Ctrl-C in the terminal reaches the harness only, which then comes by here.
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"},
        start_new_session=True,
    )
    owner = os.getpid()
    try:
        yield Supervised(process)
    finally:
        # A forked child that leaves through this frame must not end its parent's server.
        if os.getpid() == owner:
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                os.write(process.stdin.fileno(), b".")  # EOF alone would wait for forked children holding a copy
            process.stdin.close()
            process.stdout.close()
            process.wait()


# The process at the other end --------------------------------------------------------------------------------------


class ControllerGone(Exception):
    """Time to end."""


# What the supervisor is told by a signal: to end its server by another, and to start it again.
RESTARTS = {signal.SIGUSR1: signal.SIGINT, signal.SIGUSR2: signal.SIGQUIT}  # fast, immediate


class Watch:
    """Sleeps until the controller ends, or a child does. No polling: the benchmarks next door want the CPU."""

    def __init__(self, controller: int) -> None:
        self.wakeup, wakeup_in = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(wakeup_in, False)
        signal.set_wakeup_fd(wakeup_in, warn_on_full_buffer=False)
        # Functions, not SIG_IGN: that would be inherited by the server.
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, *RESTARTS):
            signal.signal(number, lambda *_: None)
        # The pipe stays open while a forked child of the controller lives; the process itself is the better sign.
        self.controller: int | None = None
        if sys.platform == "linux":
            try:
                self.controller = os.pidfd_open(controller)
            except ProcessLookupError:
                raise ControllerGone from None
            except OSError:  # a kernel or a sandbox without it: the pipe will do
                pass

    def until_a_child_ends(self, children: "Sequence[subprocess.Popen[bytes]]") -> signal.Signals | None:
        """None once one has ended; how to end it where a restart was asked for before."""
        watched = [0, self.wakeup] + ([] if self.controller is None else [self.controller])
        while all(child.poll() is None for child in children):  # without children: until the controller ends
            ready, _, _ = select.select(watched, [], [])
            if 0 in ready or self.controller in ready:
                raise ControllerGone
            with contextlib.suppress(BlockingIOError):
                for number in os.read(self.wakeup, 4096):  # the signals that came
                    if number in RESTARTS:
                        return RESTARTS[signal.Signals(number)]
        return None


def run(job: Job) -> int:
    directory: Path | None = None  # ours to remove once we have made it
    server: subprocess.Popen[bytes] | None = None
    log: Any = None
    try:
        watch = Watch(job["controller"])
        if job["directory"] is not None:
            Path(job["directory"]).mkdir(mode=0o700)
            directory = Path(job["directory"])
            log = (directory / "log").open("ab")
            if job["user"] is not None and job["group"] is not None:
                os.chown(directory, job["user"], job["group"])
        for command in job["prepare"]:
            server = start(command, log)
            watch.until_a_child_ends([server])
            if server.returncode != 0:
                tell(f"failed {server.returncode} {command['argv'][0]}")
                watch.until_a_child_ends([])
        if job["server"] is not None:
            server = start(job["server"], log)
            tell(f"started {server.pid}")
            while (how := watch.until_a_child_ends([server])) is not None:
                server.send_signal(how)
                while watch.until_a_child_ends([server]) is not None:  # asked again meanwhile: one is enough
                    pass
                server = start(job["server"], log)
            tell(f"ended {server.returncode}")
        watch.until_a_child_ends([])
    except ControllerGone:
        pass
    finally:
        if server is not None:
            end(server, Path(job["data"]))
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
    if job["at_end"] is None:
        return 0
    quiet = subprocess.DEVNULL
    return subprocess.run(job["at_end"], stdin=quiet, stdout=quiet, stderr=quiet).returncode


def start(command: Command, log: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command["argv"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        umask=0o077,
        user=command["user"],
        group=command["group"],
        extra_groups=None if command["user"] is None else [],
    )


def tell(line: str) -> None:
    # The controller may be gone already: the pipe it held says so at the next look.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, line.encode() + b"\n")


def end(server: "subprocess.Popen[bytes]", data: Path) -> None:
    # Sessions may have stopped backends to order their wake-up: a stopped process hears no SIGQUIT.
    for pid in processes_in(data, server.pid):
        send(pid, signal.SIGCONT)
    # Immediate shutdown: the data is thrown away in the next moment. The postmaster takes its backends with it.
    server.send_signal(signal.SIGQUIT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(timeout=8)  # it kills what is stuck after 5 s itself
    deadline = time.monotonic() + 5
    while (left := processes_in(data, server.pid)) and time.monotonic() < deadline:
        for pid in left:
            send(pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=0.01)
    if server.wait() < 0:
        forget_memory(data)


def forget_memory(data: Path) -> None:
    """Removes the one segment of System V memory that a postmaster killed by a signal cannot remove itself."""
    with contextlib.suppress(OSError, IndexError):
        segment = (data / "postmaster.pid").read_text().splitlines()[6].split()[1]
        subprocess.run(["ipcrm", "-m", segment], stdin=subprocess.DEVNULL, capture_output=True)


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def processes_in(data: Path, postmaster: int) -> list[int]:
    """The server's processes: those that work in its data directory; that also finds backends whose postmaster died."""
    if Path("/proc/self/cwd").exists():
        found, folder = [], os.path.realpath(data)  # /dev/shm and the temporary folder may be symbolic links
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if os.readlink(entry / "cwd") == folder:
                        found.append(int(entry.name))
        return found
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return [int(pid) for pid, parent in rows if postmaster in (int(pid), int(parent))]


def main() -> NoReturn:
    sys.exit(run(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
