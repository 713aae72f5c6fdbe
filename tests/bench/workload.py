"""What is timed: sessions that look and then insert, in one transaction each; read, reset and judged as in a cell."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import mean
from time import perf_counter
from typing import Any

from harness.model.cell import Isolation
from harness.model.contest import Call, Contest, OpRef, Order
from harness.model.outcome import Outcome
from harness.oracles import Evidence, judge
from harness.runners.explorer import Explorer, Trial, queries_of
from harness.runners.recorder import Recorder
from harness.runners.reduction import Reduction
from harness.runners.virtual import virtual
from harness.scenario.language import Scenario
from harness.scenario.parameters import Connection, Identity, Key, Own
from harness.schedulers.preemptions import Preemptions
from harness.schedulers.protocol import Pruned
from harness.servers.databases import own_database
from harness.servers.server import Server
from harness.sessions.arena import Arena
from harness.sessions.statement import Statement
from harness.sessions.steering import Steering

TABLE = "CREATE TABLE bench (id serial PRIMARY KEY, k int NOT NULL, n int NOT NULL)"
UNIQUE = "CREATE UNIQUE INDEX one_row_a_key ON bench (k)"
LOOK = "SELECT n FROM bench WHERE k = %s"
INSERT = "INSERT INTO bench (k, n) VALUES (%s, %s)"
TWO = UNIQUE + "; CREATE UNIQUE INDEX one_row_an_amount ON bench (abs(k))"
UPSERT = INSERT + " ON CONFLICT (k) DO UPDATE SET n = bench.n + excluded.n"

scenario = Scenario("bench", tables=TABLE, layouts={"unique": UNIQUE, "two": TWO}, identity=Identity("bench", by="k"))


@scenario.operation(k=Key(int), n=Own(int))
def look_and_insert(connection: Connection[Any], k: int, n: int) -> bool:
    """BEGIN, SELECT, INSERT, COMMIT. Without an index no order waits; with one, the second INSERT may: then 23505."""
    with connection.transaction():
        if connection.execute(LOOK, (k,)).fetchone() is not None:
            return False
        connection.execute(INSERT, (k, n))
        return True


@scenario.operation(k=Key(int), n=Own(int))
def upsert(connection: Connection[Any], k: int, n: int) -> None:
    """One statement, autocommitted: only gates show what happens inside."""
    connection.execute(UPSERT, (k, n))


@scenario.operation(k=Key(int), n=Own(int))
def look_and_upsert(connection: Connection[Any], k: int, n: int) -> None:
    """SELECT, UPSERT, COMMIT."""
    with connection.transaction():
        connection.execute(LOOK, (k,))
        connection.execute(UPSERT, (k, n))


@scenario.operation(k=Key(int), n=Own(int))
def six_steps(connection: Connection[Any], k: int, n: int) -> None:
    """Looks four times, writes once, commits."""
    with connection.transaction():
        for _ in range(4):
            connection.execute(LOOK, (k,))
        connection.execute(UPSERT, (k, n))


@dataclass(frozen=True, slots=True)
class Step:
    """A statement as a session sent it."""

    session: int
    verb: str  # SELECT, INSERT, COMMIT, ROLLBACK
    waits: bool


Steps = tuple[Step, ...]


class _Steps(Recorder):
    """Notes who sent what."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []

    def sent(self, session: int, statement: Statement, result: str) -> None:
        self.steps.append(Step(session, statement.text.split()[0], False))

    def waiting(self, session: int, statement: Statement, why: str) -> None:
        self.steps.append(Step(session, statement.text.split()[0], True))


@dataclass
class Spent:
    """Seconds of each trial, apart for orders in which a statement waits."""

    seconds: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})

    def add(self, waits: bool, seconds: float) -> None:
        self.seconds[waits].append(seconds)

    def ms(self, *, waits: bool) -> float:
        # The mean, though others disturb it: a short trial fits between two disturbances and a long one does not, so
        # that medians of trials would compare luck. Rounds take turns instead, and the median is one of rounds.
        return 1000 * mean(self.seconds[waits])

    @property
    def ms_of_all(self) -> float:
        return 1000 * mean(self.seconds[False] + self.seconds[True])


