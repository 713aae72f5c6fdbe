"""The verdict table: strategies downwards, isolation levels across; cells that say the same are told together."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import zip_longest

from rich.text import Text

from harness.campaign.campaign import Report
from harness.model.cell import Isolation
from harness.model.verdict import CellResult, Verdict
from harness.reports.summary import counted, numbered_reasons

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
            lines.append(
                f"{NO_CELL} no such cell: not asked for, not for this level, or a state that the layout forbids"
            )
        for reason, number in numbered_reasons(self.results).items():
            cells = sum(r.verdict is Verdict.UNKNOWN and r.reason == reason for r in self.results)
            lines.append(f"[{number}] {reason} ({counted(cells, 'cell')})")
        return tuple(lines)


def verdict_tables(report: Report) -> list[VerdictTable]:
    """A table for each scenario and server, in the order of the report."""
    places = dict.fromkeys((result.cell.scenario, result.cell.server) for result in report.cells)
    return [
        _table(place, [r for r in report.cells if (r.cell.scenario, r.cell.server) == place], report.stale)
        for place in places
    ]


def _table(place: tuple[str, str], results: Sequence[CellResult], stale: Sequence[str]) -> VerdictTable:
    isolations = tuple(level for level in Isolation if any(r.cell.isolation is level for r in results))
    reasons = numbered_reasons(results)
    blocks = []
    for strategy in dict.fromkeys(result.cell.strategy for result in results):
        mine = [result for result in results if result.cell.strategy == strategy]
        is_stale = any(r.stale for r in mine) or any(rule.startswith(f"{place[0]}::{strategy}: ") for rule in stale)
        blocks.append(Block(strategy, is_stale, tuple(_lines(mine, isolations, reasons))))
    return VerdictTable(*place, isolations, tuple(blocks), tuple(results))


def _lines(
    results: Sequence[CellResult], isolations: Sequence[Isolation], reasons: Mapping[str, int]
) -> Iterable[Line]:
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
        shared.setdefault(tuple((_every(states, lines), entries) for entries, states in lines.items()), []).append(
            layout
        )
    for together, layouts in shared.items():
        for states, entries in together:
            yield Line(
                tuple(layouts) if len(layouts) < len(by_layout) or len(layouts) < 2 else ("every layout",),
                states,
                entries,
            )


def _every(states: Sequence[str], lines: Sized) -> tuple[str, ...]:
    """The states by name, or in two words where they are all that the layout has."""
    return ("every state",) if len(lines) == 1 and len(states) > 1 else tuple(states)


def _entry(result: CellResult, reasons: Mapping[str, int]) -> Entry:
    return Entry(describe(result, reasons), result.verdict, result.as_expected)


def describe(result: CellResult, reasons: Mapping[str, int]) -> str:
    """`safe`, `unsafe 23505, duplicate`, `unknown [1]`"""
    match result.verdict:
        case Verdict.UNSAFE:
            return f"unsafe {', '.join(dict.fromkeys(f.violation.name for f in result.findings))}"
        case Verdict.UNKNOWN:
            return f"unknown [{reasons[result.reason]}]"
    return str(result.verdict)


# Text.

WIDTH = 100
_LABEL_MAX = 20  # of layouts, and of states
_GAP = "  "
_COLOURS = {Verdict.UNSAFE: "red", Verdict.UNKNOWN: "magenta", Verdict.RETRY: "yellow", Verdict.SAFE: "green"}


def verdict_text(table: VerdictTable) -> Text:
    """For a terminal or a log of 100 columns; all that its colours say, words and marks say as well."""
    widths = _widths(table)
    text = Text().append(f"{table.title}\n", style="bold")
    text.append_text(_row(["", "", *(level.sql for level in table.isolations)], widths, ["bold"] * 9))
    for block in table.blocks:
        text.append(f"{block.strategy}{f' {STALE}' if block.stale else ''}\n", style="bold")
        above: tuple[str, ...] = ()
        for line in block.lines:
            layouts = "" if line.layouts == above else ", ".join(line.layouts)
            above = line.layouts
            cells = [layouts, ", ".join(line.states), *(_shown(entry) for entry in line.entries)]
            text.append_text(_row(cells, widths, ["", "", *(_style(entry) for entry in line.entries)]))
    for note in table.legend:
        text.append(
            "\n".join(textwrap.wrap(note, WIDTH, initial_indent="  ", subsequent_indent="    ")) + "\n", style="dim"
        )
    return text


def _shown(entry: Entry | None) -> str:
    if entry is None:
        return NO_CELL
    return entry.text if entry.as_expected else f"{WORSE} {entry.text}"


def _style(entry: Entry | None) -> str:
    if entry is None:
        return "dim"
    return _COLOURS[entry.verdict] if entry.as_expected else f"bold reverse {_COLOURS[entry.verdict]}"


def _widths(table: VerdictTable) -> list[int]:
    lines = [line for block in table.blocks for line in block.lines]
    labels = [
        min(_LABEL_MAX, max(len(", ".join(names)) for names in each))
        for each in ([line.layouts for line in lines], [line.states for line in lines])
    ]
    levels = len(table.isolations)
    left = (WIDTH - len(_GAP) * (levels + 2) - sum(labels)) // levels
    return labels + [
        min(left, max([len(level.sql), *(len(_shown(line.entries[i])) for line in lines)]))
        for i, level in enumerate(table.isolations)
    ]


def _row(cells: Sequence[str], widths: Sequence[int], styles: Sequence[str]) -> Text:
    """One line of the table, or several where a cell is too long for its column."""
    wrapped = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""] for cell, width in zip(cells, widths, strict=True)
    ]
    text = Text()
    for parts in zip_longest(*wrapped, fillvalue=""):
        line = Text()
        for part, width, style in zip(parts, widths, styles, strict=False):
            line.append(_GAP)
            line.append(part, style=style)
            line.append(" " * (width - len(part)))
        line.rstrip()
        text.append_text(line).append("\n")
    return text
