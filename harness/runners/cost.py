"""Blocks of one workload, run by several clients at once, as fast as they can: what a strategy costs in one layout."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus

from harness.generators.workload import Arguments, Workload, setter
from harness.model.cell import Isolation
from harness.model.cost import Block, bucket
from harness.model.outcome import Ok, Refused
from harness.runners.explorer import answer_to
from harness.scenario.bodies import wants_pool
from harness.scenario.language import Refusal, Scenario
from harness.scenario.strategy import Body, Strategy
from harness.servers.databases import own_database
from harness.servers.server import Server
from harness.sessions.clients import Connections, CountingConnection
from harness.sessions.counters import Counters

SAMPLE_EVERY_S = 0.005  # of who waits for a lock: one question takes a fiftieth of it
BLOCK_SECONDS_MAX = 30.0  # then its backends are terminated, and the strategy has no cost but this
_GOES_BY_ITSELF_S = 5.0
_RETRIES_MAX = 1000  # of one call by its caller


class NeverEnds(RuntimeError):
    """A block came to no end: the strategy waits for ever, or tries for ever."""


@dataclass
class _Client:
    """One client of a block, in a thread of its own."""

    calls: Sequence[Arguments]
    acknowledged: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)
    began: int = 0  # time.perf_counter_ns()
    ended: int = 0
    broke: BaseException | None = None


class Bench:
    """A database with a scenario's tables in one layout, and the applications that run on it, one at a time."""

    def __init__(self, server: Server, scenario: Scenario, layout: str, clients: int) -> None:
        self.server, self.scenario, self.clients = server, scenario, clients
        self._stack = ExitStack()
        try:
            self._database = self._stack.enter_context(own_database(server, label=f"cost {scenario.name} {layout}"))
            with psycopg.connect(server.dsn(self._database), autocommit=True) as builder:
                for statement in definitions(scenario, layout):
                    builder.execute(statement.encode())
            self._counters = Counters(server, self._database)
            self._stack.callback(self._counters.close)
        except BaseException:
            self._stack.close()
            raise
        self._connections: dict[Isolation, Connections] = {}
        self._processes: dict[str, tuple[Mapping[str, Body], ...]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def block(self, strategy: Strategy, isolation: Isolation, operation: str, workload: Workload) -> Block:
        """Make the tables anew, run the workload, count. Raises NeverEnds."""
        connections = self._of(isolation)
        connections.autocommit = strategy.autocommit
        self._make_ready(operation, workload)
        connections.warm(self.clients)
        connections.drawn()
        bodies = self._bodies(strategy)
        before = self._counters.read()
        clients, waited_s = self._run(strategy, isolation, operation, workload, bodies, connections)
        commands, errors = connections.drawn()
        connections.flush_statistics()
        counters = self._counters.between(before, self._counters.read())
        connections.put_back()
        latencies: Counter[int] = Counter()
        failed: Counter[str] = Counter()
        for client in clients:
            latencies.update(client.latencies)
            failed.update(client.failed)
        return Block(
            calls=sum(len(client.calls) for client in clients),
            acknowledged=sum(client.acknowledged for client in clients),
            failed=dict(failed),
            errors=dict(errors),
            round_trips=commands,
            elapsed_s=(max(c.ended for c in clients) - min(c.began for c in clients)) / 1e9,
            latencies=dict(latencies),
            lock_wait_s=waited_s,
            clients=len(clients),
            counters=counters,
        )

    # ---- around the block -----------------------------------------------------------------------------------------

    def _of(self, isolation: Isolation) -> Connections:
        """Strategies share connections, as an application does all day: no block is to begin with cold ones."""
        if isolation not in self._connections:
            made = Connections(self.server, self._database, isolation, self.scenario.settings)
            self._stack.callback(made.close)
            self._connections[isolation] = made
        return self._connections[isolation]

    def _bodies(self, strategy: Strategy) -> tuple[Mapping[str, Body], ...]:
        """An application process outlives its blocks: what it remembers, it remembers."""
        if strategy.name not in self._processes:
            self._processes[strategy.name] = strategy.bind_sessions(self.clients)
        return self._processes[strategy.name]

    def _make_ready(self, operation: str, workload: Workload) -> None:
        """Empty tables and no garbage of anybody's; then what is there before, by the operation that sets it."""
        self._counters.empty()
        if not workload.before:
            return
        connections = self._of(Isolation.READ_COMMITTED)
        body = self.scenario.operations[setter(self.scenario, operation)].body
        with connections.connection() as connection:
            connection.execute("SET synchronous_commit = off")
            given: Any = _Only(connection) if wants_pool(body) else connection
            for arguments in workload.before:
                body(given, **arguments)
        connections.flush_statistics()
        connections.put_back()

    # ---- the block ------------------------------------------------------------------------------------------------

    def _run(
        self,
        strategy: Strategy,
        isolation: Isolation,
        operation: str,
        workload: Workload,
        bodies: Sequence[Mapping[str, Body]],
        connections: Connections,
    ) -> tuple[list[_Client], float]:
        clients = [_Client(calls) for calls in workload.clients]
        start = threading.Barrier(len(clients) + 1)
        left = threading.Semaphore(0)
        retryable, refusals = strategy.retryable_at(isolation), self.scenario.operations[operation].refusals

        def work(client: _Client, body: Body) -> None:
            connection = None
            try:
                pooled = wants_pool(body)
                connection = None if pooled else connections.getconn()
                start.wait()
                client.began = time.perf_counter_ns()
                _work(client, body, connections if connection is None else connection, refusals, retryable)
            except BaseException as broke:  # told where the block is waited for
                client.broke = broke
            finally:
                client.ended = time.perf_counter_ns()
                if connection is not None:
                    connections.putconn(connection)
                left.release()

        threads = [
            threading.Thread(target=work, args=(client, mine[operation]), daemon=True)
            for client, mine in zip(clients, bodies, strict=True)
        ]
        for thread in threads:
            thread.start()
        start.wait()
        waited_s = self._watch(left, len(threads), connections)
        for thread in threads:
            thread.join()
        for client in clients:
            if client.broke is not None:
                raise client.broke
        return clients, waited_s

    def _watch(self, left: threading.Semaphore, running: int, connections: Connections) -> float:
        """Until all have left; the seconds that they spent in waits for locks, from samples."""
        pids = connections.pids
        began = sampled = time.monotonic()
        waited_s = 0.0
        terminated = False
        while running:
            if left.acquire(timeout=SAMPLE_EVERY_S):
                running -= 1
                continue
            now = time.monotonic()
            waited_s += self._counters.waiting(pids) * (now - sampled)
            sampled = now
            if now - began > BLOCK_SECONDS_MAX + _GOES_BY_ITSELF_S:
                raise NeverEnds("its code never came back to the database")
            if now - began > BLOCK_SECONDS_MAX and not terminated:
                terminated = True
                self._counters.terminate(connections.pids)
        if terminated:
            raise NeverEnds(f"its calls came to no end within {BLOCK_SECONDS_MAX:.0f} s")
        return waited_s


class _Only:
    """A pool of one connection, for a body that asks for a pool while others wait for it to be done."""

    def __init__(self, connection: CountingConnection) -> None:
        self._connection = connection

    def connection(self, timeout: float | None = None) -> Any:
        return self._connection.transaction()


def definitions(scenario: Scenario, layout: str) -> list[str]:
    """The statements that make the tables of a scenario in a layout."""
    made = [f"CREATE SCHEMA IF NOT EXISTS {name}" for name in scenario.schemas]
    made += [f"CREATE EXTENSION IF NOT EXISTS {name}" for name in scenario.extensions]
    made += [scenario.tables, scenario.layouts[layout]]
    return [statement for statement in made if statement.strip()]


def _work(
    client: _Client,
    body: Body,
    given: CountingConnection | Connections,
    refusals: Sequence[Refusal],
    retryable: Sequence[str],
) -> None:
    clock: Callable[[], int] = time.perf_counter_ns
    for arguments in client.calls:
        began = clock()
        failure = _call(body, given, arguments, refusals, retryable)
        if failure is None:
            client.acknowledged += 1
            client.latencies[bucket(clock() - began)] += 1
        else:
            client.failed[failure] += 1


def _call(
    body: Body,
    given: CountingConnection | Connections,
    arguments: Arguments,
    refusals: Sequence[Refusal],
    retryable: Sequence[str],
) -> str | None:
    """Call, and call again after what is retryable; None if it was acknowledged, else what it failed with."""
    failure = ""
    for _ in range(_RETRIES_MAX):
        failure = ""
        try:
            body(given, **arguments)
        except Exception as error:
            match answer_to(error, refusals):
                case Ok() | Refused():
                    pass
                case _:
                    failure = getattr(error, "sqlstate", None) or type(error).__name__
        if not isinstance(given, CountingConnection) or given.closed:
            pass
        elif given.info.transaction_status != TransactionStatus.IDLE:
            failure = failure or "left its transaction open"
            given.rollback()
        if failure not in retryable:
            break
    return failure or None
