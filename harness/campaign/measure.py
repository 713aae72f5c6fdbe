"""Rounds of cost blocks, as a job for any process: every contestant in turn, each time in another order."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice

from harness.generators.workload import turns, workload
from harness.model.cost import Contestant, Measured, Mix
from harness.runners.cost import Bench, NeverEnds
from harness.scenario.discovery import find
from harness.scenario.language import Scenario
from harness.servers.server import Server

# Prepared by psycopg from the sixth execution on, planned generically by the server from the eleventh: what is measured
# is how an application runs that has been up for a while.
_WARM_UP_CALLS = 12
_WARM_UP = (Mix.NEW, Mix.EXISTING)


@dataclass(frozen=True, slots=True)
class CostJob:
    """Some rounds on one server. Its databases are its own; nothing else is to run on the server meanwhile."""

    server: Server
    path: str  # of the scenario's file: whoever runs the job loads it
    scenario: str
    operation: str
    contestants: tuple[Contestant, ...]
    mixes: tuple[Mix, ...]
    clients: int
    calls: int  # of each client in each block
    first_round: int
    rounds: int
    seed: int
    deadline: float  # time.time(); the last contestants are left out where the rounds of all would take longer


@dataclass(frozen=True, slots=True)
class Measurements:
    blocks: tuple[Measured, ...]
    dropped: tuple[tuple[Contestant, str], ...]  # that could not go on, and why


def measure(job: CostJob) -> Measurements:
    """Run the job's rounds: of each mix a block of every contestant, so that those of a pair are near in time."""
    scenario = next(s for s in find(job.path) if s.name == job.scenario)
    with ExitStack() as stack:
        stack.enter_context(_on_every_cpu())
        with _told_to_end_later():
            benches = {
                layout: stack.enter_context(Bench(job.server, scenario, layout, job.clients))
                for layout in dict.fromkeys(contestant.layout for contestant in job.contestants)
            }
        return _Rounds(job, scenario, benches).run()


class _Rounds:
    def __init__(self, job: CostJob, scenario: Scenario, benches: dict[str, Bench]) -> None:
        self._job, self._scenario, self._benches = job, scenario, benches
        self._strategies = {strategy.name: strategy for strategy in scenario.strategies}
        self._blocks: list[Measured] = []
        self._dropped: dict[Contestant, str] = {}
        self._took_s: dict[Contestant, float] = {}  # of the last block, and all around it

    def run(self) -> Measurements:
        job = self._job
        for mix in _WARM_UP:
            self._pass(-1, mix, job.contestants, _WARM_UP_CALLS, keep=False)
        going = self._that_fit()
        if not going:  # the time was up before anybody was warm
            return Measurements((), tuple(self._dropped.items()))
        orders = islice(turns(going, job.seed), job.first_round, None)  # a job goes on where another ended
        for number in range(job.first_round, job.first_round + job.rounds):
            order = next(orders)
            for mix in job.mixes:
                self._pass(number, mix, order, job.calls)
        return Measurements(tuple(self._blocks), tuple(self._dropped.items()))

    def _that_fit(self) -> list[Contestant]:
        """As many as can run all rounds until the deadline, from the first on: half a round of all tells nothing."""
        job = self._job
        going = [who for who in job.contestants if who in self._took_s and who not in self._dropped]
        for_a_pass_s = (job.deadline - time.time()) / (job.rounds * len(job.mixes) * job.calls / _WARM_UP_CALLS)
        while len(going) > 2 and sum(self._took_s[who] for who in going) > for_a_pass_s:
            going.pop()
        return going

    def _pass(self, number: int, mix: Mix, order: Sequence[Contestant], calls: int, *, keep: bool = True) -> None:
        job = self._job
        # The same calls for all: what one of them costs more is not the draw's doing.
        work = workload(
            self._scenario, job.operation, mix, clients=job.clients, calls=calls, seed=job.seed * 1_000_003 + number
        )
        for contestant in order:
            if contestant in self._dropped or time.time() > job.deadline:
                continue
            bench, strategy = self._benches[contestant.layout], self._strategies[contestant.strategy]
            began = time.monotonic()
            try:
                block = bench.block(strategy, contestant.isolation, job.operation, work)
                self._took_s[contestant] = time.monotonic() - began
            except NeverEnds as never:
                self._dropped[contestant] = str(never)
                continue
            if not block.acknowledged:
                self._dropped[contestant] = f"{', '.join(sorted(block.failed))} on every call"
            elif keep:
                self._blocks.append(Measured(job.server.id, number, contestant, mix, block))


@contextmanager
def _told_to_end_later() -> Iterator[None]:
    """A worker that is given up gets SIGTERM: a database that is made and not yet known as ours would stay for ever."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _on_every_cpu() -> Iterator[None]:
    """A worker of the explorer is pinned to one CPU; clients and backends that run at once want them all."""
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
