"""How soon a broken strategy fails in drawn contests, and how small that becomes: writes docs/shrinking.md.

A table between marks; the rest of the page is written by hand. Every kind that a strategy is declared to show at READ
COMMITTED is sought in the first cell for which it is declared, from random starts until ten have found it.
"""

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from harness.campaign.campaign import cells_of
from harness.model.cell import Isolation
from harness.model.verdict import Verdict
from harness.scenario.discovery import find
from harness.scenario.expectations import expected
from harness.servers.choose import running
from harness.servers.server import Server
from tests.quality.shrinking import Laboratory, Start, laboratories

from .report import put
from .workload import pin

PAGE = Path(__file__).parents[2] / "docs" / "shrinking.md"
BEGIN, END = "<!-- made by python -m tests.bench.shrinking: begin -->", "<!-- end -->"
STARTS, SEEDS_MAX, EXAMPLES = 10, 30, 300
HOPELESS = 3  # random starts that have not shown it: it is not what drawn contests show first
HEAD = """\
| cell | kind | starts | trials | s | before | after | s | same |
|---|---|---:|---:|---:|---|---|---:|---:|"""


def broken(server: Server) -> Iterator[tuple[str, str]]:
    """Cell and kind."""
    for scenario in find(None):
        for strategy in scenario.strategies:
            told: set[str] = set()
            for cell in cells_of(scenario, [server.id]):
                if cell.strategy != strategy.name or cell.isolation is not Isolation.READ_COMMITTED:
                    continue
                rule = expected(strategy, cell)
                if rule.verdict is Verdict.UNSAFE:
                    yield from ((cell.id, kind) for kind in sorted(rule.kinds - told))
                    told |= rule.kinds


@dataclass(frozen=True, slots=True)
class Line:
    """Of the table, with what each start took to shrink, and what most of them came to."""

    cell: str
    kind: str
    figures: str
    seconds: tuple[float, ...] = ()
    witness: str = ""

    def __str__(self) -> str:
        return f"| {self.cell} | {self.kind} | {self.figures} |"


def lines_of(laboratory: Laboratory, cell: str, name: str) -> Iterator[Line]:
    """A race is one fault, what fails alone another. Gates are closed where switches between statements show none."""
    kinds, tried = _by_kind(laboratory, name)
    if not kinds:
        laboratory.close_gates()
        kinds, tried = _by_kind(laboratory, name)
    short = cell.replace(",read_committed", "").rpartition(",")[0] + "]"
    if not kinds:
        yield Line(short, name, f"0 of {tried} | | | | | |")
    for kind, starts in kinds.items():
        seconds = tuple(start.shrunk_s for start in starts)
        ((contest, steps), same) = Counter((str(start.contest), start.steps) for start in starts).most_common(1)[0]
        figures = (
            f"{len(starts)} of {tried}",
            f"{median(start.drawn for start in starts):.0f}",
            f"{median(start.found_s for start in starts):.2f}",
            "/".join(f"{median(start.before[part] for start in starts):.0f}" for part in range(3)),
            "/".join(f"{median(start.after[part] for start in starts):.0f}" for part in range(3)),
            f"{median(seconds):.2f}",
            f"{same}",
        )
        order = " ".join(f"s{session + 1}" for session in steps)
        yield Line(short, kind, " | ".join(figures), seconds, f"`{short}` {kind}: {contest}; in the order {order}")


def _by_kind(laboratory: Laboratory, name: str) -> tuple[dict[str, list[Start]], int]:
    """Starts that showed it, and how many were tried."""
    kinds: dict[str, list[Start]] = {}
    for tried in range(1, SEEDS_MAX + 1):
        start = next((start for start in laboratory.starts(tried, EXAMPLES) if start.name == name), None)
        if start is not None:
            kinds.setdefault(start.kind, []).append(start)
        if any(len(starts) == STARTS for starts in kinds.values()) or (tried == HOPELESS and not kinds):
            break
    return kinds, tried


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.shrinking", description=__doc__)
    parser.add_argument("--server", default="embedded:18", help="as for harness explore")
    parser.add_argument("only", nargs="*", help="cells whose id contains one of these; the page is then left alone")
    arguments = parser.parse_args()
    cpu = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    began = perf_counter()
    lines: list[Line] = []
    with running(arguments.server) as server:
        pin(cpu)
        for cell, kind in broken(server):
            if arguments.only and not any(word in cell for word in arguments.only):
                continue
            with laboratories(cpu) as arenas:
                for line in lines_of(Laboratory(arenas, server, cell), cell, kind):
                    print(line, line.witness, sep="\n  ", flush=True)
                    lines.append(line)
    seconds = [took for line in lines for took in line.seconds]
    summary = f"{len(seconds)} starts; to shrink one takes {median(seconds):.2f} s in the median."
    if not arguments.only:
        table = (HEAD, *map(str, lines), "", summary, "", "What they come to:", "")
        witnesses = (f"- {line.witness}" for line in lines if line.witness)
        PAGE.write_text(put(PAGE.read_text(), "\n".join((*table, *witnesses)), BEGIN, END))
    print(f"\n{summary} took {perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
