"""How many schedules until the first finding, for each scheduler and broken strategy: writes docs/schedulers.md.

A table between marks; the rest of the page is written by hand. Schedules are counted, not seconds, so that the figures
are the same everywhere.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from time import perf_counter

from harness.campaign.campaign import Options, select
from harness.campaign.cell import CellExplorer, Limits, _Tally
from harness.campaign.job import Arenas, explorers_for
from harness.campaign.judge import Judge
from harness.campaign.search import NONDETERMINISM, SCHEDULERS, Search
from harness.generators.contests import contests
from harness.model.cell import Cell, Isolation
from harness.model.contest import Call, Contest
from harness.model.schedule import Fault, Gates
from harness.model.verdict import Finding, Violation
from harness.runners.explorer import Explorer, Trial, queries_of
from harness.runners.virtual import virtual
from harness.servers.choose import running
from harness.servers.databases import own_database
from harness.servers.server import Server
from harness.sessions.arena import Arena
from harness.sessions.steering import Steering

from .needles import needles
from .report import put
from .workload import pin

PAGE = Path(__file__).parents[2] / "docs" / "schedulers.md"
BEGIN, END = "<!-- made by python -m tests.bench.schedulers: begin -->", "<!-- end -->"
SEEDS, CAP = 20, 1_000
SAMPLERS = ("pct", "pos", "uniform", "random")  # the others come to the same every time
SHOWN = tuple(name for name in SCHEDULERS if name != NONDETERMINISM)


@dataclass(frozen=True, slots=True)
class Needle:
    title: str
    operations: tuple[str, ...]  # one a session


NEEDLES = (
    Needle("read-modify-write amid eight others, twice the same", ("middle", "middle")),
    Needle("read-modify-write before eight others, and after", ("early", "late")),
    Needle("three sessions in a ring", ("a_to_b", "b_to_c", "c_to_a")),
    Needle("two preemptions: seen between up and down", ("looks_twice", "up_and_down")),
)
INCIDENTS = (
    "purchases::ShippedFix[none,new,read_committed]",
    "oauth_installations::shipped_fix[partial,new,read_committed]",
    "platform_connections::shipped_fix[partial,new,read_committed]",
    "qbo_tokens::shipped_fix[full,active,read_committed]",
)


class _Found(Exception):
    """What was found would be confirmed now; that it stands is known."""


class _Finds(Judge):
    def finding(self, contest: Contest, trial: Trial, violation: Violation, fault: Fault | None) -> Finding:
        raise _Found


class Counting(CellExplorer):
    """Counts the trials of a contest up to its first violation."""

    trials = 0

    def _takes_one(self, search: Search) -> None:
        super()._takes_one(search)
        self.trials += 1

    def count(self, contest: Contest, gated: bool, scheduler: str, seed: int) -> int | None:
        """None: not found, and either all was run or as much as is allowed."""
        self.limits = Limits(CAP, scheduler=scheduler, seed=seed)
        self.tally, self.trials = _Tally(), 0
        try:
            self._interleaved(contest, gated)
        except _Found:
            return self.trials
        return None


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    contest: Contest
    explorer: Counting
    gated: bool

    def median(self, scheduler: str) -> int | None:
        """Of the seeds, or None where most of them do not find it."""
        seeds = range(SEEDS if scheduler in SAMPLERS else 1)
        counts: list[int] = []
        missed = 0
        for seed in seeds:
            count = self.explorer.count(self.contest, self.gated, scheduler, seed)
            missed += count is None
            counts.append(CAP + 1 if count is None else count)
            if missed > len(seeds) // 2:
                return None
        middle = median_low(counts)
        return None if middle > CAP else middle


@contextmanager
def rows(server: Server, cpu: int | None) -> Iterator[Iterator[Row]]:
    with ExitStack() as stack, virtual():
        yield _rows(server, cpu, stack)


def _rows(server: Server, cpu: int | None, stack: ExitStack) -> Iterator[Row]:
    arenas = Arenas(cpu)
    stack.callback(arenas.close)
    for name in INCIDENTS:
        yield _incident(server, arenas, name)
    steering = Steering(server.wake_order)
    database = stack.enter_context(own_database(server, label="needles"))
    arena = Arena(server, database, [needles.tables], queries=queries_of(needles)[0], cpu=cpu)
    stack.callback(arena.close)
    bodies = needles.specification()
    explorer = Explorer(arena, needles, lambda count: (bodies,) * count, Isolation.READ_COMMITTED, steering)
    cell = Cell("needles", "as_written", "none", "zero", Isolation.READ_COMMITTED, server.id)
    for needle in NEEDLES:
        contest = Contest("zero", tuple((Call(name, (("key", "x"),)),) for name in needle.operations), "same key")
        judge = Counting(_Finds(cell, explorer, explorer, frozenset(), ""), Limits(), gates=False)
        yield Row(needle.title, contest, judge, judge._alone([contest]))


def _incident(server: Server, arenas: Arenas, name: str) -> Row:
    """The first contest of the cell in which something is found that is not found alone."""
    ((selection, cell),) = [(s, cell) for s in select([name], Options(), [server.id]) for cell in s.cells]
    scenario = selection.scenario
    strategy = next(s for s in scenario.strategies if s.name == cell.strategy)
    explorer, specification = explorers_for(arenas, server, scenario, strategy, cell, gates=Gates.USUAL)
    retryable = frozenset(strategy.retryable_at(cell.isolation))
    judge = Counting(_Finds(cell, explorer, specification, retryable, ""), Limits())
    for contest in contests(scenario, strategy, cell.state):
        gated = judge._alone([contest])
        if contest not in judge._settled and judge.count(contest, gated, "exhaustive", 0):
            return Row(f"`{name.partition('[')[0]}`", contest, judge, gated)
    raise LookupError(f"{name}: nothing is found in any of its contests")


def table(measured: Sequence[tuple[str, Sequence[int | None]]]) -> str:
    lines = [f"| | {' | '.join(SHOWN)} |", f"|---|{'---:|' * len(SHOWN)}"]
    for title, counts in measured:
        lines.append(f"| {title} | {' | '.join('-' if c is None else f'{c:,}' for c in counts)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.schedulers", description=__doc__)
    parser.add_argument("--server", default="embedded:18", help="as for harness explore")
    arguments = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cpu = cpus[-1] if cpus else None
    began = perf_counter()
    measured = []
    with running(arguments.server) as server:
        pin(cpu)
        print(f"{'schedules to the first finding':<56}" + "".join(f"{name:>12}" for name in SHOWN))
        with rows(server, cpu) as every_row:
            for row in every_row:
                counts = [row.median(name) for name in SHOWN]
                measured.append((row.title, counts))
                shown = "".join(f"{'-' if c is None else c:>12}" for c in counts)
                print(f"{row.title:<56}{shown}", flush=True)
    PAGE.write_text(put(PAGE.read_text(), table(measured), BEGIN, END))
    print(f"\ntook {perf_counter() - began:.0f} s; see {PAGE}")


if __name__ == "__main__":
    main()
