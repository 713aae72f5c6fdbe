"""What stands below an interleaving: the cause and what to write, what does not matter, what survives the same contest.

All from values: which words the runs of campaign/advise.py and the causes of reports/causes.py come to.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from harness.model.advice import Advice, Came, Hint, Repairs, Tried, Variation
from harness.model.cell import Cell, Isolation
from harness.model.verdict import Verdict

WIDTH = 100


def advice_lines(advice: Advice | None, here: Cell) -> list[str]:
    """For a person, `here` being the witness's cell; nothing where nothing is known."""
    if advice is None:
        return []
    lines = [line for hint in advice.hints for line in hint_lines(hint, here)]
    if told := what_matters(advice.variations or ()):
        lines += _wrapped(f"the same with {told}" if told.startswith("any ") else f"what matters: {told}")
    if advice.repairs is not None:
        lines += [line for text in repair_lines(advice.repairs) for line in _wrapped(text)]
    return lines


def hint_lines(hint: Hint, here: Cell) -> list[str]:
    """The cause, and what to write: SQL keeps its lines."""
    first, *more = hint.rewrite.splitlines()
    lines = [*_wrapped(f"cause: {hint.says}"), *_wrapped(f"write instead: {first}")]
    lines += [
        line for text in more for line in textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    ]
    return lines + (_wrapped(f"  verified here by {_cells(hint.verified, here)}") if hint.verified else [])


def _cells(cells: Sequence[Cell], here: Cell) -> str:
    """`upsert`, `lock_table` on layout partial"""
    by_name: dict[str, list[str]] = {}
    for cell in cells:
        by_name.setdefault(cell.strategy, []).append(cell.layout)
    return ", ".join(
        f"`{name}`" + ("" if here.layout in layouts else f" on layout {' or '.join(layouts)}")
        for name, layouts in by_name.items()
    )


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


# What does not matter.

_AT = {"isolation": "at", "state": "from state", "layout": "on layout", "server": "on"}


def what_matters(variations: Sequence[Variation]) -> str:
    """`any amount; every layout; at every isolation level; not from state 'owned'`; empty where nothing was varied."""
    told = []
    for part in dict.fromkeys(variation.part for variation in variations):
        mine = [one for one in variations if one.part == part and one.came is not Came.IMPOSSIBLE]
        if mine:
            told.append(_argument(part, mine) if mine[0].argument else _setting(part, mine))
    return "; ".join(filter(None, told))


def _argument(name: str, tried: Sequence[Variation]) -> str:
    other = [one for one in tried if one.came is not Came.SAME]
    if not other:
        return f"any {name}"
    shown = ", ".join(f"({one.value})" for one in other[:3])
    return f"not{_seen(other)} with {name} {shown}{_instead(other)}"


def _setting(part: str, tried: Sequence[Variation]) -> str:
    same = [one for one in tried if one.came is Came.SAME]
    if len(same) == len(tried):
        return _every(part, len(tried))
    told = [f"also {_where(part, same)}"] if same else []
    for came in (Came.OTHER, Came.NOTHING, Came.OPEN):
        for kind in dict.fromkeys(one.kind for one in tried if one.came is came):
            those = [one for one in tried if one.came is came and one.kind == kind]
            told.append(f"not{_seen(those)} {_where(part, those)}{_instead(those)}")
    return ", ".join(told)


def _every(part: str, others: int) -> str:
    either = others == 1
    match part:
        case "isolation":
            return f"at {'either' if either else 'every'} isolation level"
        case "state":
            return f"from {'either' if either else 'every'} start state"
        case "layout":
            return f"{'either' if either else 'every'} layout"
    return f"{'either' if either else 'every'} server"


def _where(part: str, those: Sequence[Variation]) -> str:
    values = [f"'{one.value}'" if part == "state" else one.value for one in those]
    return f"{_AT[part]} {' or '.join(values)}"


def _seen(those: Sequence[Variation]) -> str:
    """`not seen` where orders are left that were not run."""
    return " seen" if any(one.came is Came.OPEN for one in those) else ""


