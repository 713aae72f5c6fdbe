"""One strategy in one layout: the unit of work of a worker, with the database it runs in."""

import os
import pickle
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import psycopg
from psycopg import sql

from harness.campaign.cell import CellExplorer, Limits
from harness.campaign.judge import Judge
from harness.campaign.recall import Known, Recall, Recalled, Retired
from harness.generators.contests import contests
from harness.model.cell import Cell, Isolation
from harness.model.contest import Contest
from harness.model.schedule import Gates
from harness.model.sqlstate import describe
from harness.model.verdict import CellResult, Verdict
from harness.runners.explorer import Explorer, queries_of
from harness.runners.journal import Journal, Way
from harness.runners.plans import Statements
from harness.runners.virtual import virtual
from harness.scenario.discovery import digest, find
from harness.scenario.errors import ScenarioError
from harness.scenario.language import Scenario
from harness.scenario.strategy import Strategy
from harness.servers.databases import own_database
from harness.servers.server import Server, ServerError, one_line
from harness.sessions.arena import Arena, ResetFailed
from harness.sessions.control import ControlLost, SqlRefused
from harness.sessions.steering import Steering, trial_seconds
from harness.sessions.watch import watched


class Task(Protocol):
    """What a worker is given: one strategy's cells in one layout, and what to do there."""

    @property
    def cells(self) -> tuple[Cell, ...]: ...

    def only(self, cells: tuple[Cell, ...]) -> Self:
        """The same for some of its cells."""
        ...

    def run(self, arenas: "Arenas", *, by_force: bool) -> Iterator[Any]:
        """One event for each cell, in their order."""
        ...


class Packed:
    """Contests on their way to a worker. Their arguments may be of the scenario's own types, of which the worker knows
    nothing before it has loaded the file: so it receives bytes, and looks into them afterwards.
    """

    def __init__(self, contests: Sequence[Contest] = (), packed: bytes = b"") -> None:
        self._contests, self._packed = tuple(contests), packed

    def __reduce__(self) -> tuple[type["Packed"], tuple[tuple[Contest, ...], bytes]]:
        return Packed, ((), self._packed or pickle.dumps(self._contests))

    def contests(self) -> tuple[Contest, ...]:
        """Not before the scenario is loaded."""
        return pickle.loads(self._packed) if self._packed else self._contests


@dataclass(frozen=True, slots=True)
class Job:
    server: Server
    path: str  # of the scenario's file: a worker loads it itself
    scenario: str
    layout: str
    cells: tuple[Cell, ...]  # of one strategy
    sessions: int
    gates: Gates
    orders_max: int
    faults: bool
    deadline: float | None  # time.time() at which the budget is spent
    plans: bool = False  # of what passes: how the server runs the statements that were seen
    scheduler: str = "portfolio"
    seed: int = 0
    overlaps: int = 1000
    examples: int = 0
    known: tuple[Known, ...] = ()  # witnesses of earlier runs, of these cells
    scenario_file: str = ""  # as a witness or journal is to name it
    contests: Packed | None = None  # in place of those of the scope: of the cells' state
    alone: bool = False  # serial orders only
    first_finding: bool = False  # is enough: an unsafe cell is not explored on for further kinds

    def only(self, cells: tuple[Cell, ...]) -> "Job":
        return replace(self, cells=cells)

    def about(self, *contests: Contest) -> "Job":
        """The same, of these contests and no others."""
        return replace(self, contests=Packed(contests))

    def run(self, arenas: "Arenas", *, by_force: bool) -> Iterator["Event"]:
        return run_job(self, arenas, by_force=by_force)


@dataclass(frozen=True, slots=True)
class Impossible:
    """The layout forbids the state: there is no such cell."""

    cell: Cell


