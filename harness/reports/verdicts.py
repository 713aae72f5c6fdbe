"""The verdict table: strategies downwards, isolation levels across; cells that say the same are told together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.campaign.campaign import Report
from harness.model.cell import Isolation
from harness.model.verdict import CellResult, Verdict
from harness.reports.summary import coverage_lines, unknown_reasons

WORSE = "!"
STALE = "~"
NO_CELL = "-"


@dataclass(frozen=True, slots=True)
class Entry:
    """One place of the table: the results of all cells that say the same there."""

    text: str
    verdict: Verdict
    as_expected: bool


@dataclass(frozen=True, slots=True)
class Line:
    """The cells of some layouts and states, one entry for each isolation level; None where there is no cell."""

    layouts: tuple[str, ...]
    states: tuple[str, ...]
    entries: tuple[Entry | None, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """One strategy of a verdict table."""

    strategy: str
    stale: bool
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class VerdictTable:
    """One scenario on one server, as data: text, Markdown and HTML are made from it."""

    scenario: str
    server: str
    isolations: tuple[Isolation, ...]
    blocks: tuple[Block, ...]
    results: tuple[CellResult, ...]

    @property
    def title(self) -> str:
        return f"{self.scenario} on {self.server}"

    @property
    def legend(self) -> tuple[str, ...]:
        """What the marks mean that occur in it."""
        entries = [entry for block in self.blocks for line in block.lines for entry in line.entries]
        lines = []
        if any(entry is not None and not entry.as_expected for entry in entries):
            lines.append(f"{WORSE} worse than its strategy expects")
        if any(block.stale for block in self.blocks):
            lines.append(f"{STALE} a rule of this strategy is met by no cell any more")
        if None in entries:
            lines.append(f"{NO_CELL} no such cell: not asked for, not at this level, or forbidden by the layout")
        return (*lines, *unknown_reasons(self.results))


def verdict_tables(report: Report) -> list[VerdictTable]:
    """A table for each scenario and server, in the order of the report."""
    places = dict.fromkeys((result.cell.scenario, result.cell.server) for result in report.cells)
    return [
        _table(place, [r for r in report.cells if (r.cell.scenario, r.cell.server) == place], report.stale)
        for place in places
    ]


def _table(place: tuple[str, str], results: Sequence[CellResult], stale: Sequence[str]) -> VerdictTable:
    isolations = tuple(level for level in Isolation if any(r.cell.isolation is level for r in results))
    reasons = unknown_reasons(results)
    blocks = []
    for strategy in dict.fromkeys(result.cell.strategy for result in results):
        mine = [result for result in results if result.cell.strategy == strategy]
        is_stale = any(r.stale for r in mine) or any(rule.startswith(f"{place[0]}::{strategy}: ") for rule in stale)
        blocks.append(Block(strategy, is_stale, tuple(_lines(mine, isolations, reasons))))
    return VerdictTable(*place, isolations, tuple(blocks), tuple(results))


def _lines(results: Sequence[CellResult], isolations: Sequence[Isolation], reasons: Sequence[str]) -> Iterable[Line]:
    """States with equal entries share a line; then layouts whose lines are equal do."""
    by_layout: dict[str, dict[tuple[Entry | None, ...], list[str]]] = {}
    for layout in dict.fromkeys(result.cell.layout for result in results):
        here = [result for result in results if result.cell.layout == layout]
        for state in dict.fromkeys(result.cell.state for result in here):
            of_state = {r.cell.isolation: _entry(r, reasons) for r in here if r.cell.state == state}
            entries = tuple(of_state.get(level) for level in isolations)
            by_layout.setdefault(layout, {}).setdefault(entries, []).append(state)
    shared: dict[tuple[tuple[tuple[str, ...], tuple[Entry | None, ...]], ...], list[str]] = {}
    for layout, lines in by_layout.items():
        shared.setdefault(tuple((tuple(states), entries) for entries, states in lines.items()), []).append(layout)
    for together, layouts in shared.items():
        for states, entries in together:
            yield Line(tuple(layouts), states, entries)


def _entry(result: CellResult, reasons: Sequence[str]) -> Entry:
    return Entry(describe(result, reasons), result.verdict, result.as_expected)


def describe(result: CellResult, reasons: Sequence[str] = ()) -> str:
    """`safe`, `unsafe 23505, duplicate`, `unknown [1]`"""
    match result.verdict:
        case Verdict.UNSAFE:
            return f"unsafe {', '.join(dict.fromkeys(f.violation.name for f in result.findings))}"
        case Verdict.UNKNOWN:
            number = next((n for n, text in enumerate(reasons, 1) if text.startswith(f"[{n}] {result.reason}")), None)
            return f"unknown [{number}]" if number else "unknown"
    return str(result.verdict)


# Text.

_COLOURS = {Verdict.UNSAFE: "red", Verdict.UNKNOWN: "magenta", Verdict.RETRY: "yellow", Verdict.SAFE: "green"}


def verdict_table(table: VerdictTable) -> RenderableType:
    """For a terminal or a log of 100 columns; everything that colour says, words and marks say as well."""
    rows = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), title_justify="left")
    rows.add_column(f"{table.title}: strategy\n  layout", overflow="fold", max_width=26)
    rows.add_column("\nstart state", overflow="fold", max_width=24)
    for level in table.isolations:
        rows.add_column(f"\n{level.sql}", overflow="fold", max_width=20)
    for block in table.blocks:
        _add_block(rows, block)
    notes = [f"  {note}" for note in table.legend] + coverage_lines(table.results)
    return Group(rows, Text("\n".join(notes)))


def _add_block(rows: Table, block: Block) -> None:
    raise NotImplementedError
