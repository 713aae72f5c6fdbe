"""Worker processes: one per CPU, pinned to it. Code under test runs there, so that it takes only a worker with it."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from harness.campaign.job import Arenas, Impossible, Job, run_job
from harness.model.verdict import CellResult, Verdict
from harness.scenario.errors import ScenarioError

CELL_SECONDS_MAX = 300.0  # a cell that says nothing for so long runs code that never comes back

Event = CellResult | Impossible


class WorkerFailed(RuntimeError):
    """A worker broke in our own code; the text is its traceback."""


class _Worker:
    def __init__(self, context: multiprocessing.context.SpawnContext, cpu: int | None) -> None:
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(theirs, cpu), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.done = 0
        self.heard = time.monotonic()

    def give(self, job: Job) -> None:
        self.job, self.done, self.heard = job, 0, time.monotonic()
        self.pipe.send(job)

    def stop(self) -> None:
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def run_in_workers(jobs: Sequence[Job], count: int) -> Iterator[Event]:
    """Results as they come. A worker that dies costs the cell it was at, which becomes unknown; the rest goes on."""
    context = multiprocessing.get_context("spawn")
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [None]
    waiting = list(jobs)
    workers = [_Worker(context, cpus[i % len(cpus)]) for i in range(count)]
    try:
        for worker in workers:
            if waiting:
                worker.give(waiting.pop(0))
        while busy := [w for w in workers if w.job is not None]:
            ready = wait([w.pipe for w in busy], timeout=1.0)
            for worker in busy:
                if worker.pipe in ready:
                    yield from _hear(worker, workers, waiting, context, cpus)
                elif time.monotonic() - worker.heard > CELL_SECONDS_MAX:
                    worker.process.kill()
                    worker.process.join()
    finally:
        for worker in workers:
            worker.stop()


def _hear(
    worker: _Worker,
    workers: list[_Worker],
    waiting: list[Job],
    context: multiprocessing.context.SpawnContext,
    cpus: Sequence[int | None],
) -> Iterator[Event]:
    assert worker.job is not None
    try:
        event = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        yield from _bury(worker, waiting)
        index = workers.index(worker)
        workers[index] = _Worker(context, cpus[index % len(cpus)])
        if waiting:
            workers[index].give(waiting.pop(0))
        return
    worker.heard = time.monotonic()
    if isinstance(event, BaseException):
        raise event
    if event is None:  # the job is done
        worker.job = None
        if waiting:
            worker.give(waiting.pop(0))
        return
    worker.done += 1
    yield event


def _bury(worker: _Worker, waiting: list[Job]) -> Iterator[Event]:
    """The worker died in the middle of a cell: say so for that cell, and give the rest of its job to another."""
    job = worker.job
    assert job is not None
    code = worker.process.exitcode
    why = f"was ended by signal {-code}" if code is not None and code < 0 else f"exited with status {code}"
    cell = job.cells[worker.done]
    yield CellResult(
        cell, Verdict.UNKNOWN, f"the process that ran this cell {why}: did the strategy call os._exit, or never return?"
    )
    rest = job.cells[worker.done + 1 :]
    if rest:
        waiting.insert(
            0,
            Job(
                job.server,
                job.path,
                job.scenario,
                job.layout,
                rest,
                job.sessions,
                job.gates,
                job.orders_max,
                job.deadline,
            ),
        )


def _work(pipe: Connection, cpu: int | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer: it ends us through the pipe
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    arenas = Arenas(cpu)
    try:
        while (job := pipe.recv()) is not None:
            try:
                for event in run_job(job, arenas):
                    pipe.send(event)
                pipe.send(None)
            except ScenarioError as error:
                pipe.send(error)
            except Exception as error:
                import traceback

                pipe.send(WorkerFailed(f"{error!r}\n{traceback.format_exc()}"))
    except (EOFError, OSError):
        pass  # the parent is gone
    finally:
        with suppress(Exception):
            arenas.close()
