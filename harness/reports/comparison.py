"""A comparison as tables and sentences, made once: text and Markdown show the same."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.text import Text

from harness.model.cell import Isolation
from harness.model.comparison import Against, Comparison, Group, Hammered, Judged, Recommendation
from harness.model.cost import Card, Contestant, Figures
from harness.model.estimate import Estimate, Spread
from harness.model.sqlstate import describe, is_sqlstate
from harness.model.verdict import Verdict

WIDTH = 100
NOTHING = "-"
REFERENCE = "reference"
_LISTED_MAX = 6


@dataclass(frozen=True, slots=True)
class Section:
    """The rows of one strategy, and what is to be said below them."""

    name: str
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: text and Markdown are made from it."""

    title: str
    heads: tuple[str, ...]  # words of a head may stand below each other
    sections: tuple[Section, ...]
    legend: tuple[str, ...] = ()


def sheets(comparison: Comparison) -> list[Sheet]:
    """Of each operation: the matrix, the time by mix on each server, and the cost card on each server."""
    made = []
    for group in comparison.groups:
        made.append(_matrix(comparison, group))
        for server in comparison.servers:
            cards = [c for c in comparison.cards if c.server == server.id and c.contestant in group.contestants]
            if cards:
                made += [_costs(comparison, group, server.id, cards), _by_mix(comparison, group, server.id, cards)]
    return made


# The matrix.


def _matrix(comparison: Comparison, group: Group) -> Sheet:
    here = list(dict.fromkeys(who.strategy for who in group.contestants))
    judged = [one for one in comparison.judged if one.cell.strategy in here]
    levels = [level for level in Isolation if any(one.cell.isolation is level for one in judged)]
    servers = [server.id for server in comparison.servers]
    timed = servers[:2]  # more do not fit; the cost cards have them all
    sections = [
        Section(
            name, tuple(_matrix_rows(comparison, group, judged, name, levels, timed)), _found(comparison, judged, name)
        )
        for name in here
    ]
    heads = ("layout", "states", *(level.sql for level in levels), *(f"time on {server}" for server in timed))
    return Sheet(
        f"{comparison.scenario}: {group.operation}, on {' and '.join(servers)}",
        heads,
        tuple(sections),
        (
            f"time: of all mixes together, {_at(group, comparison)}, in multiples of {group.reference}'s, "
            "with the interval that has it at 95 %",
        ),
    )


def _at(group: Group, comparison: Comparison) -> str:
    """The levels that costs were measured at; a strategy's own where it has one."""
    levels = list(dict.fromkeys(who.isolation.sql for who in group.contestants))
    return f"at {levels[0]}" + (f" (or the strategy's own level: {', '.join(levels[1:])})" if levels[1:] else "")


def _matrix_rows(
    comparison: Comparison,
    group: Group,
    judged: Sequence[Judged],
    strategy: str,
    levels: Sequence[Isolation],
    timed: Sequence[str],
) -> Iterator[tuple[str, ...]]:
    """A row for each layout and the states in which its words are equal; its times stand in the first."""
    mine = [one for one in judged if one.cell.strategy == strategy]
    for layout in dict.fromkeys(one.cell.layout for one in mine):
        here = [one for one in mine if one.cell.layout == layout]
        states = list(dict.fromkeys(one.cell.state for one in here))
        by_words: dict[tuple[str, ...], list[str]] = {}
        for state in states:
            words = tuple(_word([o for o in here if o.cell.state == state and o.cell.isolation is lv]) for lv in levels)
            by_words.setdefault(words, []).append(state)
        times = [_time(comparison, group, strategy, layout, server) for server in timed]
        for number, (words, alike) in enumerate(by_words.items()):
            label = "every state" if len(by_words) == 1 and len(states) > 1 else ", ".join(alike)
            yield (layout if number == 0 else "", label, *words, *(times if number == 0 else [""] * len(timed)))


