"""From patterns to a report: which cells are meant, who runs them, and what they come to together."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from harness.campaign.job import Event, Impossible, Job
from harness.campaign.recall import Recalled, Retired
from harness.campaign.replay import Replayed as Replayed
from harness.campaign.replay import replay as replay
from harness.campaign.store import Store
from harness.campaign.workers import run_here, run_in_workers
from harness.model.cell import Cell, CellPattern, Isolation, parse_pattern
from harness.model.schedule import Gates
from harness.model.verdict import CellResult, Verdict
from harness.scenario.check import check
from harness.scenario.discovery import find
from harness.scenario.errors import ScenarioError, listed
from harness.scenario.expectations import expected, is_as_expected, stale_rules
from harness.scenario.language import Scenario
from harness.servers.server import Server
from harness.sessions.steering import trial_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    sessions: int = 2
    budget_s: float | None = None
    seed: int = 0
    gates: Gates = Gates.USUAL
    faults: bool = False
    examples: int = 0  # contests to draw in each cell that the small scope does not condemn
    overlaps: int = 1000  # runs without gates to confirm a finding that needed one
    scheduler: str = "portfolio"  # one of campaign.search.SCHEDULERS
    workers: int | None = None  # None: one per CPU; 0: in this process
    orders_max: int = 4000
    layouts: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    isolations: tuple[Isolation, ...] = ()
    plans: bool = False  # note how the server runs the statements of what passes
    again: bool = False  # the cells of an earlier run: whether their strategy ever met anybody was judged then


@dataclass(frozen=True, slots=True)
class Progress:
    done: int
    total: int
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """What a person should know at once."""

    text: str


@dataclass(frozen=True, slots=True)
class Selection:
    """One scenario with the cells of it that are meant."""

    scenario: Scenario
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Report:
    cells: tuple[CellResult, ...]
    servers: tuple[Server, ...]
    options: Options
    warnings: tuple[str, ...]
    stale: tuple[str, ...]
    elapsed_s: float


Listener = Callable[[CellResult | Progress | Note], None]


def select(patterns: Sequence[str], options: Options, servers: Sequence[str]) -> list[Selection]:
    """The cells that the patterns and options mean; none at all means all.

    Raises ScenarioError for a scenario that is wrong and for a selection that is empty, IdError for a bad pattern.
    """
    meant: dict[int, tuple[Scenario, list[CellPattern]]] = {}
    for pattern in map(parse_pattern, patterns or [""]):
        for scenario in find(pattern.source):
            meant.setdefault(id(scenario), (scenario, []))[1].append(pattern)
    merged: dict[str, tuple[Scenario, list[CellPattern]]] = {}
    for scenario, wanted in meant.values():
        merged.setdefault(scenario.path + scenario.name, (scenario, []))[1].extend(wanted)
    selections = []
    for scenario, wanted in merged.values():
        check(scenario)
        _refuse_unknown_words(scenario, wanted, options, servers)
        cells = tuple(
            cell
            for cell in cells_of(scenario, servers)
            if any(pattern.matches(cell) for pattern in wanted)
            and (not options.layouts or cell.layout in options.layouts)
            and (not options.states or cell.state in options.states)
            and (not options.isolations or cell.isolation in options.isolations)
        )
        if cells:
            selections.append(Selection(scenario, cells))
    if not selections:
        raise ScenarioError("no cell is selected: 'harness list' shows what there is")
    return selections


def cells_of(scenario: Scenario, servers: Sequence[str]) -> Iterable[Cell]:
    """Every cell of a scenario, in the order in which tables show them."""
    for server in servers:
        for strategy in scenario.strategies:
            for layout in scenario.layouts:
                for state in scenario.states:
                    for isolation in strategy.levels:
                        yield Cell(scenario.name, strategy.name, layout, state, isolation, server)


def _refuse_unknown_words(
    scenario: Scenario, patterns: Sequence[CellPattern], options: Options, servers: Sequence[str]
) -> None:
    known = {*scenario.layouts, *scenario.states, *(i.value for i in Isolation), *servers}
    names = [strategy.name for strategy in scenario.strategies]
    for pattern in patterns:
        if pattern.strategy is not None and pattern.strategy not in names:
            raise ScenarioError(
                f"scenario {scenario.name} has no strategy {pattern.strategy!r}: it has {listed(names)}"
            )
        for word in pattern.words:
            if word not in known:
                raise ScenarioError(
                    f"{word!r} is no layout, state, isolation level or server here: there are {listed(sorted(known))}"
                )


def explore(
    selections: Sequence[Selection],
    servers: Sequence[Server],
    options: Options,
    listen: Listener = lambda event: None,
    store: Store | None = None,
) -> Report:
    """Explore every selected cell, on as many workers as there are CPUs; what the store knows of them first."""
    began = time.monotonic()
    trial_seconds()  # a value that is none is told now, and once
    deadline = None if options.budget_s is None else time.time() + options.budget_s
    jobs = list(jobs_of(selections, servers, options, deadline))
    total = sum(len(job.cells) for job in jobs)
    results: list[CellResult] = []
    scenarios = {selection.scenario.name: selection.scenario for selection in selections}
    running: Path | None = None
    if store is not None:
        store.say = lambda text: listen(Note(text))
        store.open()
        store.tell_the_dead(cell for job in jobs for cell in job.cells)
        jobs = [store.prepared(job, scenarios[job.scenario]) for job in jobs]
        running = store.place_for_journals()

    def take(event: Event) -> None:
        match event:
            case CellResult():
                if store is not None:
                    store.explored(event, scenarios[event.cell.scenario])
                take_result(event)
            case Impossible():
                impossible.append(event.cell.id)
            case Recalled() | Retired() if store is not None:
                store.heard(event, scenarios[event.cell.scenario])

    def take_result(result: CellResult) -> None:
        judged = against_expectation(result, scenarios[result.cell.scenario])
        results.append(judged)
        listen(judged)
        listen(Progress(len(results), total, judged.cell.id))

    workers = (
        min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, len(jobs))
        if options.workers is None
        else options.workers
    )
    impossible: list[str] = []
    try:
        for event in run_here(jobs, running) if workers == 0 else run_in_workers(jobs, workers, running):
            take(event)
    finally:
        if store is not None:
            store.close()
    order = {cell.id: n for n, cell in enumerate(cell for s in selections for cell in s.cells)}
    results.sort(key=lambda result: order[result.cell.id])
    judged = results if options.again else _never_contended(results)
    return Report(
        tuple(judged), tuple(servers), options, (), _stale(selections, judged, options), time.monotonic() - began
    )


def jobs_of(
    selections: Sequence[Selection], servers: Sequence[Server], options: Options, deadline: float | None
) -> Iterable[Job]:
    by_id = {server.id: server for server in servers}
    for selection in selections:
        key = lambda cell: (cell.server, cell.layout)  # noqa: E731 - one arena each: jobs that share it go to one worker
        known = [replace(cell, version=by_id[cell.server].version) for cell in selection.cells]
        for (server, layout), cells in groupby(sorted(known, key=key), key=key):
            by_strategy: dict[str, list[Cell]] = {}
            for cell in cells:
                by_strategy.setdefault(cell.strategy, []).append(cell)
            for mine in by_strategy.values():
                yield Job(
                    by_id[server], selection.scenario.path, selection.scenario.name, layout, tuple(mine),
                    options.sessions, options.gates, options.orders_max, options.faults, deadline, options.plans,
                    options.scheduler, options.seed, options.overlaps, options.examples,
                )  # fmt: skip


def against_expectation(result: CellResult, scenario: Scenario) -> CellResult:
    strategy = next(s for s in scenario.strategies if s.name == result.cell.strategy)
    left = bool(result.findings) and not any(finding.contest.stays for finding in result.findings)
    rule = expected(strategy, result.cell, any_state=left)
    kinds = {finding.violation.name for finding in result.findings}
    if left:  # in more sessions and calls one race shows as several kinds: told, but held against nobody
        kinds = kinds & rule.kinds or kinds
    return replace(
        result, expected=rule.text, as_expected=is_as_expected(rule, result.verdict, kinds), source=scenario.path
    )


def _never_contended(results: list[CellResult]) -> list[CellResult]:
    """A strategy that met nobody, in no cell of an isolation level, has shown nothing there: its passes are unknown."""
    met = {
        (r.cell.scenario, r.cell.strategy, r.cell.isolation, r.cell.server)
        for r in results
        if r.coverage.contended or r.findings
    }
    return [
        r
        if r.verdict not in (Verdict.SAFE, Verdict.RETRY)
        or (r.cell.scenario, r.cell.strategy, r.cell.isolation, r.cell.server) in met
        else replace(
            r,
            verdict=Verdict.UNKNOWN,
            reason="never contended: no session waited or failed, and no order made a difference",
            as_expected=r.expected.startswith("unknown"),
        )
        for r in results
    ]


def _stale(selections: Sequence[Selection], results: Sequence[CellResult], options: Options) -> tuple[str, ...]:
    """Rules that no cell meets any more; only said of scenarios that were explored whole."""
    if options.layouts or options.states or options.isolations:
        return ()
    stale = []
    by_strategy: dict[tuple[str, str], list[CellResult]] = {}
    for result in results:
        by_strategy.setdefault((result.cell.scenario, result.cell.strategy), []).append(result)
    for selection in selections:
        for strategy in selection.scenario.strategies:
            mine = by_strategy.get((selection.scenario.name, strategy.name), [])
            whole = [c for c in selection.cells if c.strategy == strategy.name]
            if not mine or len(whole) < len(selection.scenario.layouts) * len(selection.scenario.states) * len(
                strategy.levels
            ):
                continue
            if any(r.verdict is Verdict.UNKNOWN or not (r.coverage.exhaustive or r.findings) for r in mine):
                continue
            seen = [(r.cell, r.verdict, {f.violation.name for f in r.findings}) for r in mine]
            stale += [f"{selection.scenario.name}::{strategy.name}: {rule}" for rule in stale_rules(strategy, seen)]
    return tuple(stale)
