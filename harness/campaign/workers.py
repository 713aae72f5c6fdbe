"""Worker processes: one per CPU, pinned to it. Code under test runs there, so that it takes only a worker with it.

They run the jobs of an exploration, cell by cell; and, as a `concurrent.futures.Executor`, any function.
"""

import logging
import multiprocessing
import os
import queue
import secrets
import shlex
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from harness.campaign.job import Arenas, Impossible, Job, Task, keep_open, run_job
from harness.campaign.store import bury
from harness.model.cell import Cell
from harness.model.verdict import CellResult, Verdict
from harness.runners.journal import SUFFIX, Journal, JournalError
from harness.runners.processes import interrupts_held_back
from harness.scenario.errors import ScenarioError
from harness.servers.server import ServerError
from harness.sessions.watch import STUCK

# A worker watches its code under test, and ends by itself when that is stuck; this is for one that cannot even that.
CELL_SECONDS_MAX = 3600.0
_GOES_BY_ITSELF_S = 2.5  # rolling back and dropping its databases, when it is asked to end in the middle of a cell

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Errand:
    """A task of another kind: a call of a function that another process can find by its name."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return ()

    def only(self, cells: tuple[Cell, ...]) -> Self:
        return self

    def run(self, arenas: Arenas, *, by_force: bool) -> Iterator["Done"]:
        with keep_open(arenas):
            yield Done(self.function(*self.arguments, **self.keywords))


@dataclass(frozen=True, slots=True)
class Done:
    """What the function of an errand returned."""

    value: Any


Event = Any
"""What a task's `run` yields; for a cell with which its worker died, a CellResult."""


class WorkerDied(RuntimeError):
    """A worker ended in the middle of a task; the text says how."""


class WorkerFailed(RuntimeError):
    """A worker broke in our own code; the text is its traceback."""


class _Worker:
    def __init__(self, context: SpawnContext, cpu: int | None, running: Path | None) -> None:
        self.pipe, theirs = context.Pipe()
        self.journal = None if running is None else running / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        self.process: BaseProcess = context.Process(target=_work, args=(theirs, cpu, self.journal), daemon=True)
        with interrupts_held_back():
            self.process.start()
        theirs.close()
        self.job: Task | None = None
        self.done = 0
        self.heard = time.monotonic()

    def give(self, job: Task) -> None:
        self.job, self.done, self.heard = job, 0, time.monotonic()
        with suppress(BrokenPipeError):  # it died: its end of the pipe will say so
            self.pipe.send(job)

    def stop(self) -> None:
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join(_GOES_BY_ITSELF_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


class Workers:
    """Some processes that run jobs, for as long as they are wanted: what they hold open serves the next job, too."""

    def __init__(self, count: int, *, first_cpu: int = 0, running: Path | None = None) -> None:
        """`running` is the folder where each of them notes what it is at; None: nowhere."""
        self._running = running
        self._context = multiprocessing.get_context("spawn")
        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [None]
        self._cpus = [cpus[(first_cpu + i) % len(cpus)] for i in range(count)]
        self._workers: list[_Worker] = []
        self._waiting: list[Task] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, jobs: Sequence[Task]) -> Iterator[Event]:
        """Results as they come. A worker that dies costs the cell it was at, which becomes unknown; the rest goes on.

        Raises what a worker cannot go on after: ScenarioError, ServerError, WorkerFailed.
        """
        for event in self._events(jobs):
            assert not isinstance(event, Done)
            yield event

    def call(self, task: Errand) -> Any:
        """What the task's function returns. Raises WorkerDied, and as `run` does; CancelledError once closed."""
        told = list(self._events([task]))  # to its end: the worker says that it is done after it has said what with
        if not told:
            raise CancelledError
        (done,) = told
        assert isinstance(done, Done)
        return done.value

    def _events(self, jobs: Sequence[Task]) -> Iterator[Event | Done]:
        self._waiting = list(jobs)
        while len(self._workers) < len(self._cpus):
            self._workers.append(_Worker(self._context, self._cpus[len(self._workers)], self._running))
        if self._closed:  # by another thread, while we started them
            self.close()
            return
        for worker in self._workers:
            self._give_next(worker)
        while busy := [w for w in self._workers if w.job is not None]:
            ready = wait([w.pipe for w in busy], timeout=1.0)
            for worker in busy:
                if worker.pipe in ready:
                    yield from self._hear(worker)
                elif time.monotonic() - worker.heard > CELL_SECONDS_MAX:
                    worker.process.kill()

    def close(self) -> None:
        self._closed = True
        workers, self._workers = self._workers, []
        for worker in workers:
            if worker.job is not None:
                worker.process.terminate()  # all at once: each of them takes a while
        for worker in workers:
            worker.stop()

    def _give_next(self, worker: _Worker) -> None:
        worker.job = None
        if self._waiting:
            worker.give(self._waiting.pop(0))

    def _hear(self, worker: _Worker) -> Iterator[Event | Done]:
        try:
            event = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            if self._closed:
                raise CancelledError from None
            worker.process.join()
            index = self._workers.index(worker)
            self._workers[index] = _Worker(self._context, self._cpus[index], self._running)
            yield from self._bury(worker)
            self._give_next(self._workers[index])
            return
        worker.heard = time.monotonic()
        if isinstance(event, BaseException):
            worker.job = None
            raise event
        if event is None:  # the job is done
            self._give_next(worker)
            return
        worker.done += isinstance(event, CellResult | Impossible)
        yield event

    def _bury(self, worker: _Worker) -> Iterator[Event]:
        """The worker died in the middle of a cell: say so for that cell, and give the rest of its job to another."""
        job = worker.job
        assert job is not None
        if isinstance(job, Errand):
            raise WorkerDied(_cause_of_death(worker.process.exitcode))
        if worker.done == len(job.cells):
            return
        rest = job.cells[worker.done + 1 :]
        if rest:
            self._waiting.insert(0, job.only(rest))
        cause = _cause_of_death(worker.process.exitcode)
        yield CellResult(job.cells[worker.done], Verdict.UNKNOWN, f"{cause}{_last_words(worker.journal)}")


