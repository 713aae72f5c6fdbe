"""A comparison from its jobs to its result, on an executor that runs nothing: order, budget, stopping and going on."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.compare import ROUNDS_FIRST, CompareOptions, Comparing, Servers
from harness.campaign.job import Job, explored
from harness.campaign.kept import InUse, Kept
from harness.campaign.measure import CostJob, Measurements, measure
from harness.campaign.workers import WorkerDied, WorkerExecutor
from harness.model.cell import Isolation
from harness.model.cost import COUNTERS, Block, Contestant, Measured, bucket
from harness.model.verdict import CellResult, Coverage, Verdict
from harness.servers.server import Server
from tests.reports.made import SERVER

BOTH = Servers(SERVER, SERVER)
SECONDS = {"lock_table": 3.0, "advisory_lock": 2.0}  # of a block; of others one


class Pretended(Executor):
    """Runs jobs here and at once, without a server: ON CONFLICT with its index is safe, and so are locks."""

    def __init__(self, *, breaks_after: int | None = None, dies_at: str = "") -> None:
        self.jobs: list[Job | CostJob] = []
        self.breaks_after, self.dies_at = breaks_after, dies_at

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        (job,) = args
        if self.breaks_after is not None and len(self.jobs) == self.breaks_after:
            raise KeyboardInterrupt
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
        safe = cell.strategy in SECONDS or (cell.strategy, cell.layout) == ("on_conflict_with_predicate", "partial")
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


def test_layouts_in_which_nothing_can_be_safe_are_not_measured(path: Path) -> None:
    executor = Pretended()
    with Kept(path) as kept:
        comparing(kept, executor, isolations=(Isolation.READ_COMMITTED,)).run()
    measured = {who.layout for job in executor.jobs if isinstance(job, CostJob) for who in job.contestants}
    assert "none" in measured  # locks need no index
    with Kept(path.with_name("other.jsonl")) as kept:
        executor = Pretended(dies_at="lock_table")
        comparing(kept, executor, layouts=("full",), isolations=(Isolation.READ_COMMITTED,)).run()


@pytest.mark.parametrize("breaks_after", [0, 1, 7, 60, 313])
def test_stopped_in_the_middle_it_goes_on_where_it_was(path: Path, breaks_after: int) -> None:
    with Kept(path) as kept:
        whole = Pretended()
        expected = comparing(kept, whole).run()
        kept.forget()
        first = Pretended(breaks_after=breaks_after)
        with pytest.raises(KeyboardInterrupt):
            comparing(kept, first).run()
    with Kept(path) as kept:
        assert not kept.ended
        second = Pretended()
        told = comparing(kept, second).run()
        assert kept.ended
    explored_now = [job.cells for job in second.jobs if isinstance(job, Job)]
    assert told.judged == expected.judged
    assert told.cards == expected.cards
    assert told.advice == expected.advice
    # What was submitted when it stopped, and not yet heard of, is found out again; nothing that was kept is.
    assert len(explored_now) <= len([job for job in whole.jobs if isinstance(job, Job)])
    assert len([job for job in second.jobs if isinstance(job, CostJob)]) == 1


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
    assert [job.rounds for job in executor.jobs if isinstance(job, CostJob)] == [ROUNDS_FIRST]


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
