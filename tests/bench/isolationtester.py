"""The peer: PostgreSQL's own isolationtester, given the feasible orders as its list of permutations."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import psycopg

from harness.servers.server import Server

from .workload import INSERT, LOOK, TABLE, UNIQUE, Steps

BINARIES = "/usr/lib/postgresql/15/bin"
_TOOL = Path("/usr/lib/postgresql/15/lib/pgxs/src/test/isolation/isolationtester")
_STEPS = {"SELECT": "look", "INSERT": "insert", "COMMIT": "end", "ROLLBACK": "end"}


def missing() -> str | None:
    """Why it cannot be compared with, if it cannot."""
    if not _TOOL.exists():
        return "isolationtester is not installed"
    if not Path(BINARIES, "postgres").exists():
        return "postgresql-15 is not installed"
    return None


class Tester:
    """Times specs over one database; its backends are where the postmaster is pinned."""

    def __init__(self, server: Server, database: str) -> None:
        self._dsn = server.dsn(database)

    def ms(self, orders: Sequence[Steps], *, unique: bool, creates: bool, short: int, long: int) -> float:
        """A permutation, from two run lengths (times each order is run): what a process costs falls out."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS bench")
            connection.execute("VACUUM")  # of the catalogue: no autovacuum is on, and CREATE leaves dead rows there
            if not creates:
                connection.execute(TABLE)
                if unique:
                    connection.execute(UNIQUE)
        seconds = [self._run(spec(orders, count, unique=unique, creates=creates)) for count in (short, long)]
        return 1000 * (seconds[1] - seconds[0]) / ((long - short) * len(orders))

    def _run(self, text: str) -> float:
        began = perf_counter()
        ran = subprocess.run(
            [_TOOL, self._dsn], input=text, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        seconds = perf_counter() - began
        if ran.returncode != 0:
            raise RuntimeError(f"isolationtester: {ran.stderr.strip()}")
        return seconds


def spec(orders: Sequence[Steps], times: int, *, unique: bool, creates: bool) -> str:
    if creates:
        lines = [f"setup {{ {TABLE}; }}", *([f"setup {{ {UNIQUE}; }}"] if unique else [])]
        lines.append("teardown { SELECT * FROM bench; DROP TABLE bench; }")
    else:
        lines = ["setup { DELETE FROM bench; }", "teardown { SELECT * FROM bench; }"]
    for n in (1, 2):
        lines += [
            f"session s{n}",
            "setup { BEGIN; }",
            f"step look{n} {{ {LOOK % 1}; }}",
            f"step insert{n} {{ {INSERT % (1, n)}; }}",
            f"step end{n} {{ COMMIT; }}",  # of a failed transaction it is a ROLLBACK
        ]
    permutations = ["permutation " + " ".join(f"{_STEPS[s.verb]}{s.session + 1}" for s in order) for order in orders]
    return "\n".join(lines + permutations * times) + "\n"
