"""The tools that exports are for, and what their own output says: whether the anomaly is to be seen in it."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from harness.campaign.record import Check, Recorded
from harness.servers import embedded
from harness.servers.server import Server, major_of

TIMEOUT_S = 120


def wheel_tool(server: Server, *path: str) -> Path | None:
    """Of the server's major version, where the wheel has it."""
    folder, major = embedded.wheel(), str(major_of(server.version_num))
    if folder is None or major not in embedded.WHEEL_MAJORS:
        return None
    tool = folder.joinpath(embedded.WHEEL_MAJORS[major], *path)
    return tool if tool.exists() else None


def isolationtester(server: Server) -> Path | None:
    return wheel_tool(server, "lib", "postgresql", "pgxs", "src", "test", "isolation", "isolationtester")


def psql(server: Server) -> Path | None:
    return wheel_tool(server, "bin", "psql")


def run_spec(text: str, server: Server, database: str) -> str:
    """What isolationtester prints."""
    tool = isolationtester(server)
    assert tool is not None
    ran = subprocess.run([tool, server.dsn(database)], input=text, text=True, capture_output=True, timeout=TIMEOUT_S)
    assert ran.returncode == 0, f"isolationtester: {ran.stderr}\n{ran.stdout}"
    return ran.stdout + ran.stderr


def run_script(text: str, server: Server) -> subprocess.CompletedProcess[str]:
    """A bash script, run on the server by its psql."""
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    address = {names[name]: value for name, value in server.conninfo if name in names}
    environment = {**os.environ, **address, "PSQL": str(psql(server) or "psql"), "PGDATABASE": "postgres"}
    return subprocess.run(
        ["bash", "-s"], input=text, env=environment, text=True, capture_output=True, timeout=TIMEOUT_S
    )


class Terminal:
    """A psql that somebody pastes into."""

    def __init__(self, server: Server, database: str) -> None:
        command = [str(psql(server) or "psql"), "-XA", server.dsn(database)]
        self._psql = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def paste(self, text: str) -> str:
        """What is then to be seen, up to the next prompt."""
        assert self._psql.stdin is not None
        assert self._psql.stdout is not None
        self._psql.stdin.write(f"{text}\n\\warn at the prompt\n")
        self._psql.stdin.flush()
        return "".join(iter(self._psql.stdout.readline, "at the prompt\n"))

    def close(self) -> None:
        self._psql.communicate()


def paste(script: str, server: Server, database: str) -> str:
    """Every part of a script for terminals, pasted into the terminal it names; none of its steps may wait."""
    parts = re.split(
        r"^-- (?:before, in|\d+\.) (\w+)\b.*$|^-- the check, in any (terminal) -+$", script, flags=re.MULTILINE
    )
    terminals: dict[str, Terminal] = {}
    seen = ""
    for step, check, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        name = step or check
        if name not in terminals:
            terminals[name] = Terminal(server, database)
        seen += terminals[name].paste(text)
    for terminal in terminals.values():
        terminal.close()
    return seen


def run_pytest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """All tests of the folder, as its owner would run them."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *words, str(folder)]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=1800)


def missing_in(output: str, recorded: Recorded) -> list[str]:
    """What ought to be seen in the output of isolationtester and is not: errors, and rows at the end."""
    missing = []
    errors = Counter(c.result.message for c in recorded.script.commands if c.result.sqlstate and c.fault is None)
    for message, count in errors.items():
        seen = len(re.findall(rf"^ERROR:  {re.escape(message)}", output, re.MULTILINE))
        if seen < count:
            missing.append(f"{count} x {message}, found {seen}")
    for number, check in enumerate(recorded.checks, 1):
        rows = rows_of_step(output, f"check{number}")
        if not agrees(check, rows):
            missing.append(f"{check.about}: expected {check.rows}, found {rows}")
    return missing


def agrees(check: Check, rows: list[tuple[str, ...]]) -> bool:
    if not check.columns:
        return bool(rows)
    expected = [tuple("" if value is None else str(value) for value in row) for row in check.rows]
    return sorted(expected) == sorted(rows)


def rows_of_step(output: str, step: str) -> list[tuple[str, ...]]:
    """The rows that isolationtester prints below a step; NULL is empty there."""
    _, _, below = output.partition(f"\nstep {step}: ")
    table = re.search(r"^[-+]+\n(.*?)^\(\d+ rows?\)$", below, re.MULTILINE | re.DOTALL)
    if table is None:
        return []
    return [tuple(cell.strip() for cell in line.split("|")) for line in table[1].splitlines()]
