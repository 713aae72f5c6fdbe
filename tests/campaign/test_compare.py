"""A comparison from its jobs to its result, on an executor that runs nothing: order, budget, stopping and going on."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.compare import AHEAD, CompareOptions, Comparing, Servers
from harness.campaign.costing import ROUNDS_FIRST
from harness.campaign.job import Job, explored
from harness.campaign.kept import InUse, Kept
from harness.campaign.measure import CostJob, Measurements, measure
from harness.campaign.workers import WorkerDied, WorkerExecutor
from harness.model.cell import Isolation
from harness.model.comparison import Judged
from harness.model.cost import COUNTERS, Block, Contestant, Measured, bucket
from harness.model.verdict import CellResult, Coverage, Verdict
from harness.servers.server import Server
from tests.reports.made import SERVER

RC = Isolation.READ_COMMITTED
BOTH = Servers(SERVER, SERVER)
SECONDS = {"lock_table": 3.0, "advisory_lock": 2.0}  # of a block; of others one


class Pretended(Executor):
    """Runs jobs here and at once, without a server: ON CONFLICT with its index is safe, and so are locks."""

    def __init__(self, *, dies_at: str = "", condemns_on: str = "") -> None:
        self.jobs: list[Job | CostJob] = []
        self.dies_at, self.condemns_on = dies_at, condemns_on

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        (job,) = args
        self.jobs.append(job)
        try:
            future.set_result({explored: self._explored, measure: self._measured}[fn](job))
        except WorkerDied as died:
            future.set_exception(died)
        return future

    def _explored(self, job: Job) -> tuple[CellResult, ...]:
        (cell,) = job.cells
        if cell.strategy == self.dies_at:
            raise WorkerDied("the process that ran this cell exited with status 9")
        safe = cell.layout != self.condemns_on and (
            cell.strategy in SECONDS or (cell.strategy, cell.layout) == ("on_conflict_with_predicate", "partial")
        )
        return (CellResult(cell, Verdict.SAFE if safe else Verdict.UNSAFE, "", coverage=Coverage(contended=True)),)

    def _measured(self, job: CostJob) -> Measurements:
        counters = dict.fromkeys(COUNTERS, 1)

        def block(who: Contestant) -> Block:
            return Block(1, 1, {}, {}, 1, SECONDS.get(who.strategy, 1.0), {bucket(1): 1}, 0.0, 1, counters)

        return Measurements(
            tuple(
                Measured(job.server.id, number, who, mix, block(who))
                for number in range(job.first_round, job.first_round + job.rounds)
                for mix in job.mixes
                for who in job.contestants
                if who.strategy != "without_the_where"
            ),
            tuple((who, "42P10 on every call") for who in job.contestants if who.strategy == "without_the_where"),
        )


def comparing(kept: Kept, executor: Executor, **options: Any) -> Comparing:
    return Comparing("purchases", [BOTH], CompareOptions(**options), kept, executor)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "compare" / "purchases.jsonl"


def test_every_cell_is_explored_and_the_safe_are_measured(path: Path) -> None:
    executor = Pretended()
    with Kept(path) as kept:
        told = comparing(kept, executor).run()
    assert len(told.judged) == len({one.cell for one in told.judged}) == len(comparing(kept, executor).cells)
    (group,) = told.groups
    assert group.reference == Contestant("on_conflict_with_predicate", "partial", Isolation.READ_COMMITTED)
    (advice,) = told.advice
    assert (advice.best, advice.measured) == (group.reference, True)
    assert not told.warnings
    assert {card.failing for card in told.cards if card.contestant.strategy == "without_the_where"} == {
        "42P10 on every call"
    }


def test_cells_at_the_level_used_come_first(path: Path) -> None:
    executor = Pretended()
    with Kept(path) as kept:
        comparing(kept, executor).run()
    levels = [job.cells[0].isolation for job in executor.jobs if isinstance(job, Job)]
    used = levels.count(Isolation.READ_COMMITTED)
    own = len(
        [job for job in executor.jobs if isinstance(job, Job) and job.cells[0].strategy == "serializable_with_retry"]
    )
    assert Isolation.REPEATABLE_READ not in levels[: used + own]


def test_what_is_unsafe_in_one_state_is_looked_at_in_others_last(path: Path) -> None:
    executor = Pretended()
    with Kept(path) as kept:
        comparing(kept, executor).run()
    safe = ("on_conflict_with_predicate", "partial")
    used = [job.cells[0] for job in executor.jobs if isinstance(job, Job) and job.cells[0].isolation is RC]
    seen: set[tuple[str, str]] = set()
    again = []  # places of cells of which another state was looked at before, and condemned
    for place, cell in enumerate(used):
        where = (cell.strategy, cell.layout)
        if where in seen and where != safe and cell.strategy not in SECONDS:
            again.append(place)
        seen.add(where)
    last = max(place for place, cell in enumerate(used) if (cell.strategy, cell.layout) == safe)
    assert len([place for place in again if place < last]) <= AHEAD


def test_layouts_in_which_nothing_can_be_safe_are_not_measured(path: Path) -> None:
    executor = Pretended(condemns_on="none")
    with Kept(path) as kept:
        comparing(kept, executor).run()
    measured = {who.layout for job in executor.jobs if isinstance(job, CostJob) for who in job.contestants}
    assert measured == {"partial", "full"}


def test_where_nothing_is_safe_everything_is_measured(path: Path) -> None:
    executor = Pretended(condemns_on="partial")
    with Kept(path) as kept:
        told = comparing(kept, executor, layouts=("partial",)).run()
    assert told.advice[0].best is None
    assert {card.contestant.layout for card in told.cards} == {"partial"}


@pytest.mark.parametrize("stops_after", [1, 7, 300])
def test_stopped_in_the_middle_it_goes_on_where_it_was(path: Path, stops_after: int) -> None:
    heard: list[object] = []

    def stop(event: object) -> None:
        if isinstance(event, Judged):
            heard.append(event)
        if len(heard) == stops_after:
            raise KeyboardInterrupt

    with Kept(path.with_name("whole.jsonl")) as kept:
        whole = Pretended()
        expected = comparing(kept, whole).run()
    with Kept(path) as kept:
        stopped = Comparing("purchases", [BOTH], CompareOptions(), kept, Pretended(), stop)
        with pytest.raises(KeyboardInterrupt):
            stopped.run()
        assert len(stopped.result().judged) == stops_after  # and what is known can be told
    with Kept(path) as kept:
        assert not kept.ended
        second = Pretended()
        told = comparing(kept, second).run()
        assert kept.ended
    assert (told.judged, told.cards, told.advice) == (expected.judged, expected.cards, expected.advice)
    assert explorations(second) == explorations(whole) - stops_after


def explorations(executor: Pretended) -> int:
    return sum(isinstance(job, Job) for job in executor.jobs)


def test_what_is_kept_is_neither_explored_nor_measured_again(path: Path) -> None:
    with Kept(path) as kept:
        comparing(kept, Pretended()).run()
    again = Pretended()
    with Kept(path) as kept:
        assert kept.ended
        comparing(kept, again).run()
    assert not again.jobs


def test_a_line_that_was_cut_off_is_found_out_again(path: Path) -> None:
    with Kept(path) as kept:
        comparing(kept, Pretended()).run()
        cells = len(kept.judged)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:20])
    again = Pretended()
    with Kept(path) as kept:
        assert len(kept.judged) == 5
        comparing(kept, again).run()
        assert len(kept.judged) == cells
    with Kept(path) as kept:  # and the file is whole
        assert len(kept.judged) == cells


def test_two_at_once_are_refused(path: Path) -> None:
    with Kept(path), pytest.raises(InUse, match="is running already"), Kept(path):
        pass


def test_without_budget_nothing_is_judged_and_nothing_recommended(path: Path) -> None:
    executor = Pretended()
    with Kept(path) as kept:
        told = comparing(kept, executor, budget_s=0.0).run()
    assert not executor.jobs
    assert [one.best for one in told.advice] == [None]
    assert told.warnings == (
        f"{len(kept_cells(told))} of {len(kept_cells(told))} cells were not explored before the budget was spent",
    )


def kept_cells(told: Any) -> Any:
    return comparing(Kept(Path("nowhere")), Pretended()).cells


def test_a_process_that_dies_makes_its_cell_unknown_and_nothing_else(path: Path) -> None:
    with Kept(path) as kept:
        told = comparing(kept, Pretended(dies_at="advisory_lock")).run()
    verdicts = {one.cell.strategy: one.verdict for one in told.judged}
    assert verdicts["advisory_lock"] is Verdict.UNKNOWN
    assert verdicts["lock_table"] is Verdict.SAFE
    assert "advisory_lock" in {who.strategy for who in told.advice[0].undecided}


def test_rounds_go_on_only_where_two_are_not_told_apart(path: Path) -> None:
    executor = Pretended()
    with Kept(path) as kept:
        comparing(kept, executor).run()
    rounds = [job.rounds for job in executor.jobs if isinstance(job, CostJob)]
    assert rounds == [ROUNDS_FIRST, ROUNDS_FIRST]  # of what passes, and of the others beside it


# In processes.


def test_any_function_runs_in_a_worker() -> None:
    with WorkerExecutor(1) as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
        assert executor.submit(int, "12", base=3).result() == 5


def test_a_worker_that_dies_costs_its_task_only() -> None:
    import os

    with WorkerExecutor(1) as executor:
        died = executor.submit(os._exit, 9)
        after = executor.submit(abs, -1)
        with pytest.raises(WorkerDied, match="exited with status 9"):
            died.result()
        assert after.result() == 1


def test_what_is_given_up_ends(server: Server) -> None:
    import time

    executor = WorkerExecutor(1)
    sleeping = executor.submit(time.sleep, 600)
    executor.submit(abs, 1)
    executor.shutdown(cancel_futures=True)
    assert sleeping.done()
