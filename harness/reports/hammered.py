"""What the hammer found: a line for each cell, what went wrong by luck, the witness made of it; and JSON of it all."""

import textwrap
from collections.abc import Sequence

from rich.text import Text

from harness.campaign.hammered import ByLuck, HammerReport, HammerResult
from harness.model.contest import Contest
from harness.model.history import OneCall
from harness.model.sqlstate import describe
from harness.model.verdict import Finding, Rate, Verdict
from harness.reports.summary import counted
from harness.reports.witness import witness

WIDTH = 100
WORSE = "!"
_PLANNED_SHOWN = 8
_COLOURS = {Verdict.UNSAFE: "red", Verdict.UNKNOWN: "magenta", Verdict.RETRY: "yellow", Verdict.SAFE: "green"}


def percent(rate: Rate) -> str:
    """`0.12 % (0.08-0.17)`: with Wilson's interval at 95 %."""
    low, high = rate.interval
    shown = 100 * rate.hits / rate.tries if rate.tries else 0.0
    return f"{shown:.3g} % ({100 * low:.2g}-{100 * high:.2g})"


def said(result: HammerResult) -> str:
    """`unsafe 23505`, `nothing found`, `retry`: hammering is no proof."""
    match result.verdict:
        case Verdict.UNSAFE:
            return f"unsafe {', '.join(result.names)}"
        case Verdict.SAFE:
            return "nothing found"
    return str(result.verdict)


def hammered_text(report: HammerReport) -> Text:
    """The table; 100 columns, and all that its colours say, words and marks say as well."""
    text = Text()
    for scenario in dict.fromkeys(result.cell.scenario for result in report.cells):
        mine = [result for result in report.cells if result.cell.scenario == scenario]
        text.append(f"{scenario}, {mine[0].sessions or report.options.sessions} sessions\n", style="bold")
        text.append(f"  {'':<46}{'':<24}{'calls/s':>8}{'rounds':>9}{'met':>6}\n", style="bold")
        for strategy in dict.fromkeys(result.cell.strategy for result in mine):
            text.append(f"{strategy}\n", style="bold")
            for result in mine:
                if result.cell.strategy == strategy:
                    text.append_text(_line(result))
    if any(not result.as_expected for result in report.cells):
        text.append(f"  {WORSE} worse than its strategy expects\n", style="dim")
    return text


def _line(result: HammerResult) -> Text:
    cell = result.cell
    place = f"{cell.layout}, {cell.state}, {cell.isolation.sql}, {cell.server}"
    words = said(result) if result.as_expected else f"{WORSE} {said(result)}"
    style = _COLOURS[result.verdict] if result.as_expected else f"bold reverse {_COLOURS[result.verdict]}"
    met = f"{100 * result.overlap.hits / result.rounds:.0f}%" if result.rounds else "-"
    line = Text("  ").append(f"{place:<46}").append(f"{words:<24}", style=style)
    line.append(f"{result.calls_per_s:>8,.0f}{result.rounds:>9,}{met:>6}\n")
    for note in _notes(result):
        line.append("\n".join(textwrap.wrap(note, WIDTH, initial_indent="    ", subsequent_indent="      ")) + "\n")
    return line


def _notes(result: HammerResult) -> list[str]:
    notes = []
    if result.verdict is Verdict.UNKNOWN:
        notes.append(result.reason)
    for failed in result.failures:
        kind = "retryable" if failed.retryable else "not retryable"
        notes.append(f"{describe(failed.sqlstate)}: {percent(failed.rate)} of the calls, {kind}")
    for luck in result.by_luck:
        seen = f"{luck.luck.violation.name}: {percent(luck.rate)} of the rounds"
        notes.append(f"{seen}; {luck.handed_over}" if luck.handed_over else seen)
    if result.unjudged:
        summed = f", of which {result.summed:,} had their sums checked" if result.summed else ""
        notes.append(f"{counted(result.unjudged, 'round')} had too many orders to search{summed}")
    if result.incomplete:
        notes.append(f"{counted(result.incomplete, 'round')} had calls without an answer")
    if result.faults:
        counts = (f"{kind} {count.done} of {count.planned}, met {count.met}" for kind, count in result.faults)
        notes.append(f"faults done as planned, and told to a client: {'; '.join(counts)}")
        shown = ", ".join(map(str, result.plan[:_PLANNED_SHOWN]))
        more = len(result.plan) - _PLANNED_SHOWN
        notes.append(f"their plan: {shown}{f' and {more:,} more (--json has them)' if more > 0 else ''}")
    return [*notes, *result.notes]


# What was found.


def findings_text(report: HammerReport, wanted: str) -> list[str]:
    """Witnesses as the explorer shows them: of what is worse than expected, or of everything."""
    blocks = []
    told: set[tuple[str, str, str]] = set()
    for result in report.cells:
        if wanted == "none" or (wanted == "worst" and result.as_expected):
            continue
        for finding in result.alone:
            key = (result.cell.scenario, result.cell.strategy, finding.violation.name)
            if key not in told:
                told.add(key)
                blocks.append(witness(finding, result.source))
        for luck in result.by_luck:
            key = (result.cell.scenario, result.cell.strategy, luck.name)
            if key not in told:
                told.add(key)
                blocks.append(by_luck_text(result, luck))
    return blocks


