"""What `explore` and `replay` say beside a witness: they have the servers that the runs for it need."""

import time
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from harness.campaign.advise import Shown, Wish, advise
from harness.campaign.campaign import Report, Selection
from harness.campaign.replay import Replayed
from harness.model.advice import Advice
from harness.model.schedule import Schedule
from harness.model.verdict import CellResult, Finding
from harness.reports.advice import advice_lines
from harness.reports.picks import Wanted, picks
from harness.scenario.language import Scenario
from harness.servers.server import Server


def advised(report: Report, selections: Sequence[Selection], wanted: Wanted, wish: Wish, aside: Console) -> Report:
    """The report, its findings that are to be printed with all that is told beside them."""
    scenarios = {selection.scenario.name: selection.scenario for selection in selections}
    chosen = [pick.finding for pick in picks(report.cells, wanted)]
    if not chosen or (wish.deadline is not None and time.time() > wish.deadline):
        return report
    shown = [Shown(f.schedule, f.violation.name, scenarios[f.schedule.cell.scenario]) for f in chosen]
    found = advise(shown, report.servers, wish, lambda text: aside.print(text, soft_wrap=True))

    def told(result: CellResult, finding: Finding) -> Finding:
        return replace(finding, advice=found.get((result.cell, finding.violation.name)))

    cells = [replace(one, findings=tuple(told(one, finding) for finding in one.findings)) for one in report.cells]
    return replace(report, cells=tuple(cells))


def advised_replay(
    schedule: Schedule, replayed: Replayed, scenario: Scenario, server: Server, *, try_repairs: bool
) -> list[str]:
    """Nothing where the outcome is allowed: then there is nothing to repair."""
    violation = replayed.violation
    if violation is None:
        return []
    here = replace(schedule, cell=replace(schedule.cell, server=server.id, version=server.version))
    shown = Shown(here, violation.name, scenario)
    wish = Wish(variations=False, repairs=True, workers=0)
    advice = advise([shown], [server], wish)[shown.key] if try_repairs else Advice()
    return advice_lines(advice)
