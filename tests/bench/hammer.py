"""The rows of the hammer: how fast it records, against a bare loop and pgbench; how fast it judges."""

import multiprocessing
import os
import subprocess
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter

import psycopg
from psycopg.conninfo import conninfo_to_dict

from harness.campaign.referee import Referee
from harness.generators.contests import contests
from harness.generators.rounds import spread
from harness.model.cell import Cell, Isolation
from harness.model.contest import Call, Contest
from harness.model.history import Batch, Calls
from harness.model.outcome import Ok
from harness.oracles.linearize import TooLarge
from harness.runners.canonical import Canonicaliser
from harness.runners.explorer import Explorer, queries_of
from harness.runners.ground import Ground
from harness.runners.hammer import Hammer, Setup
from harness.runners.history_file import HistoryWriter
from harness.runners.learned import Learned, Patience
from harness.runners.virtual import virtual
from harness.servers.choose import running
from harness.servers.databases import own_database
from harness.servers.embedded import wheel_binaries
from harness.servers.server import Server
from harness.sessions.arena import Arena
from harness.sessions.steering import Steering

from .report import NotMeasured, row
from .rows import Bench
from .upserts import UPSERT, upserts

CLIENTS, ROUNDS_A_TURN, TURNS = 8, 400, 9
KEYS = 50_000_000  # of one client
STRATEGY = next(s for s in upserts.strategies)
DDL = [upserts.tables, upserts.layouts["unique"]]


def _apart() -> Contest:
    """Each session on a key of its own: what the harness costs, and not what waiting for each other does."""
    calls = [Call("add", (("k", session * KEYS + 1), ("n", 1))) for session in range(CLIENTS)]
    return Contest("new", tuple((call,) for call in calls), "other k")


@contextmanager
def _peers() -> Iterator[tuple[Server, str]]:
    with running("embedded:18", purpose="hammer") as server, own_database(server, label="bench") as database:
        with psycopg.connect(server.dsn(database), autocommit=True) as connection:
            for statement in DDL:
                connection.execute(statement)
        yield server, database


def _hammered(hammer: Hammer, turn: int) -> float:
    """Calls a second, recorded."""
    bases = array("q", range(turn * ROUNDS_A_TURN, (turn + 1) * ROUNDS_A_TURN))
    batch = Batch(turn * ROUNDS_A_TURN, array("H", [0] * ROUNDS_A_TURN), bases)
    began = perf_counter()
    calls = hammer.race(batch)
    return len(calls) / (perf_counter() - began)


def _bare(dsn: str, client: int, ready: Barrier, done: "Queue[float]") -> None:
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        chance = Random(client)
        for _ in range(TURNS):
            ready.wait()
            began = perf_counter()
            for _ in range(ROUNDS_A_TURN):
                connection.execute(UPSERT, (client * KEYS + chance.randrange(KEYS), 1))
            done.put(perf_counter() - began)
            ready.wait()


def _pgbench(server: Server, database: str, folder: str) -> float:
    script = Path(folder) / "upsert.sql"
    text = UPSERT.replace("(%s, %s)", "(:k, 1)")
    script.write_text(f"\\set k :client_id * {KEYS} + random(1, {KEYS})\n{text};\n")
    told = conninfo_to_dict(server.dsn(database))
    environment = {**os.environ, "PGHOST": str(told["host"]), "PGUSER": str(told["user"])}
    environment["PGPORT"] = str(told.get("port", 5432))
    words = ["-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-t", str(ROUNDS_A_TURN), "-f", str(script)]
    command = [str(wheel_binaries("18") / "pgbench"), *words, database]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return next(float(line.split()[2]) for line in out.splitlines() if line.startswith("tps"))


