"""What `explore` and `replay` say beside a witness: they have the servers that the runs for it need."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from rich.console import Console

from harness.campaign.advise import Shown, Wish, advise
from harness.campaign.campaign import Report
from harness.campaign.replay import Replayed
from harness.model.advice import Advice
from harness.model.cell import Cell
from harness.model.schedule import Schedule
from harness.model.verdict import Finding
from harness.reports.advice import advice_lines
from harness.reports.causes import hints
from harness.reports.ground import ground
from harness.reports.picks import Wanted, picks
from harness.scenario.discovery import find
from harness.scenario.language import Scenario
from harness.servers.server import Server

Key = tuple[Cell, str]
"""A finding: no cell has two of one kind."""


def advised(
    report: Report, scenarios: Mapping[str, Scenario], wanted: Wanted, wish: Wish, aside: Console, *, every_hint: bool
) -> Report:
    """The report, its findings that are to be printed with all that is told beside them; others with hints, if asked.

    Within the budget: what no time is left for is not told.
    """
    if wish.deadline is not None and time.time() > wish.deadline:
        return report
    chosen = [pick.finding for pick in picks(report.cells, wanted)]
    found: dict[Key, Advice] = {}
    if chosen:
        shown = [Shown(f.schedule, f.violation.name, scenarios[f.schedule.cell.scenario]) for f in chosen]
        found.update(advise(shown, report.servers, wish, lambda text: aside.print(text, soft_wrap=True)))
    hinted = [pick.finding for pick in picks(report.cells, "all")] if every_hint else chosen
    found.update(with_hints(hinted, found, scenarios, report.servers))
    cells = [
        replace(one, findings=tuple(replace(f, advice=found.get(_key(f))) for f in one.findings))
        for one in report.cells
    ]
    return replace(report, cells=tuple(cells))


def _key(finding: Finding) -> Key:
    return finding.schedule.cell, finding.violation.name


def with_hints(
    findings: Iterable[Finding],
    known: Mapping[Key, Advice],
    scenarios: Mapping[str, Scenario],
    servers: Sequence[Server],
) -> Iterable[tuple[Key, Advice]]:
    """What is known of each, with its causes. A database is made once for all findings of a layout."""
    by_id = {server.id: server for server in servers}
    places: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        cell = finding.schedule.cell
        places.setdefault((cell.scenario, cell.layout, cell.server), []).append(finding)
    for (scenario, layout, server), those in places.items():
        with ground(by_id[server], scenarios[scenario], layout) as facts:
            for finding in those:
                advice = known.get(_key(finding), Advice())
                yield _key(finding), replace(advice, hints=hints(finding, facts, advice.repairs))


def advised_replay(
    schedule: Schedule, replayed: Replayed, source: str | None, server: Server, *, try_repairs: bool
) -> list[str]:
    """Nothing where the outcome is allowed: then there is nothing to repair."""
    name = schedule.cell.scenario
    violation, outcome = replayed.violation, replayed.outcome
    if violation is None or outcome is None:
        return []
    scenario = next(one for one in find(source or name) if one.name == name)
    here = replace(schedule, cell=replace(schedule.cell, server=server.id, version=server.version))
    finding = Finding(violation, schedule.contest, here, replayed.trace, outcome, ())
    found: dict[Key, Advice] = {}
    if try_repairs:
        wish = Wish(variations=False, repairs=True, workers=0)
        found.update(advise([Shown(here, violation.name, scenario)], [server], wish))
    ((_, advice),) = with_hints([finding], found, {scenario.name: scenario}, [server])
    return advice_lines(advice, here.cell)
