"""The ten strategies by two to four sessions, every schedule twice: nothing uncontrolled is left.

Random orders of each, the same ones always: uniform walks, so that sessions wait, wake and deadlock in many ways.
"""

from collections.abc import Callable
from itertools import product

import psycopg
import pytest

from harness.runners.trial import run_trial
from harness.schedulers.double_run import Differs, DoubleRun
from harness.schedulers.uniform_walk import UniformWalk
from harness.servers.server import Server
from harness.sessions.arena import Arena
from harness.sessions.session import Operation, Session
from harness.sessions.steering import Steering
from tests.ground_truth.strategies import FINAL, LAYOUTS, STARTS
from tests.ground_truth.test_truth import ISOLATION
from tests.ground_truth.twins import TWINS

MakeArena = Callable[..., Arena]
SCHEDULES = 8  # of each of 120 cells, for each number of sessions


def as_written(arena: Arena, index: int, strategy: int, told: dict[int, object]) -> Operation:
    def operation(session: Session) -> None:
        try:
            told[index] = TWINS[strategy](arena.lend(session), 1, "abcd"[index])
        except psycopg.Error as error:
            told[index] = error.sqlstate

    return operation


def run_twice(made: Arena, strategy: int, level: str, sessions: int, schedules: int) -> tuple[int, int]:
    """How many schedules did the same twice, and how often somebody waited in them. Raises Differs."""
    twice, waits = DoubleRun(UniformWalk(sessions, schedules)), 0
    while twice.new_trial():
        told: dict[int, object] = {}
        programs = [[as_written(made, index, strategy, told)] for index in range(sessions)]
        ran = run_trial(made, programs, twice, ISOLATION[level], Steering())
        ended = ran.ended
        twice.compare({
            "choices": ended.choices, "waits": ended.waits, "hang": ended.hang, "spans": ended.spans,
            "answers": dict(sorted(told.items())), "rows": ran.reading.queries[0][0][0],
        })  # fmt: skip
        waits += ended.waits
    return twice.compared, waits


@pytest.mark.parametrize("sessions", [2, 3, 4])
@pytest.mark.parametrize("start", list(STARTS))
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_every_schedule_does_the_same_twice(
    arena: MakeArena, server: Server, layout: str, start: str, sessions: int
) -> None:
    if sessions > 2 and server.wake_order != "signal":
        pytest.skip(f"backends of the {server.provider} server cannot be stopped by signals from here")
    made = arena(LAYOUTS[layout], STARTS[start], queries=[FINAL])
    waited = 0
    for strategy, level in product(TWINS, ISOLATION):
        if strategy == 10 and server.version_num < 150_000:
            continue  # MERGE came with 15
        compared, waits = run_twice(made, strategy, level, sessions, SCHEDULES)
        assert compared == SCHEDULES
        waited += waits
    assert waited > len(TWINS), "hardly anybody met anybody"


def test_a_program_that_remembers_its_last_run_is_found_out(arena: MakeArena) -> None:
    made = arena(LAYOUTS["N"], queries=[FINAL])
    runs = 0

    def remembers(session: Session) -> None:
        nonlocal runs
        runs += 1
        made.lend(session).execute(f"INSERT INTO t (k, n) VALUES (1, {runs})")

    twice = DoubleRun(UniformWalk(0, 1))
    with pytest.raises(Differs, match="rows: first 1,L, then 2,L"):
        while twice.new_trial():
            ran = run_trial(made, [[remembers]], twice, ISOLATION["RC"], Steering())
            twice.compare({"rows": ran.reading.queries[0][0][0]})
