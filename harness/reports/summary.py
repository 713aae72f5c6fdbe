"""What a report means in a few lines: how much was covered, why cells are unknown, how many came to what."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence

from harness.campaign.campaign import Report
from harness.model.verdict import CellResult, Coverage, Verdict

WIDTH = 100


def counted(number: int, what: str) -> str:
    """`1 cell`, `1,204 orders`"""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def numbered_reasons(results: Iterable[CellResult]) -> dict[str, int]:
    """Why cells are unknown, numbered for footnotes."""
    reasons = dict.fromkeys(result.reason for result in results if result.verdict is Verdict.UNKNOWN)
    return {reason: number for number, reason in enumerate(reasons, 1)}


# Coverage.


def coverage_lines(results: Sequence[CellResult], width: int | None = WIDTH) -> list[str]:
    """What the verdicts rest on. Says exhaustive only of what was explored to its end."""
    judged = (Verdict.SAFE, Verdict.RETRY)
    condemned = [r.coverage for r in results if r.verdict is Verdict.UNSAFE]
    whole = [r.coverage for r in results if r.verdict in judged and r.coverage.exhaustive]
    rest = [r.coverage for r in results if r.verdict in judged and not r.coverage.exhaustive]
    undecided = [r.coverage for r in results if r.verdict is Verdict.UNKNOWN and r.coverage.orders]
    lines = []
    if whole:
        lines.append(f"exhaustive: {_amount(whole)}")
    if rest:
        lines.append(f"sampled, not exhaustive: {_amount(rest)}")
        lines += _sample(rest)
    if condemned:
        lines.append(f"unsafe, each contest explored until its first violation: {_amount(condemned)}")
    if undecided:
        lines.append(f"unknown in the end: {_amount(undecided)}")
    untouched = sum(r.verdict is Verdict.UNKNOWN and not r.coverage.orders for r in results)
    if untouched:
        lines.append(f"not explored: {counted(untouched, 'cell')} in which no interleaving was run")
    dropped = sum(r.coverage.not_explored for r in results)
    if dropped:
        lines.append(f"not explored: {counted(dropped, 'order')} that could not be controlled")
    repeated = sum(r.coverage.repeated for r in results)
    if repeated:
        lines.append(f"run twice, without a difference: {counted(repeated, 'schedule')}")
    lines += _scope([r.coverage for r in results if r.coverage.orders])
    if width is None:
        return lines
    return [part for line in lines for part in textwrap.wrap(line, width, subsequent_indent="  ")]


def _amount(coverages: Sequence[Coverage]) -> str:
    """`1,204 orders in 60 contests of 12 cells`, and the classes where a reduction found equal ones"""
    orders, contests = sum(c.orders for c in coverages), sum(c.contests for c in coverages)
    reduced = any(c.reduction != "none" for c in coverages)
    classes = f" in {sum(c.classes for c in coverages):,} classes," if reduced else ""
    where = f"{counted(contests, 'contest')} of {counted(len(coverages), 'cell')}"
    return f"{counted(orders, 'order')}{classes} in {where}"


def _sample(coverages: Sequence[Coverage]) -> list[str]:
    """`sampled: 60 of about 3.7 10^5 orders`; the rest of the orders are all there are of their contests."""
    sampled, there_are = sum(c.sampled for c in coverages), sum(c.sampled_of for c in coverages)
    if not sampled:
        return []
    rest = sum(c.orders for c in coverages) - sampled
    return [f"sampled: {sampled:,} of about {about(there_are)} orders{f'; exhaustive: {rest:,}' if rest else ''}"]


def about(number: float) -> str:
    """Two digits are as much as is known: `37`, `1,700`, `3.7 10^5`"""
    mantissa, _, exponent = f"{number:.1e}".partition("e")
    return f"{float(f'{number:.1e}'):,.0f}" if number < 9_950 else f"{mantissa} 10^{int(exponent)}"


def _scope(coverages: Sequence[Coverage]) -> list[str]:
    """Where sessions could be switched: the bounds within which the verdicts hold."""
    if not coverages:
        return []
    gates = sorted({gate.replace(" ON public.", " ON ") for c in coverages for gate in c.gates})
    sessions = max(c.sessions for c in coverages)
    switched = f"switched between statements of {sessions} sessions"
    inside = f", and at these gates inside them: {', '.join(gates)}" if gates else "; no gates inside them"
    lines = [switched + inside]
    lines += [f"no gate before the indexes of {why}" for why in sorted({w for c in coverages for w in c.gates_missing})]
    if drawn := sum(c.drawn for c in coverages):
        met, refused = sum(c.drawn_met for c in coverages), sum(c.drawn_refused for c in coverages)
        passed = f"and drawn: {counted(drawn, 'trial')} of larger contests, {100 * met / drawn:.0f} % with a common key"
        lines.append(f"{passed}; {refused:,} draws were refused by the operations themselves" if refused else passed)
    if faults := sum(c.faults for c in coverages):
        lines.append(f"and with one client failing, in {faults:,} ways: cancelled, cut off, its answer lost")
    return lines


# Totals.


def totals(report: Report) -> str:
    """`310 cells: 187 unsafe, 23 retry, 100 safe; 0 worse than expected; 2 stale rules; seed 0; 12.3 s`"""
    verdicts = Counter(result.verdict for result in report.cells)
    each = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in Verdict if verdicts[verdict])
    unexpected = Counter(result.verdict is Verdict.UNKNOWN for result in report.cells if not result.as_expected)
    unjudged = f", {unexpected[True]} not judged" if unexpected[True] else ""
    return "; ".join(
        part
        for part in (
            f"{counted(len(report.cells), 'cell')}{f': {each}' if each else ''}",
            f"{unexpected[False]} worse than expected{unjudged}",
            counted(len(report.stale), "stale rule") if report.stale else "",
            f"seed {report.options.seed}",
            f"{report.elapsed_s:.1f} s",
        )
        if part
    )


def unexpected_lines(results: Iterable[CellResult]) -> list[str]:
    """What is worse than expected, told once for all cells of a strategy of which the same is to be said.

    What could not be judged is told once for each scenario and reason: out of time, it may be hundreds of cells.
    """
    alike: dict[tuple[str, ...], list[CellResult]] = {}
    for result in results:
        if not result.as_expected:
            alike.setdefault((result.cell.scenario, *_said(result)), []).append(result)
    return [f"{head}: {_where(together)}: {found}" for (_, _, head, found), together in alike.items()]


def _said(result: CellResult) -> tuple[str, str, str]:
    """The strategy that it is said of, a heading, and what was found."""
    if result.verdict is Verdict.UNKNOWN:
        return "", "not judged", result.reason
    kinds = ", ".join(dict.fromkeys(finding.violation.name for finding in result.findings))
    found = f"{result.verdict} {kinds}" if kinds else f"{result.verdict}, {result.reason}"
    return result.cell.strategy, "worse than expected", f"{found} (expected {result.expected})"


def _where(results: Sequence[CellResult]) -> str:
    more = f" and {counted(len(results) - 1, 'other cell')}" if len(results) > 1 else ""
    return f"{results[0].cell.id}{more}"
