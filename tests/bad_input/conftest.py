"""The harness as a process of its own: what it says, how it exits, and that nothing of it is left."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.servers.server import Server

ROOT = Path(__file__).parents[2]
MISBEHAVING = ROOT / "tests/bad_input/misbehaving.py"
WITHIN_S = 90.0  # several test runs may share the machine


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str

    def says(self, *patterns: str, code: int) -> None:
        """Each on one line of what was printed, the exit code, and no traceback anywhere."""
        both = self.out + self.err
        for pattern in patterns:
            assert re.search(pattern, both), f"no line like {pattern!r} in:\n{both}"
        assert "Traceback" not in both, both
        assert "internal error" not in both, both
        assert self.code == code, both

    def complains(self, pattern: str, *, code: int) -> None:
        """One message on stderr, that one, of one line; besides what was found before it."""
        self.says(code=code)
        said, *more = (line for line in self.err.splitlines() if not line.startswith("worse than expected: "))
        assert not more, self.err
        assert re.fullmatch(pattern, said), said


class Running:
    """One `harness ...` and every process that descends from it: they inherit a word in their environment."""

    def __init__(
        self, words: tuple[str, ...], cwd: Path, environment: dict[str, str], *, module: str = "harness.cli.main"
    ) -> None:
        self.mark = f"HARNESS_TEST={secrets.token_hex(8)}"
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HARNESS_TRIAL_S": "2", name: value, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.directories: set[Path] = set()

    def processes(self) -> dict[int, str]:
        """pid -> command line, of all that live; takes note of the servers' folders."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                marked = self.mark.encode() in (entry / "environ").read_bytes().split(b"\0")
                # A backend writes its title over its environment; it works in the server's data directory.
                if not marked and (entry / "cwd").readlink().parent not in self.directories:
                    continue
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    continue
            except OSError:
                continue
            found[int(entry.name)] = command
            self.directories |= {
                Path(told) for told in re.findall(r"-D\W+(/\S+?/harness-[0-9a-f]{16})/data\b", command)
            }
        return found

    def wait_for(self, pattern: str) -> int:
        """The pid of a descendant whose command line matches, once there is one."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            for pid, command in self.processes().items():
                if pid != self.process.pid and re.search(pattern, command):
                    return pid
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)
        raise AssertionError(f"no process {pattern!r} within {WITHIN_S} s")

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal sends it: to every process of the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def finish(self) -> Finished:
        self.processes()
        out, err = self.process.communicate(timeout=WITHIN_S)
        return Finished(self.process.returncode, out, err)

    def nothing_is_left(self) -> None:
        deadline = time.monotonic() + WITHIN_S
        while left := self.processes():
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.05)
        assert [path for path in self.directories if path.exists()] == []


Start = Callable[..., Running]
Run = Callable[..., Finished]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.delenv("HARNESS_SERVER", raising=False)
    started: list[Running] = []

    def start_one(*words: object, **environment: str) -> Running:
        started.append(Running(tuple(map(str, words)), tmp_path, environment))
        return started[-1]

    yield start_one
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


@pytest.fixture
def run(start: Start) -> Run:
    """`run("explore", ...)`: to its end, after which nothing of it may be left."""

    def run_one(*words: object, **environment: str) -> Finished:
        one = start(*words, **environment)
        finished = one.finish()
        one.nothing_is_left()
        return finished

    return run_one


@pytest.fixture
def address(server: Server) -> str:
    """The server of this run as a value of --server."""
    return "postgresql://?" + "&".join(f"{name}={value}" for name, value in server.conninfo if value)


def cells(report: Path) -> dict[str, dict[str, object]]:
    """Of a JSON report, by strategy."""
    return {cell["strategy"]: cell for cell in json.loads(report.read_text())["cells"]}