def _last_words(journal: Path | None) -> str:
    """What it was at, as far as it could note that."""
    if journal is None:
        return ""
    try:
        buried = bury(journal)
    except (OSError, JournalError):
        return ""
    return "" if buried is None else f"; it died {buried[1]}; harness replay {shlex.quote(str(buried[0]))}"


def run_in_workers(jobs: Sequence[Task], count: int, running: Path | None = None) -> Iterator[Event]:
    """`Workers.run` with workers for this once."""
    with Workers(count, running=running) as workers:
        yield from workers.run(jobs)


def run_here(jobs: Sequence[Job], running: Path | None = None) -> Iterator[Event]:
    """The same in this process: code under test may take it along, and leaves its journal."""
    journal = _journal(None if running is None else running / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}")
    try:
        for job in jobs:
            yield from run_job(job, journal=journal)
    finally:
        if journal:
            journal.discard()


class WorkerExecutor(Executor):
    """The same processes behind the standard library's face: what is submitted runs in one of them, whatever it is.

    A worker keeps the databases of its last cell open, and the next one that explores there finds them
    (`job.explored`). One that dies raises WorkerDied in the future of its task, and costs the others nothing.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"count={count}: expected at least 1 worker")
        self._all = [Workers(1, first_cpu=number) for number in range(count)]
        self._idle: queue.SimpleQueue[Workers] = queue.SimpleQueue()
        for workers in self._all:
            self._idle.put(workers)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="worker")  # one waits for each

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        return self._threads.submit(self._run, Errand(fn, args, kwargs))

    def _run(self, task: Errand) -> Any:
        workers = self._idle.get()
        try:
            return workers.call(task)
        except OSError as closed:  # the pipe, while we waited on it
            raise CancelledError from closed
        finally:
            self._idle.put(workers)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends what runs, too, unless it is waited for: processes that nobody hears must not go on."""
        self._threads.shutdown(wait=wait and not cancel_futures, cancel_futures=cancel_futures)
        for workers in self._all:
            workers.close()
        self._threads.shutdown(wait=True)


def _cause_of_death(code: int | None) -> str:
    if code == STUCK:
        return "the strategy never came back to the database and would not be interrupted: does it catch BaseException?"
    return f"the process that ran this cell {how_it_ended(code)}: did the strategy call os._exit, or never return?"


def how_it_ended(code: int | None) -> str:
    """Of a process: `was ended by SIGKILL`, `exited with status 7`."""
    return f"was ended by {_signal_name(-code)}" if code is not None and code < 0 else f"exited with status {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _ToldToEnd(BaseException):
    """The parent gives up in the middle of a cell."""


def _work(pipe: Connection, cpu: int | None, notes: Path | None) -> None:
    def end(*_: object) -> None:
        if arenas.opening:  # a database that was made and not yet marked as ours would stay for ever
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
            return
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(told, b"!")
        logging.getLogger("psycopg").addHandler(logging.NullHandler())  # of connections left in the middle of something
        raise _ToldToEnd

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer: it tells us to end
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    hears, told = os.pipe()
    threading.Thread(target=_end_by_force, args=(hears,), daemon=True).start()
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    journal = _journal(notes)
    arenas = Arenas(cpu, journal)
    with suppress(_ToldToEnd, EOFError, OSError):  # the latter two: the parent is gone
        try:
            signal.signal(signal.SIGTERM, end)
            while (job := pipe.recv()) is not None:
                _run(job, arenas, pipe)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending
            with suppress(Exception):
                arenas.close()
            if journal:
                journal.discard()


def _journal(path: Path | None) -> Journal | None:
    """None where none can be written: the store says so, and that is no reason not to run."""
    try:
        return None if path is None else Journal(path)
    except OSError:
        return None


def _run(job: Task, arenas: Arenas, pipe: Connection) -> None:
    events = job.run(arenas, by_force=True)
    while True:
        message: Event | Done | Exception | None
        try:
            message = next(events, None)
        except (ScenarioError, ServerError) as error:
            message = error
        except Exception as error:
            message = WorkerFailed(f"{error!r}\n{traceback.format_exc()}")
        except _ToldToEnd:
            raise
        except BaseException:  # of the code under test: KeyboardInterrupt, GeneratorExit
            os._exit(1)
        pipe.send(message)
        if message is None or isinstance(message, Exception):
            return


def _end_by_force(told: int) -> None:
    """When the parent is gone, or has told us to end and the exception that was to do it was lost on its way.

    Killed, a parent cannot tell us, and code under test may be far from looking into the pipe. And an exception out of
    a signal handler is lost where Python has nobody to give it to: in a finalizer, in a callback from C.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    if wait([told, parent.sentinel]) == [told]:
        wait([parent.sentinel], timeout=_GOES_BY_ITSELF_S)
    os._exit(1)