def _instead(those: Sequence[Variation]) -> str:
    kinds = list(dict.fromkeys(one.kind for one in those if one.kind))
    return f" ({', '.join(kinds)} there)" if kinds else ""


# What survives.


def repair_lines(repairs: Repairs) -> Iterator[str]:
    """`of 9 other strategies 4 survive this contest: ...`; then other layouts; then what could not be judged."""
    here = repairs.here
    others = [one for one in repairs.tried if one.cell.layout == here.layout]
    surviving = [one for one in others if one.survives]
    yield _survivors(others, surviving, here.isolation)
    known = {one.cell.strategy for one in surviving}
    for layout in dict.fromkeys(one.cell.layout for one in repairs.tried if one.cell.layout != here.layout):
        more = [one for one in repairs.tried if one.cell.layout == layout and one.survives]
        new = [one for one in more if one.cell.strategy not in known]
        if new:
            yield f"  on layout {layout} also {_listed(new, here.isolation)}"
    failing = [one for one in others if one.verdict is Verdict.UNSAFE]
    if failing:
        kinds = "; ".join(f"{one.cell.strategy} ({', '.join(one.kinds)})" for one in failing)
        yield f"  in the same contest unsafe: {kinds}"
    unknown = [one for one in others if one.verdict is Verdict.UNKNOWN]
    if unknown:
        yield "  not judged: " + "; ".join(f"{one.cell.strategy} ({one.reason})" for one in unknown)


def _survivors(others: Sequence[Tried], surviving: Sequence[Tried], level: Isolation) -> str:
    if not others:
        return "no other strategy of the scenario has these operations"
    of = f"of {len(others)} other strategies" if len(others) > 1 else "the only other strategy"
    if not surviving:
        return f"{of} {'none survives' if len(others) > 1 else 'does not survive'} this contest"
    count = f" {len(surviving)}" if len(others) > 1 else ""
    survive = "survive" if len(surviving) > 1 else "survives"
    return f"{of}{count} {survive} this contest: {_listed(surviving, level)}"


def _listed(tried: Iterable[Tried], level: Isolation) -> str:
    return ", ".join(f"{one.cell.strategy}{_remark(one, level)}" for one in tried)


def _remark(one: Tried, level: Isolation) -> str:
    """` (retry, at serializable, 4,000 orders, not all)`"""
    remarks = ["retry"] if one.verdict is Verdict.RETRY else []
    remarks += [f"at {one.cell.isolation.sql}"] if one.cell.isolation is not level else []
    remarks += [] if one.exhaustive else [f"in {one.orders:,} orders, not all"]
    return f" ({', '.join(remarks)})" if remarks else ""


# For other programs.


def plain(advice: Advice | None) -> dict[str, Any]:
    """The members of a finding; null where it was not asked for."""
    if advice is None:
        return {"hints": None, "variations": None, "repairs": None}
    repairs = advice.repairs
    return {
        "hints": [
            {
                "cause": hint.cause,
                "says": hint.says,
                "rewrite": hint.rewrite,
                "verified": [cell.id for cell in hint.verified],
            }
            for hint in advice.hints
        ],
        "variations": None if advice.variations is None else [_plain_variation(one) for one in advice.variations],
        "repairs": None if repairs is None else [_plain(one) for one in repairs.tried],
    }


def _plain_variation(one: Variation) -> dict[str, Any]:
    return {"part": one.part, "argument": one.argument, "value": one.value, "came": str(one.came), "kind": one.kind}


def _plain(tried: Tried) -> dict[str, Any]:
    return {
        "cell": tried.cell.id,
        "strategy": tried.cell.strategy,
        "layout": tried.cell.layout,
        "isolation": str(tried.cell.isolation),
        "verdict": str(tried.verdict),
        "kinds": list(tried.kinds),
        "reason": tried.reason,
        "survives": tried.survives,
        "orders": tried.orders,
        "exhaustive": tried.exhaustive,
    }