def _measured() -> tuple[float, float, float]:
    """Calls a second of ours; how much of the bare loop's that is, and of pgbench's: medians of turns."""
    context = multiprocessing.get_context("spawn")
    with _peers() as (server, database), Hammer() as hammer, tempfile.TemporaryDirectory() as folder:
        hammer.setup(
            Setup(
                server=server,
                database=database,
                path=upserts.path,
                scenario="upserts",
                strategy=STRATEGY.name,
                isolation=Isolation.READ_COMMITTED,
                templates=(_apart(),),
            )
        )
        ready, done = context.Barrier(CLIENTS + 1), context.Queue()
        clients = [
            context.Process(target=_bare, args=(server.dsn(database), client, ready, done), daemon=True)
            for client in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        turns = []
        for turn in range(TURNS):
            ours = _hammered(hammer, turn)
            ready.wait()
            bare = CLIENTS * ROUNDS_A_TURN / max(done.get() for _ in clients)
            ready.wait()
            turns.append((ours, bare, _pgbench(server, database, folder)))
        for client in clients:
            client.join()
        kept = turns[1:]  # the first warms all up
        return (
            median(ours for ours, _, _ in kept),
            median(ours / bare for ours, bare, _ in kept),
            median(ours / peer for ours, _, peer in kept),
        )


def _against(bench: Bench) -> tuple[float, float, float]:
    if bench.hammer is None:
        if bench.cpus:
            os.sched_setaffinity(0, set(bench.cpus))  # the rows before pinned us, and children do as we do
        bench.hammer = _measured()
    return bench.hammer


@row("hammer, recorded: of a bare psycopg loop", "times", at_least=0.85)
def against_a_bare_loop(bench: Bench) -> float:
    return _against(bench)[1]


@row("hammer, recorded: of pgbench -M prepared -c 8 -j 2", "times", at_least=0.4)
def against_pgbench(bench: Bench) -> float:
    return _against(bench)[2]


@row("hammer, recorded, 8 sessions on keys of their own", "calls/s")
def recorded(bench: Bench) -> float:
    return _against(bench)[0]


# ---- judging --------------------------------------------------------------------------------------------------------


@row("judging outcomes of rounds of 8 calls on one key", "calls/s", at_least=20_000)
def judging(bench: Bench) -> float:
    return _judged(bench.server, CLIENTS, Referee)


@row("duplicates and sums of rounds of 64 calls on one key", "calls/s", at_least=200_000)
def summing(bench: Bench) -> float:
    return _judged(bench.server, 64, _WithoutSearch)


class _WithoutSearch(Referee):
    """As if every round had too many orders."""

    def _search(self, *_: object) -> tuple[int, ...] | None:
        raise TooLarge("not measured here")


def _judged(server: Server, sessions: int, kind: type[Referee]) -> float:
    """A batch that was raced once is judged again and again; what its calls do alone is learned by then."""
    with _grounds(server) as (racing, learning), virtual(), Hammer() as hammer:
        model = contests(upserts, STRATEGY, "new")[0]
        explorer = Explorer(
            learning, upserts, STRATEGY.bind_sessions, Isolation.READ_COMMITTED, Steering(server.wake_order)
        )
        ground = Ground(racing, upserts, [model], sessions, lambda contest: b"")
        templates = tuple(template.contest for template in ground.templates)
        hammer.setup(
            Setup(
                server=server,
                database=racing.database,
                path=upserts.path,
                scenario="upserts",
                strategy=STRATEGY.name,
                isolation=Isolation.READ_COMMITTED,
                templates=templates,
            )
        )
        batch = ground.batch(0, [0] * (4_000 // sessions))
        ground.prepare(batch)
        calls = hammer.race(batch)
        learned = [[Learned(explorer, templates[0], Patience(60.0), apart=False)]]
        canonical = Canonicaliser(learning.tables, learning.sequence_bases, queries_of(upserts)[1](learning))
        referee = kind(ground, upserts, learned, canonical, frozenset())
        referee.check(batch, calls, *ground.read())
        took = []
        for _ in range(5):
            began = perf_counter()
            referee.check(batch, calls, *ground.read())  # the reading is part of it
            took.append(perf_counter() - began)
        if referee.tally.violations or bool(referee.tally.unjudged) != (kind is _WithoutSearch):
            raise NotMeasured("it judged wrongly")
        return len(calls) / min(took)


@contextmanager
def _grounds(server: Server) -> Iterator[tuple[Arena, Arena]]:
    """A database to race in and one to learn in, both with the table."""
    with ExitStack() as stack:
        arenas = []
        for label in ("race", "learn"):
            database = stack.enter_context(own_database(server, label=label))
            arenas.append(Arena(server, database, DDL, queries=queries_of(upserts)[0]))
            stack.callback(arenas[-1].close)
        yield arenas[0], arenas[1]


# ---- keeping --------------------------------------------------------------------------------------------------------


def _kept(batches: int) -> float:
    """Bytes a call in the file, of calls whose times are as irregular as real ones."""
    model = contests(upserts, STRATEGY, "new")[0]
    templates: Sequence[Contest] = [spread(upserts, model, CLIENTS)]
    cell = Cell("upserts", STRATEGY.name, "unique", "new", Isolation.READ_COMMITTED, "pg18")
    chance, now, rounds = Random(0), 10**15, 2_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calls.parquet"
        with HistoryWriter(path) as writer:
            for number in range(batches):
                calls = Calls(number * rounds, answers=[Ok(None)])
                for at in range(rounds):
                    now += chance.randrange(300_000, 900_000)
                    for session in range(CLIENTS):
                        began = now + chance.randrange(100_000)
                        for column, value in (
                            (calls.rounds, at),
                            (calls.sessions, session),
                            (calls.positions, 0),
                            (calls.began_ns, began),
                            (calls.ended_ns, began + chance.randrange(50_000, 500_000)),
                            (calls.told, 0),
                        ):
                            column.append(value)
                bases = array("q", range(number * rounds * 2, (number + 1) * rounds * 2, 2))
                writer.note(cell, templates, Batch(number * rounds, array("H", [0] * rounds), bases), calls)
        return path.stat().st_size / (batches * rounds * CLIENTS)


@row("a history on disk", "bytes a call", at_most=40)
def on_disk(bench: Bench) -> float:
    return _kept(20)


@row("memory while 10 million calls are kept (--full)", "MiB", at_most=1024)
def memory_of_history(bench: Bench) -> float:
    if not bench.full:
        raise NotMeasured("only with --full")
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_memory_of, (625,))


def _memory_of(batches: int) -> float:
    import resource

    _kept(batches)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