class Arenas:
    """The databases a worker holds open: the bare tables for the specification, and the last layout."""

    def __init__(self, cpu: int | None, journal: Journal | None = None) -> None:
        self._cpu, self.journal = cpu, journal
        self.opening = False  # in the middle of making a database
        self._open: dict[tuple[str, str, str], tuple[Arena, ExitStack]] = {}
        self._specifications: dict[Arena, Explorer] = {}

    def get(self, server: Server, scenario: Scenario, layout: str) -> Arena:
        key = (server.dsn(), scenario.path + scenario.name, layout)
        if key not in self._open:
            for old in [k for k in self._open if k[:2] != key[:2] or (layout != "none" and k[2] != "none")]:
                self._close(old)
            stack = ExitStack()
            try:
                self.opening = True
                try:
                    database = stack.enter_context(own_database(server, label=f"{scenario.name} {layout}"))
                finally:
                    self.opening = False
                arena = self._build(server, database, scenario, layout)
                stack.callback(arena.close)
            except BaseException:
                stack.close()
                raise
            self._open[key] = (arena, stack)
        return self._open[key][0]

    def _build(self, server: Server, database: str, scenario: Scenario, layout: str) -> Arena:
        try:
            arena = Arena(
                server,
                database,
                ddl_of(scenario, layout),
                queries=queries_of(scenario)[0],
                observe=scenario.observe,
                settings=scenario.settings,
                cpu=self._cpu,
            )
        except SqlRefused as refused:
            raise _refused(scenario, f"layout {layout}", refused) from refused
        try:
            _check_settings(scenario, arena)
        except BaseException:
            arena.close()
            raise
        return arena

    def specification(self, server: Server, scenario: Scenario, steering: Steering) -> Explorer:
        """The operations' own bodies on bare tables; one for all strategies, since it remembers what it has run."""
        bare = self.get(server, scenario, "none")
        if bare not in self._specifications:
            bodies = scenario.specification()
            self._specifications[bare] = Explorer(
                bare,
                scenario,
                lambda n: (bodies,) * n,
                Isolation.READ_COMMITTED,
                steering,
                journal=self.journal,
                alone=Way.SPECIFICATION,
            )
        return self._specifications[bare]

    def _close(self, key: tuple[str, str, str]) -> None:
        arena, stack = self._open.pop(key)
        self._specifications.pop(arena, None)
        stack.close()

    def close(self) -> None:
        with ExitStack() as all_of_them:
            for key in list(self._open):
                all_of_them.push(self._open.pop(key)[1])


def ddl_of(scenario: Scenario, layout: str) -> list[str]:
    """What makes the scenario's tables in this layout, in an empty database."""
    ddl = [f"CREATE SCHEMA IF NOT EXISTS {name}" for name in scenario.schemas]
    ddl += [f"CREATE EXTENSION IF NOT EXISTS {name}" for name in scenario.extensions]
    return [sql for sql in (*ddl, scenario.tables, scenario.layouts[layout]) if sql.strip()]


Event = CellResult | Impossible | Recalled | Retired


def run_job(
    job: Job, arenas: Arenas | None = None, *, by_force: bool = False, journal: Journal | None = None
) -> Iterator[Event]:
    """The results of the job's cells, one after the other, and before each what became of its known witnesses.

    `by_force`: as `watched` has it. `journal` is for arenas that are opened here.

    Raises ScenarioError for SQL that the server refuses, ServerError when the server goes away.
    """
    own = arenas is None
    arenas = arenas or Arenas(current_cpu(), journal)
    try:
        with under_watch(arenas, f"{job.scenario}, layout {job.layout}", by_force=by_force):
            yield from _run(job, arenas)
    finally:
        if own:
            arenas.close()


@contextmanager
def under_watch(arenas: Arenas, what: str, *, by_force: bool = False) -> Iterator[None]:
    """Code under test runs within: watched, on a virtual clock. Raises ServerError when the server goes away."""
    try:
        with watched(trial_seconds(), by_force=by_force), virtual():
            yield
    except (ControlLost, psycopg.OperationalError) as lost:
        with suppress(Exception):
            arenas.close()
        raise ServerError(
            f"the server went away in the middle of {what}: {one_line(lost)}; look into its log, and run this again"
        ) from lost


_kept: list[Arenas] = []


@contextmanager
def keep_open(arenas: Arenas) -> Iterator[None]:
    """Within the block `explored` finds and leaves its databases there: for a process that explores cell after cell."""
    _kept.append(arenas)
    try:
        yield
    finally:
        _kept.pop()


def explored(job: Job) -> tuple[CellResult | Impossible, ...]:
    """`run_job` for any executor: all of its results at once. Raises as `run_job` does."""
    events = run_job(job, _kept[-1] if _kept else None, by_force=bool(_kept))
    return tuple(event for event in events if isinstance(event, CellResult | Impossible))


def current_cpu() -> int | None:
    """The CPU that this process is pinned to, for its backends to follow; None if it is not."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[0] if len(cpus) == 1 else None


_loaded: dict[str, list[Scenario]] = {}


def loaded(path: str, name: str) -> Scenario:
    """The scenario of that name in that file, which is read once in a process."""
    if path not in _loaded:
        _loaded[path] = find(path)
    return next(s for s in _loaded[path] if s.name == name)


def explorers_for(
    arenas: Arenas, server: Server, scenario: Scenario, strategy: Strategy, cell: Cell, *, gates: Gates
) -> tuple[Explorer, Explorer]:
    """The explorer of the cell's strategy, and that of the specification on bare tables."""
    arena = arenas.get(server, scenario, cell.layout)
    arena.install_gates(gates)
    steering = Steering(server.wake_order)
    explorer = Explorer(
        arena,
        scenario,
        strategy.bind_sessions,
        cell.isolation,
        steering,
        autocommit=strategy.autocommit,
        journal=arenas.journal,
    )
    return explorer, arenas.specification(server, scenario, steering)