def _word(judged: Sequence[Judged]) -> str:
    """`safe`; where servers differ, which say what"""
    if not judged:
        return NOTHING
    words = {one.cell.server: said(one.verdict) for one in judged}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{server} {word}" for server, word in words.items())


def said(verdict: Verdict) -> str:
    """What must not be overlooked is in capitals: there may be no colour."""
    return verdict.upper() if verdict is Verdict.UNSAFE else str(verdict)


def _found(comparison: Comparison, judged: Sequence[Judged], strategy: str) -> tuple[str, ...]:
    mine = [one for one in judged if one.cell.strategy == strategy]
    kinds = list(dict.fromkeys(kind for one in mine for kind in one.kinds))
    notes = [f"found: {', '.join(map(_kind, kinds))}"] if kinds else []
    met = [(one.cell, comparison.hammered[one.cell.id]) for one in mine if one.cell.id in comparison.hammered]
    if met:
        told = (f"{cell.layout}, {cell.state}: {_met(hammered)}" for cell, hammered in met)
        notes.append(f"hammered on {met[0][0].server} ({'; '.join(told)})")
    reasons = dict.fromkeys(one.reason for one in mine if one.verdict is Verdict.UNKNOWN)
    return (*notes, *(f"unknown: {reason}" for reason in reasons))


def _met(hammered: Hammered) -> str:
    """`violated in 3 of 1,204 rounds`"""
    often = f"{hammered.rate.hits:,}" if hammered.kinds else "none"
    return f"{often} of {hammered.rate.tries:,} rounds wrong"


def _kind(kind: str) -> str:
    return describe(kind) if is_sqlstate(kind) else kind


def _time(comparison: Comparison, group: Group, strategy: str, layout: str, server: str) -> str:
    found = []
    for who in group.contestants:
        if (who.strategy, who.layout) != (strategy, layout):
            continue
        card = next((c for c in comparison.cards if c.contestant == who and c.server == server), None)
        if who == group.reference:
            found.append(REFERENCE if card else NOTHING)
        elif card is not None and card.overall and "time_us" in card.overall.ratios:
            found.append(times(card.overall.ratios["time_us"]))
        elif card is not None and card.failing:
            found.append("fails")
        else:
            found.append(NOTHING)
    return "; ".join(found) or NOTHING


def times(estimate: Estimate) -> str:
    """`1.12 1.05-1.19`; the interval left out where there are too few rounds for one"""
    digits = 2 if estimate.value < 10 else 1
    value = f"{estimate.value:.{digits}f}"
    return f"{value} {estimate.low:.{digits}f}-{estimate.high:.{digits}f}" if estimate.bounded else value


# Costs.


def _number(value: float) -> str:
    """`0`, `0.03`, `1.2`, `317`, `12,345`"""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _rate(spread: Spread) -> str:
    """`1,234 ±9%`: half of what lies between the quartiles"""
    return f"{spread.median:,.0f} ±{50 * (spread.high - spread.low) / spread.median:.0f}%"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


Column = tuple[str, str, Callable[[float], str]]
_COLUMNS: tuple[Column, ...] = (
    ("p50 ms", "p50_ms", _number),
    ("p95 ms", "p95_ms", _number),
    ("p99 ms", "p99_ms", _number),
    ("round trips", "round_trips", _number),
    ("re- tries", "retries", _number),
    ("WAL B", "wal_bytes", _number),
    ("xids", "transaction_ids", _number),
    ("seq", "sequence_values", _number),
    ("dead rows", "dead_tuples", _number),
    ("HOT", "hot_share", _percent),
    ("heap B", "heap_bytes", _number),
    ("index B", "index_bytes", _number),
    ("lock wait", "lock_wait_share", _percent),
)


