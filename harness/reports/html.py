"""The report as one page that needs no network: the tables, and every witness to be folded out."""

from collections.abc import Iterable
from html import escape

from harness.campaign.campaign import Report
from harness.reports.picks import Wanted, picks
from harness.reports.summary import coverage_lines, totals
from harness.reports.verdicts import NO_CELL, STALE, WORSE, Entry, VerdictTable, verdict_tables
from harness.reports.witness import kind, witness

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .15em 1em .15em 0; border-bottom: 1px solid #8884; }
pre { overflow-x: auto; padding: .8em; border: 1px solid #8886; font-size: 13px; }
.unsafe { color: #b3261e; } .retry { color: #8a6100; } .safe { color: #1b6e3a; } .unknown { color: #7a3e9d; }
.worse { font-weight: bold; text-decoration: underline; }
:root { color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  .unsafe { color: #ff8a80; } .retry { color: #ffc04d; } .safe { color: #7ddb9a; } .unknown { color: #d6a6f2; }
}"""


def html_report(report: Report, wanted: Wanted = "all") -> str:
    parts = [
        "<!doctype html>",
        '<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>Upserts under concurrency</title><style>{_STYLE}</style>",
        f"<h1>Upserts under concurrency</h1><p>{escape(totals(report))}</p>",
        *_listed("", [server.describe() for server in report.servers]),
        *_listed("Warnings", report.warnings),
    ]
    for table in verdict_tables(report):
        parts += [f"<h2>{escape(table.title)}</h2>", *_table(table)]
        parts += _listed("", (*table.legend, *coverage_lines(table.results, width=None)))
    chosen = picks(report.cells, wanted)
    parts += ["<h2>Findings</h2>"] if chosen else []
    for pick in chosen:
        summary = f"<code>{escape(pick.result.cell.id)}</code>: {escape(kind(pick.finding))}"
        parts.append(f"<details{'' if pick.result.as_expected else ' open'}><summary>{summary}</summary>")
        parts.append(f"<pre>{escape(witness(pick.finding, pick.result.source))}</pre>{escape(pick.also)}</details>")
    parts += _listed("Stale rules", report.stale)
    return "\n".join(parts) + "\n</html>\n"


def _listed(title: str, items: Iterable[str]) -> list[str]:
    lines = [f"<li>{escape(item)}</li>" for item in items]
    heading = [f"<h2>{escape(title)}</h2>"] if title else []
    return [*heading, "<ul>", *lines, "</ul>"] if lines else []


def _table(table: VerdictTable) -> Iterable[str]:
    heads = ("strategy", "layout", "start state", *(level.sql for level in table.isolations))
    yield f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"
    for block in table.blocks:
        for number, line in enumerate(block.lines):
            name = f"{block.strategy}{f' {STALE}' if block.stale else ''}" if number == 0 else ""
            cells = (name, ", ".join(line.layouts), ", ".join(line.states))
            labels = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            yield f"<tr>{labels}{''.join(map(_entry, line.entries))}</tr>"
    yield "</table>"


def _entry(entry: Entry | None) -> str:
    if entry is None:
        return f"<td>{NO_CELL}</td>"
    mark, style = ("", "") if entry.as_expected else (f"{WORSE} ", " worse")
    return f'<td class="{entry.verdict}{style}">{mark}{escape(entry.text)}</td>'
