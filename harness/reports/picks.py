"""Which findings get an interleaving table: those no rule covers, all, or the most telling of each scenario."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.model.cell import Isolation
from harness.model.verdict import CellResult, Finding
from harness.reports.summary import counted

Wanted = Literal["worst", "worst-per-scenario", "all", "none"]
WANTED: tuple[Wanted, ...] = ("worst", "worst-per-scenario", "all", "none")

# What tells most comes first: what a race did to the data, then to the answers, then errors, then what needs no race.
_TELLING = (
    "duplicate",
    "lost-update",
    "partial-effect",
    "non-serializable",
    "invariant",
    "wrong-answer",
    "hang",
    "deadlock",
    "error",
    "crash",
    "wrong-alone",
)


@dataclass(frozen=True, slots=True)
class Pick:
    """A finding to show, for all cells of the strategy in which the same was found."""

    result: CellResult
    finding: Finding
    others: tuple[CellResult, ...] = ()

    @property
    def also(self) -> str:
        """`the same in 11 other cells of ShippedFix`; empty where it is the only one."""
        if not self.others:
            return ""
        return f"the same in {counted(len(self.others), 'other cell')} of {self.result.cell.strategy}"


def picks(results: Sequence[CellResult], wanted: Wanted) -> list[Pick]:
    match wanted:
        case "none":
            return []
        case "all":
            return [Pick(result, finding) for result in results for finding in result.findings]
        case "worst":
            return _uncovered(results)
        case "worst-per-scenario":
            scenarios = dict.fromkeys(result.cell.scenario for result in results)
            return [pick for name in scenarios for pick in _most_telling(r for r in results if r.cell.scenario == name)]


def uncovered(result: CellResult) -> tuple[Finding, ...]:
    """The findings that no rule names; all of them where the verdict alone is worse than expected."""
    if result.as_expected:
        return ()
    unnamed = tuple(finding for finding in result.findings if not _is_named(finding, result.expected))
    return unnamed or result.findings


def _is_named(finding: Finding, rules: str) -> bool:
    names = {finding.violation.name, *({"40P01"} if finding.violation.kind == "deadlock" else ())}
    return any(repr(name) in rules for name in names)


def _uncovered(results: Sequence[CellResult]) -> list[Pick]:
    """One for each strategy and kind, from its most telling cell: twelve tables of one race would hide the second."""
    same: dict[tuple[str, str, str], list[tuple[CellResult, Finding]]] = {}
    for result in results:
        for finding in uncovered(result):
            key = (result.cell.scenario, result.cell.strategy, finding.violation.name)
            same.setdefault(key, []).append((result, finding))
    chosen = []
    for pairs in same.values():
        best = min(pairs, key=_rank)
        others = {id(result): result for result, _ in pairs if result is not best[0]}
        chosen.append(Pick(*best, tuple(others.values())))
    return chosen


def _most_telling(results: Iterable[CellResult]) -> list[Pick]:
    pairs = [(result, finding) for result in results for finding in result.findings]
    return [Pick(*min(pairs, key=_rank))] if pairs else []


def _rank(pair: tuple[CellResult, Finding]) -> tuple[int, ...]:
    result, finding = pair
    kind = finding.violation.kind
    return (
        result.as_expected,
        finding.violation.alone or finding.schedule.alone,
        _TELLING.index(kind) if kind in _TELLING else len(_TELLING),
        list(Isolation).index(result.cell.isolation),
    )