def _costs(comparison: Comparison, group: Group, server: str, cards: Sequence[Card]) -> Sheet:
    def row(card: Card, figures: Figures) -> tuple[str, ...]:
        told = figures.spreads
        return (_rate(told["calls_per_s"]), *(show(told[name].median) for _, name, show in _COLUMNS))

    rounds = [card.overall.rounds for card in cards if card.overall]
    return Sheet(
        f"{comparison.scenario}: {group.operation}, cost for each acknowledged call on {server}",
        ("layout", "calls/s", *(head for head, _, _ in _COLUMNS)),
        tuple(_cost_sections(cards, row)),
        (
            f"medians of {_range(rounds)} rounds, {_at(group, comparison)}; {comparison.clients} clients; all mixes "
            f"together, {comparison.calls} calls of each client in each; ±: half of what lies between the quartiles",
            "seq: values drawn from sequences; dead rows: versions made and not visible to anybody any more; lock "
            "wait: of the clients' time, sampled from pg_stat_activity",
        ),
    )


def _by_mix(comparison: Comparison, group: Group, server: str, cards: Sequence[Card]) -> Sheet:
    def row(card: Card, figures: Figures) -> tuple[str, ...]:
        found = [card.mixes[mix].ratios.get("time_us") if mix in card.mixes else None for mix in comparison.mixes]
        each = [
            NOTHING if one is None else REFERENCE if card.contestant == group.reference else times(one) for one in found
        ]
        wal = figures.ratios.get("wal_bytes")
        return (*each, NOTHING if wal is None else times(wal))

    return Sheet(
        f"{comparison.scenario}: {group.operation}, time by mix on {server}, in multiples of {group.reference}'s",
        ("layout", *(str(mix) for mix in comparison.mixes), "WAL, all mixes"),
        tuple(_cost_sections(cards, row)),
        ("90/10: nine of ten calls are about what is there, one about what is not",),
    )


def _cost_sections(cards: Sequence[Card], row: Callable[[Card, Figures], tuple[str, ...]]) -> Iterator[Section]:
    for strategy in dict.fromkeys(card.contestant.strategy for card in cards):
        mine = [card for card in cards if card.contestant.strategy == strategy]
        rows = tuple((card.contestant.layout, *row(card, card.overall)) for card in mine if card.overall)
        failing: dict[str, list[str]] = {}
        for card in mine:
            if card.failing:
                failing.setdefault(card.failing, []).append(card.contestant.layout)
        notes = tuple(f"no cost on {', '.join(layouts)}: {why}" for why, layouts in failing.items())
        if rows or notes:
            yield Section(strategy, rows, notes)


def _range(numbers: Sequence[int]) -> str:
    if not numbers:
        return "no"
    return str(numbers[0]) if len(set(numbers)) == 1 else f"{min(numbers)} to {max(numbers)}"


# Sentences.


def advice_lines(comparison: Comparison) -> list[str]:
    """What to take, what it costs, and what else there is to know."""
    return [line for one in comparison.advice for line in _advice(comparison, one)]


def _advice(comparison: Comparison, one: Recommendation) -> Iterator[str]:
    at = f"For {one.operation} at {Isolation(one.level).sql}"
    if one.best is None:
        yield f"{at}: nothing is recommended; no strategy is safe in every state of a layout{_but_unknown(one)}."
        return
    yield f"{at}: take {_named(one.best, one)}.{_if_retried(one)}"
    if one.as_good:
        yield f"As fast, for all that was measured: {_listed(map(str, one.as_good))}."
    if one.unsafe is not None and one.against_unsafe:
        costs = "; ".join(_against(against) for against in one.against_unsafe)
        kinds = ", ".join(map(_kind, one.unsafe_kinds))
        yield f"It costs {costs} of {one.unsafe}, the fastest that is unsafe ({kinds})."
    elsewhere = [who for who in one.elsewhere if who not in one.as_good]
    if elsewhere:
        yield f"Of other layouts: {_listed(map(str, elsewhere))}."
    if one.undecided:
        yield f"Not recommended because unknown: {_listed(map(str, one.undecided))}."


