"""A comparison for other programs (docs/compare.schema.json describes it) and as GitHub shows it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from harness.model.comparison import Comparison, Judged, Recommendation
from harness.model.cost import Card, Contestant, Figures
from harness.model.estimate import Estimate, Spread
from harness.model.verdict import Verdict
from harness.reports.comparison import Sheet, advice_lines, said, sheets
from harness.scenario.discovery import harness_version

FORMAT = 1


def comparison_json(comparison: Comparison) -> str:
    """The text of the file."""
    return json.dumps(_plain(comparison), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(comparison: Comparison) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "harness": harness_version(),
        "scenario": comparison.scenario,
        "servers": [asdict(server) for server in comparison.servers],
        "clients": comparison.clients,
        "calls": comparison.calls,
        "mixes": [str(mix) for mix in comparison.mixes],
        "seed": comparison.seed,
        "elapsed_s": round(comparison.elapsed_s, 3),
        "warnings": list(comparison.warnings),
        "cells": [_cell(one, comparison) for one in comparison.judged],
        "groups": [
            {
                "operation": group.operation,
                "reference": _contestant(group.reference),
                "contestants": [_contestant(who) for who in group.contestants],
            }
            for group in comparison.groups
        ],
        "cards": [_card(card) for card in comparison.cards],
        "recommendations": [_advice(one) for one in comparison.advice],
        "sentences": advice_lines(comparison),
    }


def _cell(one: Judged, comparison: Comparison) -> dict[str, Any]:
    cell, hammered = one.cell, comparison.hammered.get(one.cell.id)
    return {
        "id": cell.id,
        "strategy": cell.strategy,
        "layout": cell.layout,
        "state": cell.state,
        "isolation": str(cell.isolation),
        "server": cell.server,
        "verdict": str(one.verdict),
        "reason": one.reason,
        "kinds": list(one.kinds),
        "exhaustive": one.exhaustive,
        "orders": one.orders,
        "schedule": one.replay,
        "hammered": hammered
        and {"hits": hammered.rate.hits, "rounds": hammered.rate.tries, "kinds": list(hammered.kinds)},
    }


def _contestant(who: Contestant) -> dict[str, str]:
    return {"strategy": who.strategy, "layout": who.layout, "isolation": str(who.isolation)}


def _card(card: Card) -> dict[str, Any]:
    return {
        **_contestant(card.contestant),
        "server": card.server,
        "failing": card.failing,
        "overall": card.overall and _figures(card.overall),
        "mixes": {str(mix): _figures(figures) for mix, figures in card.mixes.items()},
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "rounds": figures.rounds,
        "figures": {name: _spread(spread) for name, spread in figures.spreads.items()},
        "ratios": {name: _estimate(ratio) for name, ratio in figures.ratios.items()},
    }


def _spread(spread: Spread) -> dict[str, float]:
    return {"median": _rounded(spread.median), "q1": _rounded(spread.low), "q3": _rounded(spread.high)}


def _estimate(estimate: Estimate | None) -> dict[str, float | int | None] | None:
    if estimate is None:
        return None
    low, high = (_rounded(end) if estimate.bounded else None for end in (estimate.low, estimate.high))
    return {"value": _rounded(estimate.value), "low": low, "high": high, "rounds": estimate.count}


def _rounded(value: float) -> float:
    assert isfinite(value)
    return float(f"{value:.5g}")


def _advice(one: Recommendation) -> dict[str, Any]:
    return {
        "operation": one.operation,
        "isolation": one.level,
        "best": one.best and _contestant(one.best),
        "verdict": one.verdict and str(one.verdict),
        "measured": one.measured,
        "as_good": [_contestant(who) for who in one.as_good],
        "unsafe": one.unsafe and _contestant(one.unsafe),
        "unsafe_kinds": list(one.unsafe_kinds),
        "against_unsafe": [
            {"server": against.server, "time": _estimate(against.time), "wal_bytes": _estimate(against.wal)}
            for against in one.against_unsafe
        ],
        "elsewhere": [_contestant(who) for who in one.elsewhere],
        "undecided": [_contestant(who) for who in one.undecided],
    }


# Markdown.


def comparison_markdown(comparison: Comparison) -> str:
    """A page: the recommendation first, then the tables."""
    lines = [f"# {comparison.scenario}: strategies side by side", ""]
    lines += [f"- {line}" for line in advice_lines(comparison)]
    lines += [f"- warning: {warning}" for warning in comparison.warnings]
    lines += [
        f"- {server.id}: {server.provider} PostgreSQL {server.version}, durability while measuring: {server.measured}"
        for server in comparison.servers
    ]
    for sheet in sheets(comparison):
        lines += ["", f"## {sheet.title}", "", *_table(sheet), "", *(f"- {note}" for note in sheet.legend)]
    return "\n".join(lines) + "\n"


def _table(sheet: Sheet) -> Iterator[str]:
    heads = ("strategy", *(head.replace("- ", "") for head in sheet.heads))
    yield _row(heads)
    yield _row(["---"] * len(heads))
    unsafe = said(Verdict.UNSAFE)
    for section in sheet.sections:
        for number, row in enumerate(section.rows):
            name = f"`{section.name}`" if number == 0 else ""
            yield _row([name, *(f"**{cell}**" if unsafe in cell else cell for cell in row)])
        for note in section.notes:
            yield _row(["" if section.rows else f"`{section.name}`", note, *[""] * (len(heads) - 2)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
