"""The hammer: many sessions that work on the same fresh keys at nearly the same moment, round after round.

A *round* is a contest run once, by all sessions at once, on keys that nobody had before. Rounds come in batches: which
contest each round takes and from where its keys are numbered is drawn ahead; what every call was told, when it began
and when it ended comes back in columns. The engine makes no tables and judges nothing:

    with Hammer(processes=1) as hammer:
        hammer.setup(Setup(server, database, scenario.path, scenario.name, "shipped_fix", level, templates))
        calls = hammer.race(Batch(first=0, templates=array("H", [0] * 500), bases=array("q", range(0, 1000, 2))))

`begin` and `end` are `race` in two halves, for whoever has something to do meanwhile. There is no barrier between
calls: a session that is done with a round begins the next, unless it would be `window` rounds ahead of the slowest.
"""

import ctypes
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Self

from harness.model.cell import Isolation
from harness.model.contest import Contest
from harness.model.fault import Injection
from harness.model.history import Batch, Calls
from harness.runners import hammer_worker
from harness.runners.processes import interrupts_held_back
from harness.servers.server import Server

WINDOW = 2
PROCESSES_MAX = 4
SILENCE_S = 30.0  # nobody is answered: they wait for each other
_ENDS_WITHIN_S = 2.0
_READY_WITHIN_S = 60.0  # to import, load the scenario and connect


class WorkerLost(RuntimeError):
    """A process of sessions ended, or did not answer; what its calls came to is not known. The text says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Who races: one strategy in a database whose tables are there already."""

    server: Server
    database: str
    path: str  # of the scenario's file: each process loads it itself
    scenario: str
    strategy: str
    isolation: Isolation
    templates: tuple[Contest, ...]  # of equally many sessions
    window: int = WINDOW
    settings: tuple[tuple[str, str], ...] = ()  # of every connection, beside the scenario's own
    prepare_threshold: int | None = 5  # psycopg's default
    silence_s: float = SILENCE_S
    diary: str = ""  # a folder where processes keep what calls were told, for when they are killed; "": no faults
    held: str = ""  # a table, locked for a moment so that who is to be hurt is waiting
    away_s: float = 60.0  # that sessions try to reach a server which is gone

    @property
    def sessions(self) -> int:
        return len(self.templates[0].sessions)


@dataclass(frozen=True, slots=True)
class Pulse:
    """What processes tell each other: how many rounds all sessions of each have ended, and a bell to be woken by."""

    ended: Any  # shared array of 64-bit integers, one for each process
    mine: int
    hears: Connection
    bells: tuple[Connection, ...]  # of the others


class _Worker:
    def __init__(self, context: Any, pulse: Pulse) -> None:
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=hammer_worker.main, args=(theirs, pulse), daemon=True)
        with interrupts_held_back():
            self.process.start()
        theirs.close()


class Hammer:
    """Processes that carry the sessions. They serve one setup after the other; leaving the block ends them."""

    def __init__(self, processes: int | None = None) -> None:
        """`processes`: that carry sessions. By default one for each CPU, up to 4; greenlets do the rest."""
        if processes is not None and processes < 1:
            raise ValueError(f"processes={processes}: expected at least 1")
        self._wanted = processes or min(_cpus(), PROCESSES_MAX)
        self._workers: list[_Worker] = []
        self._setup: Setup | None = None
        self._batch: Batch | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the processes that carry the sessions: for whoever wants to hurt one."""
        return tuple(worker.process.pid or 0 for worker in self._workers)

    def setup(self, setup: Setup) -> None:
        """Connect the sessions. Raises WorkerLost, and whatever connecting or loading the scenario raises."""
        if not setup.templates or len({len(contest.sessions) for contest in setup.templates}) != 1:
            raise ValueError("templates: expected some, all of equally many sessions")
        count = min(self._wanted, setup.sessions)
        if len(self._workers) != count:
            self.close()
            self._start(count)
        self._setup = setup
        for number, worker in enumerate(self._workers):
            # Packed: a process has to load the scenario before it can read its enums.
            packed = pickle.dumps((setup, range(number, setup.sessions, count)))
            self._send(worker, (setup.path, packed))
        for worker in self._workers:
            self._receive(worker, _READY_WITHIN_S)

    def race(self, batch: Batch) -> Calls:
        """Run the rounds of a batch to their end."""
        self.begin(batch)
        return self.end()

    def begin(self, batch: Batch, faults: Sequence[Injection] = ()) -> None:
        """Let the sessions go; `faults` happen to them on the way."""
        if self._setup is None:
            raise ValueError("begin() without setup()")
        self._batch = batch
        for number in range(len(self._workers)):
            self._ended[number] = 0
        mine: list[list[Injection]] = [[] for _ in self._workers]
        for fault in faults:
            mine[fault.session % len(mine)].append(fault)
        for worker, its in zip(self._workers, mine, strict=True):
            self._send(worker, hammer_worker.Start(batch, tuple(its)))

    def end(self, strike: Callable[[Injection], None] = lambda injection: None) -> Calls:
        """What the calls of the batch came to, once all are answered. Raises WorkerLost.

        `strike`: called when the race is where a fault was planned that happens to all sessions: to do it.
        """
        assert self._setup is not None and self._batch is not None
        calls = Calls(self._batch.first)
        racing = list(self._workers)
        while racing:
            ready = wait([worker.pipe for worker in racing] + [worker.process.sentinel for worker in racing])
            worker = next(w for w in racing if w.pipe in ready or w.process.sentinel in ready)
            message = self._receive(worker, None)
            if isinstance(message, hammer_worker.Reached):
                strike(message.injection)
            else:
                calls.extend(message)
                racing.remove(worker)
        return calls

    def close(self) -> None:
        """End the processes, and with them the sessions: rudely where one does not go."""
        workers, self._workers = self._workers, []
        for worker in workers:
            with suppress(OSError):
                worker.pipe.send(None)
        deadline = time.monotonic() + _ENDS_WITHIN_S
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()

    def kill(self) -> None:
        """End the processes in the middle of whatever they do."""
        for worker in self._workers:
            worker.process.kill()
        self.close()

    def _start(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ended = context.RawArray(ctypes.c_longlong, count)
        bells = [context.Pipe(duplex=False) for _ in range(count)]
        for number in range(count):
            others = tuple(rings for i, (_, rings) in enumerate(bells) if i != number)
            self._workers.append(_Worker(context, Pulse(self._ended, number, bells[number][0], others)))
        for hears, rings in bells:
            hears.close()
            rings.close()

    def _send(self, worker: _Worker, message: object) -> None:
        try:
            worker.pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._lost(worker) from None

    def _receive(self, worker: _Worker, within_s: float | None) -> Any:
        ready = wait([worker.pipe, *(other.process.sentinel for other in self._workers)], within_s)
        if worker.pipe not in ready:
            dead = next((other for other in self._workers if other.process.sentinel in ready), worker)
            raise self._lost(dead)
        try:
            message = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._lost(worker) from None
        if isinstance(message, BaseException):
            raise message
        return message

    def _lost(self, worker: _Worker) -> WorkerLost:
        worker.process.join(_ENDS_WITHIN_S)
        code = worker.process.exitcode
        how = "does not answer" if code is None else f"was ended by signal {-code}" if code < 0 else f"exited ({code})"
        pid = worker.process.pid
        self.kill()
        return WorkerLost(f"process {pid}, which carries sessions, {how}")


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
