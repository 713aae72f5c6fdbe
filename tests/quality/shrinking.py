"""Broken strategies from random starts: how soon something large fails, and how small it becomes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from harness.campaign.campaign import Options, select
from harness.campaign.drawing import Drawing, kind_of
from harness.campaign.job import Arenas, explorers_for
from harness.campaign.judge import Judge
from harness.campaign.minimal import Minimiser
from harness.generators.contests import common_key, contests
from harness.generators.drawn import drawn_contests
from harness.model.contest import Contest
from harness.runners.virtual import virtual
from harness.servers.server import Server


@dataclass(frozen=True, slots=True)
class Start:
    """One seed: what failed first, and what was left of it."""

    name: str  # of the violation of the smallest, by all oracles
    kind: str  # the name, and "alone" where it needs no race
    drawn: int  # trials until something failed
    found_s: float
    shrunk_s: float
    before: tuple[int, int, int]  # sessions, calls, steps
    after: tuple[int, int, int]
    contest: Contest
    steps: tuple[int, ...]  # sessions, in the order of their steps


class Laboratory:
    """One cell, to be drawn in again and again."""

    def __init__(self, arenas: Arenas, server: Server, pattern: str) -> None:
        ((scenario, (cell,)),) = [(s.scenario, s.cells) for s in select([pattern], Options(), [server.id])]
        strategy = next(s for s in scenario.strategies if s.name == cell.strategy)
        explorer, specification = explorers_for(arenas, server, scenario, strategy, cell, gates=Options().gates)
        self.judge = Judge(cell, explorer, specification, frozenset(strategy.retryable_at(cell.isolation)), "")
        self.small = contests(scenario, strategy, cell.state)
        self.generator = drawn_contests(scenario, strategy, cell.state)
        for each in (explorer, specification):
            each.begin_again(truncates=True)  # some code sees where rows lie on the heap; a cell tries without first

    def close_gates(self) -> None:
        """From here on sessions are held inside statements, too: a cell does so from the beginning."""
        self.judge.explorer.arena.gated = True

    def starts(self, seed: int, examples: int = 400) -> Iterator[Start]:
        """What is found from this seed, of each kind once."""
        explorer, judge = self.judge.explorer, self.judge
        drawing = Drawing(judge, self.generator, lambda contest: common_key(contest, explorer.scenario))
        began = perf_counter()
        for found in drawing.search(examples, seed):
            least = found.least
            assert least.violation is not None
            minimal = Minimiser(judge, least.violation.name, self.small).smallest(
                least.contest, least.trial.ended.choices
            )
            assert minimal is not None, least.contest
            ended = perf_counter()
            first = found.first
            yield Start(
                minimal.violation.name, kind_of(minimal.violation, minimal.trial),
                found.drawn, found.found_s - began, ended - found.found_s,
                (len(first.contest.sessions), len(first.contest.operations), len(first.trial.order)),
                (len(minimal.contest.sessions), len(minimal.contest.operations), len(minimal.trial.order)),
                minimal.contest, tuple(minimal.trial.order),
            )  # fmt: skip
            began = perf_counter()


@contextmanager
def laboratories(cpu: int | None) -> Iterator[Arenas]:
    arenas = Arenas(cpu)
    try:
        with virtual():
            yield arenas
    finally:
        arenas.close()
