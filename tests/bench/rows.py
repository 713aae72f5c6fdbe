"""The rows. Each is one small function; what several of them need is measured once, in rounds that take turns."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from time import process_time

import psycopg

from harness.campaign.campaign import Options, explore, select
from harness.servers.choose import running
from harness.servers.databases import own_database
from harness.servers.server import Server

from . import doctor, isolationtester
from .bare_libpq import BareLibpq
from .crew import crew
from .report import NotMeasured, row
from .workload import Spent, Steps, Workload, pin, workload

ROUNDS = 9
CELL = "purchases::insert_in_savepoint[partial,new,read_committed]"


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure for orders in which nobody waits, one for those in which a statement does."""

    no_wait: float
    wait: float


@dataclass(frozen=True, slots=True)
class Ours:
    """The workload in both layouts: without an index no order waits, with one those count that do."""

    bare: Workload
    unique: Workload
    orders_bare: list[Steps]
    orders_unique: list[Steps]  # all
    orders_wait: list[Steps]

    def round(self, times: int) -> Spent:
        spent, unique = Spent(), Spent()
        self.bare.trials(times * len(self.orders_bare), spent)
        self.unique.trials(times * len(self.orders_unique), unique)
        spent.seconds[True] = unique.seconds[True]
        return spent


@contextmanager
def ours(server: Server, cpu: int | None) -> Iterator[Ours]:
    with workload(server, "none", cpu=cpu) as bare, workload(server, "unique", cpu=cpu) as unique:
        all_unique = unique.orders()
        waits = [order for order in all_unique if any(step.waits for step in order)]
        yield Ours(bare, unique, bare.orders(), all_unique, waits)


class Bench:
    """The server, the CPU, and the measurements that rows share."""

    def __init__(self, server: Server, cpus: list[int], *, full: bool) -> None:
        self.server, self.cpus, self.full = server, cpus, full
        self.cpu = cpus[-1] if cpus else None
        self.hammer: tuple[float, float, float] | None = None  # measured once, for several rows

    @cached_property
    def against_libpq(self) -> tuple[Pair, Pair]:
        """How often its time ours takes; and the milliseconds of ours, in the best round."""
        with ExitStack() as stack:
            mine = stack.enter_context(ours(self.server, self.cpu))
            floors = []
            for work in (mine.bare, mine.unique):
                floor = BareLibpq(self.server, work.arena.database, 2, self.cpu)
                stack.callback(floor.close)
                floors.append(floor)
            rounds = []
            for n in range(ROUNDS + 1):
                spent, bare = mine.round(10), Spent()
                for _ in range(10):
                    floors[0].run(mine.orders_bare, bare)
                    floors[1].run(mine.orders_wait, bare)
                if n > 0:  # the first warms both up
                    rounds.append((spent, bare))
            no_wait, wait = (
                median(spent.ms(waits=waits) / bare.ms(waits=waits) for spent, bare in rounds)
                for waits in (False, True)
            )
            best = Pair(*(min(spent.ms(waits=waits) for spent, _ in rounds) for waits in (False, True)))
            return Pair(no_wait, wait), best

    @cached_property
    def against_isolationtester(self) -> tuple[Pair, float]:
        """How often ours fits into its time, with DELETE as reset; and with CREATE and DROP, no order waiting."""
        if why := isolationtester.missing():
            raise NotMeasured(why)
        with running(f"path:{isolationtester.BINARIES}") as server:
            if not server.local:
                raise NotMeasured("its server cannot be pinned")
            _pin_postmaster(server, self.cpu)
            with ours(server, self.cpu) as mine, own_database(server, label="bench") as database:
                tester = isolationtester.Tester(server, database)
                rounds = []
                for _ in range(ROUNDS):
                    spent = mine.round(5)
                    no_wait = tester.ms(mine.orders_bare, unique=False, creates=False, short=5, long=25)
                    wait = tester.ms(mine.orders_wait, unique=True, creates=False, short=1, long=5)
                    creates = tester.ms(mine.orders_bare, unique=False, creates=True, short=1, long=5)
                    rounds.append((no_wait, wait, creates, spent.ms(waits=False), spent.ms(waits=True)))
                # The least disturbed round of each: its time is that of whole processes, so that quartiles are no help.
                no_wait, wait, creates, ours_no_wait, ours_wait = (min(column) for column in zip(*rounds, strict=True))
                return Pair(no_wait / ours_no_wait, wait / ours_wait), creates / ours_no_wait


def _pin_postmaster(server: Server, cpu: int | None) -> None:
    """Its backends begin where it is."""
    with psycopg.connect(server.dsn()) as connection:
        stat = Path(f"/proc/{connection.info.backend_pid}/stat")
        if stat.exists():
            pin(cpu, int(stat.read_text().rpartition(")")[2].split()[1]))


@row("2 sessions, no order waits: of bare libpq's time", "times", at_most=2.5)
def no_wait_against_libpq(bench: Bench) -> float:
    return bench.against_libpq[0].no_wait