def _run(job: Job, arenas: Arenas) -> Iterator[Event]:
    scenario = loaded(job.path, job.scenario)
    strategy = next(s for s in scenario.strategies if s.name == job.cells[0].strategy)
    what = digest(scenario, job.layout)
    for cell in job.cells:
        if arenas.journal:
            arenas.journal.at(cell, what, job.scenario_file)
        explorer, specification = explorers_for(arenas, job.server, scenario, strategy, cell, gates=job.gates)
        yield from _explore(job, cell, scenario, strategy, explorer, specification, what)


def _explore(
    job: Job, cell: Cell, scenario: Scenario, strategy: Strategy, explorer: Explorer, specification: Explorer, what: str
) -> Iterator[Event]:
    left = None if job.deadline is None else job.deadline - time.time()
    if left is not None and left <= 0:
        yield CellResult(cell, Verdict.UNKNOWN, "the budget was spent before this cell was begun")
        return
    limits = Limits(
        orders_max=job.orders_max,
        faults=job.faults,
        deadline=None if left is None else time.monotonic() + left,
        scheduler=job.scheduler,
        seed=job.seed,
        alone=job.alone,
        first_finding=job.first_finding,
        examples=job.examples,
    )
    scope = contests(scenario, strategy, cell.state, job.sessions) if job.contests is None else ()
    chosen = scope if job.contests is None else job.contests.contests()
    try:
        for contest in chosen:
            explorer.prepare(contest)
            specification.prepare(contest)
    except SqlRefused as refused:
        if refused.sqlstate.startswith("23") and _possible_on_bare_tables(specification, chosen):
            yield Impossible(cell)
            return
        raise _refused(scenario, f"state {cell.state}", refused) from refused
    except (ScenarioError, ControlLost, psycopg.OperationalError):
        raise
    except Exception as error:  # a state may call operations, and those may raise what they like
        raise ScenarioError(
            f"scenario {scenario.name}, state {cell.state}: {type(error).__name__}: {one_line(error)}", *scenario.place
        ) from error
    retryable = frozenset(strategy.retryable_at(cell.isolation))
    statements = explorer.observer = Statements() if job.plans else None
    try:
        judge = Judge(cell, explorer, specification, retryable, what, overlaps_max=job.overlaps)
        recall = Recall(judge, scenario, job.gates, job.faults)
        yield from recall.replay(known for known in job.known if known.cell.id == cell.id)
        exploring = CellExplorer(judge, limits, gates=bool(job.gates))
        result, fixed = recall.settle(exploring.result(chosen), exploring.clean, limits)
        yield from fixed
        if statements is not None and result.verdict in (Verdict.SAFE, Verdict.RETRY):
            explorer.prepare(chosen[0], truncate=True)  # a plan depends on the sizes of heaps, and those on the past
            result = replace(result, coverage=replace(result.coverage, plans=statements.plans(explorer.arena)))
        yield result
    except SqlRefused as refused:
        raise _refused(scenario, "identity, observe or invariants", refused) from refused
    except ResetFailed as error:
        raise ScenarioError(f"scenario {scenario.name}, layout {job.layout}: {error}", *scenario.place) from error


def _check_settings(scenario: Scenario, arena: Arena) -> None:
    """Sessions get them when they connect; a connection that fails would not say that it is for these."""
    for name, value in scenario.settings.items():
        pair = sql.SQL(", ").join((sql.Literal(name), sql.Literal(value))).as_string(None)
        try:
            arena.control.run(f"SELECT set_config({pair}, true)")
        except SqlRefused as refused:
            if refused.sqlstate != "55P02":  # cannot be changed later: only a connection can tell
                raise _refused(scenario, f"settings {name}={value!r}", refused) from refused


def _refused(scenario: Scenario, part: str, refused: SqlRefused) -> ScenarioError:
    said = f"{one_line(refused)} ({describe(refused.sqlstate)})"
    return ScenarioError(f"scenario {scenario.name}, {part}: the server refuses it: {said}", *scenario.place)


def _possible_on_bare_tables(specification: Explorer, chosen: object) -> bool:
    try:
        for contest in chosen:  # type: ignore[attr-defined]
            specification.prepare(contest)
    except SqlRefused:
        return False
    return True