def _named(best: Contestant, one: Recommendation) -> str:
    """The strategy, its layout, its own level if it brings one, and in what sense it is the best."""
    own = f", at its own level {best.isolation.sql}" if best.isolation.value != one.level else ""
    where = f"with the layout {best.layout}" if best.layout != "none" else "which needs no index"
    what = (
        "the cheapest that is safe in every state"
        if one.measured
        else "safe in every state; what it costs was not measured"
    )
    return f"{best.strategy}, {where}{own}: {what}"


def _if_retried(one: Recommendation) -> str:
    return " Its callers have to call again after a retryable SQLSTATE." if one.verdict is Verdict.RETRY else ""


def _but_unknown(one: Recommendation) -> str:
    return f" (unknown: {_listed(map(str, one.undecided))})" if one.undecided else ""


def _against(against: Against) -> str:
    time = f"{_times_in_words(against.time)} the time"
    wal = f" and {against.wal.value:.2f} times the WAL" if against.wal else ""
    return f"{time}{wal} on {against.server}"


def _times_in_words(estimate: Estimate) -> str:
    interval = f" ({estimate.low:.2f} to {estimate.high:.2f})" if estimate.bounded else ""
    return f"{estimate.value:.2f}{interval} times"


def _listed(words: Iterable[str]) -> str:
    """All of a few, the first of many: the table has the rest."""
    every = list(words)
    if len(every) <= _LISTED_MAX + 1:
        return ", ".join(every)
    return f"{', '.join(every[:_LISTED_MAX])} and {len(every) - _LISTED_MAX} others"


# Text.


def comparison_text(comparison: Comparison) -> Text:
    """For a terminal or a log of 100 columns; colour says nothing that words do not say as well."""
    text = Text()
    for sheet in sheets(comparison):
        text.append_text(_sheet(sheet)).append("\n")
    for line in advice_lines(comparison):
        text.append("\n".join(textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)) + "\n")
    return text


_COLOURS = {said(Verdict.UNSAFE): "red", "unknown": "magenta", "retry": "yellow", "safe": "green"}


def _sheet(sheet: Sheet) -> Text:
    text = Text().append(f"{sheet.title}\n", style="bold")
    widths = _widths(sheet)
    text.append_text(_row(sheet.heads, widths, lambda _: "bold"))
    for section in sheet.sections:
        text.append(f"{section.name}\n", style="bold")
        for row in section.rows:
            text.append_text(_row(row, widths, lambda cell: _COLOURS.get(cell, "")))
        for note in section.notes:
            text.append(_wrapped(note, "    ") + "\n", style="dim")
    for note in sheet.legend:
        text.append(_wrapped(note, "  ") + "\n", style="dim")
    return text


def _wrapped(note: str, indent: str) -> str:
    return "\n".join(textwrap.wrap(note, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  "))


def _widths(sheet: Sheet) -> list[int]:
    """As wide as what stands there; the widest give way until all fit, down to their longest word."""
    rows = [row for section in sheet.sections for row in section.rows]
    heads = [max((len(word) for word in head.split()), default=0) for head in sheet.heads]
    widths = [max([head, *(len(row[column]) for row in rows)]) for column, head in enumerate(heads)]
    least = [
        max([head, *(len(word) for row in rows for word in row[column].split())]) for column, head in enumerate(heads)
    ]
    while sum(widths) + 2 * len(widths) > WIDTH:
        wide = [column for column, width in enumerate(widths) if width > least[column]]
        if not wide:
            break
        widths[max(wide, key=lambda column: widths[column])] -= 1
    return widths


def _row(cells: Sequence[str], widths: Sequence[int], style: Callable[[str], str]) -> Text:
    parts = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""] for cell, width in zip(cells, widths, strict=True)
    ]
    gap = "  " if sum(widths) + 2 * len(widths) <= WIDTH else " "
    text = Text()
    for line in zip_longest(*parts, fillvalue=""):
        made = Text()
        for cell, part, width in zip(cells, line, widths, strict=True):
            made.append(gap)
            made.append(part.ljust(width), style=style(cell))
        made.rstrip()
        text.append_text(made).append("\n")
    return text
