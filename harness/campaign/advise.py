"""Runs what is told beside a witness, in workers: its variations, and with `repairs` all else that the scenario has."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.campaign.job import Arenas, Task, current_cpu
from harness.campaign.repairs import repair_jobs, repairs
from harness.campaign.variations import Varied, varying
from harness.campaign.workers import Event, Workers
from harness.model.advice import Advice
from harness.model.cell import Cell
from harness.model.schedule import Gates, Schedule
from harness.scenario.language import Scenario
from harness.servers.server import Server


@dataclass(frozen=True, slots=True)
class Shown:
    """A witness that is to be shown, and the scenario it is of."""

    schedule: Schedule
    kind: str  # of its violation, as `expect` names it
    scenario: Scenario

    @property
    def key(self) -> tuple[Cell, str]:
        """No cell has two findings of one kind."""
        return self.schedule.cell, self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be run for each witness, and within which bounds."""

    variations: bool = True
    repairs: bool = False
    gates: Gates = Gates.USUAL
    orders_max: int = 4000  # of the contest, with each other strategy
    workers: int | None = None  # None: one per CPU; 0: in this process
    deadline: float | None = None  # time.time() at which the budget is spent


def advise(
    witnesses: Sequence[Shown], servers: Sequence[Server], wish: Wish, listen: Callable[[str], None] = lambda text: None
) -> Mapping[tuple[Cell, str], Advice]:
    """What was found out, by `Shown.key`; without hints, which need no run.

    Raises ScenarioError, ServerError and WorkerFailed as an exploration does.
    """
    by_id = {server.id: server for server in servers}
    varied: dict[tuple[Cell, str], Varied] = {}
    advice: dict[tuple[Cell, str], Advice] = {}
    with _crew(wish.workers) as run:
        if wish.variations:
            tasks = [varying(one.schedule, one.kind, one.scenario.path, servers, wish.gates) for one in witnesses]
            for event in run(tasks):
                if isinstance(event, Varied):  # else its worker died
                    varied[event.cell, event.kind] = event
                    listen(f"varied: {event.cell.id}")
        for one in witnesses:
            found = None
            if wish.repairs:
                listen(f"other strategies: {one.schedule.cell.id}")
                server = by_id[one.schedule.cell.server]
                jobs = repair_jobs(one.schedule, one.scenario, server, wish.gates, wish.orders_max, wish.deadline)
                found = repairs(one.schedule, one.scenario, run(jobs))
            advice[one.key] = Advice((), varied[one.key].variations if one.key in varied else None, found)
    return advice


@contextmanager
def _crew(count: int | None) -> Iterator[Callable[[Sequence[Task]], Iterator[Event]]]:
    """Who runs tasks: workers that keep their databases from one witness to the next, or this process."""
    if count == 0:
        arenas = Arenas(current_cpu())
        try:
            yield lambda tasks: (event for task in tasks for event in task.run(arenas, by_force=False))
        finally:
            arenas.close()
        return
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    with Workers(count or cpus) as workers:
        yield workers.run
