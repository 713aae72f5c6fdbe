"""Processes that run the workload on a CPU of their own, when told to."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter

from harness.servers.server import Server

from .workload import Spent, pin, workload


class Worker:
    def __init__(self, server: Server, cpu: int | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, server, cpu), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it is warm

    def begin(self, *, seconds: float = 0.0, trials: int = 0) -> None:
        self._pipe.send((seconds, trials))

    def end(self) -> tuple[float, int]:
        """Trials a second, and the resident memory in bytes afterwards."""
        rate, memory = self._pipe.recv()
        return rate, memory

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


@contextmanager
def crew(server: Server, cpus: Sequence[int | None]) -> Iterator[list[Worker]]:
    workers: list[Worker] = []
    try:
        for cpu in cpus:
            workers.append(Worker(server, cpu))
        yield workers
    finally:
        for worker in workers:
            worker.close()


def _work(pipe: Connection, server: Server, cpu: int | None) -> None:
    pin(cpu)
    with workload(server, "none", cpu=cpu) as work:
        pipe.send(None)
        while (told := pipe.recv()) is not None:
            seconds, trials = told
            done, began = 0, perf_counter()
            while done < trials or perf_counter() - began < seconds:
                work.trials(20, Spent())
                done += 20
            pipe.send((done / (perf_counter() - began), _resident()))


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
