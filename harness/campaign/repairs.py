"""What survives the contest of a witness: the scenario's other strategies, and its other layouts.

Same calls, same start state, same isolation level (a strategy that is for one level only is run at that one); every
order of that contest within the order budget, since other code has other steps. What was not run is no repair.
"""

import inspect
from collections.abc import Iterable, Iterator

from harness.campaign.job import Impossible, Job, Packed
from harness.model.advice import Repairs, Tried
from harness.model.cell import Cell
from harness.model.schedule import Gates, Schedule
from harness.model.verdict import CellResult, Verdict
from harness.scenario.language import Scenario
from harness.scenario.sql import SqlBody
from harness.scenario.strategy import Strategy
from harness.servers.server import Server


def repair_jobs(
    schedule: Schedule, scenario: Scenario, server: Server, gates: Gates, orders_max: int, deadline: float | None = None
) -> list[Job]:
    """One for each strategy and layout; the witness's own strategy is tried on the other layouts."""
    contests = Packed((schedule.contest,))
    return [
        Job(
            server, scenario.path, scenario.name, cell.layout, (cell,), len(schedule.contest.sessions), gates,
            orders_max, schedule.fault is not None, deadline, plans=True, overlaps=0, contests=contests,
        )
        for cell in cells(schedule, scenario)
    ]  # fmt: skip


def cells(schedule: Schedule, scenario: Scenario) -> Iterator[Cell]:
    """Those in which the contest is another code's, or meets other indexes: the witness's layout first."""
    here = schedule.cell
    called = {schedule.contest.call(ref).operation for ref in schedule.contest.operations}
    for layout in sorted(scenario.layouts, key=lambda name: name != here.layout):
        for strategy in scenario.strategies:
            if called & set(strategy.replaces) and (strategy.name, layout) != (here.strategy, here.layout):
                level = here.isolation if here.isolation in strategy.levels else strategy.levels[0]
                yield Cell(here.scenario, strategy.name, layout, here.state, level, here.server, here.version)


def repairs(schedule: Schedule, scenario: Scenario, events: Iterable[CellResult | Impossible]) -> Repairs:
    """What came of the jobs. A layout that forbids the start state has no say."""
    known = {strategy.name: strategy for strategy in scenario.strategies}
    tried = [_tried(event, known[event.cell.strategy]) for event in events if isinstance(event, CellResult)]
    return Repairs(schedule.cell, tuple(sorted(tried, key=lambda one: _rank(one, schedule.cell))))


def _tried(result: CellResult, strategy: Strategy) -> Tried:
    verdict, reason, coverage = result.verdict, result.reason, result.coverage
    if verdict in (Verdict.SAFE, Verdict.RETRY) and not coverage.contended:
        verdict, reason = Verdict.UNKNOWN, "never contended: nobody waited or failed, and no order made a difference"
    return Tried(
        result.cell,
        verdict,
        tuple(dict.fromkeys(finding.violation.name for finding in result.findings)),
        reason,
        coverage.orders,
        coverage.exhaustive,
        tuple(dict.fromkeys(plan.statement for plan in coverage.plans)),
        _lines(strategy),
    )


def _rank(tried: Tried, here: Cell) -> tuple[object, ...]:
    """What needs the least said comes first: no retry, no other level, the fewest different statements, then lines."""
    return (
        not tried.survives,
        tried.cell.layout != here.layout,
        tried.cell.layout,
        tried.verdict is not Verdict.SAFE,
        tried.cell.isolation is not here.isolation,
        len(tried.statements),
        tried.lines,
        tried.cell.strategy,
    )


def _lines(strategy: Strategy) -> int:
    """Of the code that replaces operations, without what it calls."""
    count = 0
    for body in strategy.functions.values():
        if isinstance(body, SqlBody):
            count += len(body.sql.strip().splitlines())
            continue
        try:
            source, _ = inspect.getsourcelines(inspect.unwrap(body))
        except (OSError, TypeError):  # made, or typed in: there is no source
            continue
        count += len(source) - len((inspect.getdoc(body) or "").splitlines())
    return count
