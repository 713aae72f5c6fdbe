"""The report as GitHub shows it: a table for each scenario, the witnesses folded away."""

from collections.abc import Iterable

from harness.campaign.campaign import Report
from harness.reports.picks import Wanted, picks
from harness.reports.summary import coverage_lines, totals
from harness.reports.verdicts import NO_CELL, STALE, WORSE, Entry, VerdictTable, verdict_tables
from harness.reports.witness import kind, witness


def markdown_report(report: Report, wanted: Wanted = "worst") -> str:
    lines = ["# Upserts under concurrency", "", totals(report), ""]
    lines += [f"- {server.describe()}" for server in report.servers]
    lines += _listed("Warnings", report.warnings)
    for table in verdict_tables(report):
        lines += ["", f"## {table.title}", "", *_table(table), ""]
        lines += [f"- {note}" for note in (*table.legend, *coverage_lines(table.results, width=None))]
    chosen = picks(report.cells, wanted)
    if chosen:
        lines += ["", "## Findings"]
    for pick in chosen:
        lines += ["", f"<details><summary><code>{pick.result.cell.id}</code>: {kind(pick.finding)}</summary>", ""]
        lines += [
            "```",
            witness(pick.finding, pick.result.source),
            "```",
            "",
            *([pick.also, ""] if pick.also else []),
            "</details>",
        ]
    lines += _listed("Stale rules", report.stale)
    return "\n".join(lines) + "\n"


def _listed(title: str, items: Iterable[str]) -> list[str]:
    items = list(items)
    return ["", f"## {title}", "", *(f"- {item}" for item in items)] if items else []


def _table(table: VerdictTable) -> Iterable[str]:
    heads = ["strategy", "layout", "start state", *(level.sql for level in table.isolations)]
    yield _row(heads)
    yield _row(["---"] * len(heads))
    for block in table.blocks:
        for number, line in enumerate(block.lines):
            name = f"`{block.strategy}`{f' {STALE}' if block.stale else ''}" if number == 0 else ""
            yield _row([name, ", ".join(line.layouts), ", ".join(line.states), *map(_entry, line.entries)])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _entry(entry: Entry | None) -> str:
    if entry is None:
        return NO_CELL
    return entry.text if entry.as_expected else f"**{WORSE} {entry.text}**"
