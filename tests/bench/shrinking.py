"""How soon a broken strategy fails in drawn contests, and how small that becomes: writes docs/shrinking.md.

A table between marks; the rest of the page is written by hand. Every kind that a strategy is declared to show at READ
COMMITTED is sought in the first cell for which it is declared, from ten seeds.
"""

import argparse
import os
from collections import Counter
from collections.abc import Iterator
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
SEEDS, EXAMPLES = 10, 300
HEAD = """\
| cell | kind | found | trials | s | before | after | s | same |
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


def row(laboratory: Laboratory, cell: str, kind: str) -> tuple[str, list[float]]:
    """A line of the table, and how long each start took to shrink."""
    starts = [start for seed in range(SEEDS) if (start := _first(laboratory, seed, kind))]
    name = cell.replace(",read_committed", "").rpartition(",")[0] + "]"
    if not starts:
        return f"| {name} | {kind} | 0 | | | | | | |", []
    seconds = [start.shrunk_s for start in starts]
    same = Counter((str(start.contest), start.steps) for start in starts).most_common(1)[0][1]
    before = (median(start.before[part] for start in starts) for part in range(3))
    after = (median(start.after[part] for start in starts) for part in range(3))
    size = "/".join
    return (
        f"| {name} | {kind} | {len(starts)} | {median(s.drawn for s in starts):.0f} "
        f"| {median(s.found_s for s in starts):.2f} | {size(f'{n:.0f}' for n in before)} "
        f"| {size(f'{n:.0f}' for n in after)} | {median(seconds):.2f} | {same} |"
    ), seconds


def _first(laboratory: Laboratory, seed: int, kind: str) -> Start | None:
    return next((start for start in laboratory.starts(seed, EXAMPLES) if start.name == kind), None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.shrinking", description=__doc__)
    parser.add_argument("--server", default="embedded:18", help="as for harness explore")
    parser.add_argument("only", nargs="*", help="cells whose id contains one of these; the page is then left alone")
    arguments = parser.parse_args()
    cpu = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    began = perf_counter()
    lines, seconds = [HEAD], []
    with running(arguments.server) as server:
        pin(cpu)
        for cell, kind in broken(server):
            if arguments.only and not any(word in cell for word in arguments.only):
                continue
            with laboratories(cpu) as arenas:
                line, took = row(Laboratory(arenas, server, cell), cell, kind)
            print(line, flush=True)
            lines.append(line)
            seconds += took
    lines.append(f"\n{len(seconds)} starts; to shrink one takes {median(seconds):.2f} s in the median.")
    if not arguments.only:
        PAGE.write_text(put(PAGE.read_text(), "\n".join(lines), BEGIN, END))
    print(f"\n{lines[-1].strip()} took {perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
