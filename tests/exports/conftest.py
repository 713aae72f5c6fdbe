"""Findings to export: of small races, explored once for all tests of a process."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from harness.campaign.judge import choices_of
from harness.campaign.record import Recorded, record
from harness.campaign.replay import opened
from harness.model.schedule import Gates, Schedule
from harness.runners.recorder import Recorder
from harness.schedulers.random_walk import RandomWalk
from harness.servers.server import Server
from tests.campaign.exploring import explored

HERE = Path(__file__).parent
RACES = str(HERE / "races.py")

Found = Callable[[str], Recorded]


@pytest.fixture(scope="session")
def schedule(server: Server) -> Callable[[str], Schedule]:
    """The worst finding of a cell: `races::look_first[none,new]`."""

    @cache
    def worst(cell: str) -> Schedule:
        scenario, _, rest = cell.partition("::")
        return explored(server, f"{HERE / scenario}.py::{rest}", overlaps=0, orders_max=60).findings[0].schedule

    return worst


@pytest.fixture(scope="session")
def found(server: Server, schedule: Callable[[str], Schedule]) -> Found:
    """The same, recorded."""

    @cache
    def recorded(cell: str) -> Recorded:
        return record(schedule(cell), server, source=str(HERE / f"{cell.partition('::')[0]}.py"))

    return recorded


def some_trial(server: Server, schedule: Schedule, seed: int = 1) -> Recorded:
    """Of a schedule's cell, contest, gates and fault: a trial in which a random walk chooses, recorded.

    Raises Uncontrolled where it cannot be steered.
    """
    with opened(schedule, server, source=RACES) as judge:
        arena, recorder = judge.explorer.arena, Recorder()
        arena.gated, judge.explorer.aged = bool(schedule.gates), schedule.aged
        walk = RandomWalk(seed, 1)
        trial = judge.explorer.run(schedule.contest, walk, recorder=recorder, truncate=True, fault=schedule.fault)
    return record(replace(schedule, choices=choices_of(trial, recorder)), server, source=RACES)


@pytest.fixture(scope="session")
def twin(server: Server, schedule: Callable[[str], Schedule]) -> Callable[[str, str], Recorded]:
    """Of a finding's contest, a trial of another strategy in which sessions overlap somehow."""

    def recorded(cell: str, strategy: str) -> Recorded:
        broken = schedule(cell)
        return some_trial(server, replace(broken, cell=replace(broken.cell, strategy=strategy), gates=Gates.NONE))

    return recorded