def by_luck_text(result: HammerResult, luck: ByLuck) -> str:
    """The round in which it happened, and the witness."""
    head = f"{result.cell.id}: {luck.luck.violation.name}, by luck in {percent(luck.rate)} of the rounds"
    lines = [head, *textwrap.wrap(luck.luck.violation.explanation, WIDTH, initial_indent="  ", subsequent_indent="  ")]
    lines += ["", f"round {luck.luck.round}:", round_table(luck.luck.calls, luck.contest)]
    if luck.finding is None:
        return "\n".join([*lines, "", luck.handed_over])
    return "\n".join([*lines, "", "the same under control:", "", _of(luck.finding, result)])


def _of(finding: Finding, result: HammerResult) -> str:
    return witness(finding, result.source)


def round_table(calls: Sequence[OneCall], contest: Contest) -> str:
    """One line for each call as it began; times in microseconds from the first, and a bar for each: who met whom."""
    if not calls:
        return "  no call of this round is known"
    first = min(call.began_ns for call in calls)
    last = max(call.ended_ns for call in calls)
    rows = [
        (
            f"s{call.session + 1}",
            f"{(call.began_ns - first) / 1000:.0f}",
            f"{(call.ended_ns - first) / 1000:.0f}",
            _bar(call, first, last),
            f"{contest.sessions[call.session][call.position]}: {call.answer}",
        )
        for call in sorted(calls, key=lambda call: call.began_ns)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"  {who:<{widths[0]}} {began:>{widths[1]}} {ended:>{widths[2]}} us |{bar}| {what}"
        for who, began, ended, bar, what in rows
    )


_BAR = 24


def _bar(call: OneCall, first: int, last: int) -> str:
    scale = _BAR / max(1, last - first)
    begins = min(_BAR - 1, int((call.began_ns - first) * scale))
    ends = max(begins + 1, int((call.ended_ns - first) * scale))
    return f"{' ' * begins}{'=' * (ends - begins):<{_BAR - begins}}"


# Totals.


def hammered_totals(report: HammerReport) -> str:
    """`12 cells: 3 unsafe, 9 with nothing found; 0 worse than expected; 1,204,331 calls; seed 0; 93.1 s`"""
    words = {Verdict.SAFE: "with nothing found"}
    each = ", ".join(
        f"{count} {words.get(verdict, str(verdict))}"
        for verdict in Verdict
        if (count := sum(result.verdict is verdict for result in report.cells))
    )
    worse = [result for result in report.cells if not result.as_expected]
    unjudged = sum(result.verdict is Verdict.UNKNOWN for result in worse)
    parts = [
        f"{counted(len(report.cells), 'cell')}{f': {each}' if each else ''}",
        f"{len(worse) - unjudged} worse than expected{f', {unjudged} not judged' if unjudged else ''}",
        f"{sum(result.calls for result in report.cells):,} calls",
        *(["indexes checked against their tables"] if all(r.indexes_checked for r in report.cells) else []),
        f"seed {report.options.seed}",
        f"{report.elapsed_s:.1f} s",
    ]
    return "; ".join(parts)


# JSON.


def hammered_json(report: HammerReport) -> dict[str, object]:
    """For other programs: docs/hammer.schema.json describes it."""
    return {
        "format": 1,
        "seed": report.options.seed,
        "options": {
            "sessions": report.options.sessions,
            "seconds": report.options.seconds,
            "budget_s": report.options.budget_s,
            "rounds": report.options.rounds,
            "window": report.options.window,
        },
        "servers": [
            {"id": s.id, "provider": s.provider, "version": s.version, "durability": s.durability}
            for s in report.servers
        ],
        "warnings": list(report.warnings),
        "elapsed_s": round(report.elapsed_s, 3),
        "cells": [_plain(result) for result in report.cells],
    }


def _plain(result: HammerResult) -> dict[str, object]:
    cell = result.cell
    return {
        "id": cell.id,
        "scenario": cell.scenario,
        "strategy": cell.strategy,
        "layout": cell.layout,
        "state": cell.state,
        "isolation": str(cell.isolation),
        "server": cell.server,
        "verdict": str(result.verdict),
        "reason": result.reason,
        "expected": result.expected,
        "as_expected": result.as_expected,
        "sessions": result.sessions,
        "calls": result.calls,
        "calls_per_s": round(result.calls_per_s, 1),
        "raced_s": round(result.raced_s, 3),
        "rounds": result.rounds,
        "overlapped": result.overlap.hits,
        "unjudged": result.unjudged,
        "summed": result.summed,
        "incomplete": result.incomplete,
        "one_at_a_time": result.one_at_a_time,
        "indexes_checked": result.indexes_checked,
        "notes": list(result.notes),
        "faults": {
            kind: {"planned": count.planned, "done": count.done, "met": count.met} for kind, count in result.faults
        },
        "plan": [{"kind": i.kind, "round": i.round, "session": i.session + 1} for i in result.plan],
        "failures": [{"sqlstate": f.sqlstate, "retryable": f.retryable, **_rate(f.rate)} for f in result.failures],
        "findings": [
            *({"kind": f.violation.name, "alone": True, "witness": witness(f, result.source)} for f in result.alone),
            *(
                {
                    "kind": luck.name,
                    "by_luck": luck.luck.violation.name,
                    "explanation": luck.luck.violation.explanation,
                    "contest": str(luck.contest),
                    **_rate(luck.rate),
                    "witness": None if luck.finding is None else witness(luck.finding, result.source),
                    "handed_over": luck.handed_over,
                }
                for luck in result.by_luck
            ),
        ],
    }


def _rate(rate: Rate) -> dict[str, object]:
    low, high = rate.interval
    return {"hits": rate.hits, "tries": rate.tries, "low": low, "high": high}