@row("2 sessions, one waits: of bare libpq's time", "times", at_most=2.5)
def wait_against_libpq(bench: Bench) -> float:
    return bench.against_libpq[0].wait


@row("2 sessions, no order waits (best round)", "ms a schedule")
def no_wait(bench: Bench) -> float:
    return bench.against_libpq[1].no_wait


@row("2 sessions, one waits (best round)", "ms a schedule")
def wait(bench: Bench) -> float:
    return bench.against_libpq[1].wait


@row("the first in processor time, client and backends", "times")
def processor_time_against_libpq(bench: Bench) -> float:
    """What other jobs take falls out of it, apart from what they do to caches: for a machine that is never idle."""
    with workload(bench.server, "none", cpu=bench.cpu) as work, ExitStack() as stack:
        floor = BareLibpq(bench.server, work.arena.database, 2, bench.cpu)
        stack.callback(floor.close)
        orders = work.orders()
        with psycopg.connect(bench.server.dsn()) as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE datname = %s"
            pids = [pid for (pid,) in connection.execute(query, (work.arena.database,))]
        ratios = []
        for _ in range(ROUNDS):
            at = [_processor_seconds(bench.server, pids)]
            work.trials(5 * len(orders), Spent())
            at.append(_processor_seconds(bench.server, pids))
            for _ in range(5):
                floor.run(orders, Spent())
            at.append(_processor_seconds(bench.server, pids))
            ratios.append((at[1] - at[0]) / (at[2] - at[1]))
        return median(ratios)


def _processor_seconds(server: Server, pids: list[int]) -> float:
    files = [Path(f"/proc/{pid}/schedstat") for pid in pids]
    if not server.local or not all(file.exists() for file in files):
        raise NotMeasured("no /proc/PID/schedstat")
    return process_time() + sum(int(file.read_text().split()[0]) for file in files) / 1e9


@row("isolationtester, one waits: faster than it", "times", at_least=12)
def wait_against_isolationtester(bench: Bench) -> float:
    return bench.against_isolationtester[0].wait


@row("isolationtester, no order waits: of its time", "times", at_most=1.3)
def no_wait_against_isolationtester(bench: Bench) -> float:
    return 1 / bench.against_isolationtester[0].no_wait


@row("isolationtester, CREATE and DROP: faster than it", "times", at_least=4)
def against_isolationtester_that_creates(bench: Bench) -> float:
    return bench.against_isolationtester[1]


@row("3 sessions, no order waits, one core (best round)", "schedules/s", at_least=800)
def three_sessions(bench: Bench) -> float:
    with workload(bench.server, "none", sessions=3, cpu=bench.cpu) as work:
        return work.per_s(15, 300)


@row("2 workers: of one worker's schedules (best rounds)", "times", at_least=1.8)
def two_workers(bench: Bench) -> float:
    if len(bench.cpus) < 2:
        raise NotMeasured("there is one CPU")
    rounds = []
    with crew(bench.server, bench.cpus[:2]) as workers:
        for _ in range(8):
            alone = []
            for worker in workers:
                worker.begin(seconds=0.4)
                alone.append(worker.end()[0])
            for worker in workers:
                worker.begin(seconds=0.4)
            rounds.append((sum(alone) / 2, sum(worker.end()[0] for worker in workers)))
    return max(together for _, together in rounds) / max(alone for alone, _ in rounds)


@row("memory over 20,000 schedules: growth after 5,000", "%", at_most=5)
def memory(bench: Bench) -> float:
    return _growth(bench, 20_000)


@row("memory over 100,000 schedules (with --full)", "%", at_most=5)
def memory_in_full(bench: Bench) -> float:
    if not bench.full:
        raise NotMeasured("only with --full")
    return _growth(bench, 100_000)


def _growth(bench: Bench, schedules: int) -> float:
    if not Path("/proc/self/statm").exists():
        raise NotMeasured("no /proc here")
    with crew(bench.server, [bench.cpu]) as (worker,):
        worker.begin(trials=5_000)
        before = worker.end()[1]
        worker.begin(trials=schedules - 5_000)
        return 100 * (worker.end()[1] / before - 1)


@row(f"a cell: {CELL.partition('[')[0]} (best of 5)", "ms")
def a_cell(bench: Bench) -> float:
    options = Options(workers=0)
    selections = select([CELL], options, [bench.server.id])
    took = [explore(selections, [bench.server], options).cells[0].elapsed_s for _ in range(5)]
    return 1000 * min(took)


@row("doctor: 1,000 statements against 500 tables, sound", "s", at_most=10)
def doctor_of_sound_statements(bench: Bench) -> float:
    return doctor.seconds(broken=False)


@row("doctor: 1,000 statements against 500 tables, broken", "s", at_most=10)
def doctor_of_broken_statements(bench: Bench) -> float:
    """Two repairs of each are tried."""
    return doctor.seconds(broken=True)
