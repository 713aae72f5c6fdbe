"""The version axis: for each strategy the first cell of which two servers do not say the same, and who shows what."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.campaign.campaign import Report
from harness.model.cell import Cell
from harness.model.codec import CodecError, encode
from harness.model.verdict import CellResult, Finding
from harness.reports.summary import counted


def version_lines(report: Report) -> list[str]:
    """Nothing where there was one server; cells that not every server could judge are counted, not compared."""
    if len(report.servers) < 2:
        return []
    names = [server.id for server in report.servers]
    differing: dict[tuple[str, str], list[dict[str, CellResult]]] = {}
    same, alone = 0, 0
    for by_server in _cells(report.cells).values():
        if len(by_server) < len(names):
            alone += 1
        elif len({_said(result) for result in by_server.values()}) == 1:
            same += 1
        else:
            cell = next(iter(by_server.values())).cell
            differing.setdefault((cell.scenario, cell.strategy), []).append(by_server)
    lines = [line for cells in differing.values() for line in _first(cells)]
    lines.append(f"{counted(same, 'cell')} {'is' if same == 1 else 'are'} the same on {', '.join(names)}")
    if alone:
        lines.append(f"{counted(alone, 'cell')} could not be compared: not every server has a verdict")
    return lines


def _cells(results: Iterable[CellResult]) -> dict[Cell, dict[str, CellResult]]:
    """By what is left of a cell without its server."""
    cells: dict[Cell, dict[str, CellResult]] = {}
    for result in results:
        cells.setdefault(replace(result.cell, server=""), {})[result.cell.server] = result
    return cells


def _said(result: CellResult) -> tuple[str, frozenset[str]]:
    return str(result.verdict), frozenset(finding.violation.name for finding in result.findings)


def _first(cells: Sequence[dict[str, CellResult]]) -> Iterable[str]:
    by_server = cells[0]
    cell = next(iter(by_server.values())).cell
    verdicts = ", ".join(f"{server} {_verdict(result)}" for server, result in by_server.items())
    more = f"; {counted(len(cells) - 1, 'further cell')} of this strategy differ" if len(cells) > 1 else ""
    where = f"{cell.scenario}::{cell.strategy}[{cell.layout},{cell.state},{cell.isolation}]"
    yield f"first difference: {where}: {verdicts}{more}"
    for server, result in by_server.items():
        for finding in result.findings:
            kind = finding.violation.name
            lacking = [name for name, other in by_server.items() if kind not in _said(other)[1]]
            if lacking:
                yield f"  {kind} on {server}, not on {', '.join(lacking)}; {_replayed(finding, result)}"


def _verdict(result: CellResult) -> str:
    kinds = ", ".join(dict.fromkeys(finding.violation.name for finding in result.findings))
    return f"{result.verdict} {kinds}" if kinds else str(result.verdict)


def _replayed(finding: Finding, result: CellResult) -> str:
    try:
        return f"replay with: harness replay '{encode(finding.schedule)}' --from {result.source}"
    except CodecError as error:
        return f"no line replays it: {error}"