class Workload:
    """One contest on one layout, explored again and again."""

    def __init__(
        self, server: Server, database: str, layout: str, *, sessions: int, cpu: int | None, operation: str, gates: bool
    ) -> None:
        ddl = [statement for statement in (scenario.tables, scenario.layouts[layout]) if statement]
        self.arena = Arena(server, database, ddl, queries=queries_of(scenario)[0], cpu=cpu)
        if gates:
            self.arena.install_gates()
        self._gates = gates
        bodies = scenario.specification()
        steering = Steering(server.wake_order)
        self.explorer = Explorer(
            self.arena, scenario, lambda count: (bodies,) * count, Isolation.READ_COMMITTED, steering
        )
        calls = [Call(operation, (("k", 1), ("n", n + 1))) for n in range(sessions)]
        self.contest = Contest("new", tuple((call,) for call in calls), "same k")
        self.explorer.start(self.contest)
        self.explored = self._without_end()

    def trials(self, count: int, spent: Spent) -> None:
        """The next `count` trials; after the last order comes the first again."""
        for _ in range(count):
            began = perf_counter()
            trial = next(self.explored)
            spent.add(trial.ended.waits > 0, perf_counter() - began)

    def per_s(self, rounds: int, trials: int) -> float:
        """Schedules a second, of the best round."""
        best = 0.0
        for _ in range(rounds):
            spent = Spent()
            self.trials(trials, spent)
            best = max(best, 1000 / spent.ms_of_all)
        return best

    def certified(self) -> Reduction:
        """One order of each class, run and judged as in a cell; no order is left."""
        explorer = self.explorer
        reduction = Reduction(explorer.texts, explorer.isolation, len(self.contest.sessions))
        for scheduler, tracker in reduction.learning():
            explorer.run(self.contest, scheduler, tracker=tracker)
        while reduction.new_trial():
            with suppress(Pruned):
                judge(self._evidence(explorer.run(self.contest, reduction, tracker=reduction.tracker)))
        return reduction

    def orders(self) -> list[Steps]:
        """Every feasible order once, as the statements that are sent."""
        found = []
        scheduler = Preemptions()
        while scheduler.new_trial():
            noted = _Steps()
            self.explorer.run(self.contest, scheduler, recorder=noted)
            found.append(tuple(noted.steps))
        return found

    def _without_end(self) -> Iterator[Trial]:
        """All orders, over and over: run, then judged, unless one of this round came to the same."""
        while True:
            scheduler = Preemptions()
            judged: set[tuple[int, frozenset[tuple[OpRef, OpRef]]]] = set()
            while scheduler.new_trial():
                self.arena.gated = self._gates
                trial = self.explorer.run(self.contest, scheduler)
                self.arena.gated = False
                key = (id(trial.seen), trial.before)
                if key not in judged:
                    judged.add(key)
                    judge(self._evidence(trial))
                yield trial

    def _evidence(self, trial: Trial) -> Evidence:
        explorer, contest = self.explorer, self.contest
        start = explorer.start_of(contest)

        def serial(order: Order) -> Outcome:
            return explorer.serial(contest, order)

        return Evidence(
            contest=contest,
            outcome=trial.seen.outcome,
            before=trial.before,
            start=start.outcome.rows,
            serial=serial,
            specification=serial,
            live=lambda of: explorer.live(of).live,
            live_at_start=start.live,
            live_rows=lambda of: explorer.live(of).live_rows,
            hang=trial.ended.hang,
            invariants=trial.seen.broken,
        )


@contextmanager
def workload(
    server: Server,
    layout: str,
    *,
    sessions: int = 2,
    cpu: int | None,
    operation: str = "look_and_insert",
    gates: bool = False,
) -> Iterator[Workload]:
    """In a database of its own, warmed up."""
    with own_database(server, label="bench") as database:
        made = Workload(server, database, layout, sessions=sessions, cpu=cpu, operation=operation, gates=gates)
        try:
            with virtual():  # as a cell is run
                made.trials(100, Spent())
                yield made
        finally:
            made.arena.close()


def pin(cpu: int | None, pid: int = 0) -> None:
    if cpu is not None:
        with suppress(OSError):
            os.sched_setaffinity(pid, {cpu})
