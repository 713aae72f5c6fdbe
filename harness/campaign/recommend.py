"""Which strategy to take: the cheapest that is safe in every state on every server, and what that costs.

Pure: verdicts and blocks in, advice out. What is unsafe or unknown anywhere is never advised.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from math import exp, log
from statistics import fmean

from harness.model.cell import Cell, Isolation
from harness.model.comparison import Against, Group, Judged, Recommendation, by_server, kinds_of, verdict_of
from harness.model.cost import Contestant, Measured, Mix, head_to_head
from harness.model.estimate import Estimate
from harness.model.verdict import Verdict

PASSES = (Verdict.SAFE, Verdict.RETRY)
NEGLIGIBLE = 1.03  # an interval within 3 % of equal says equal: nobody chooses a strategy for less


def verdicts(judged: Sequence[Judged], group: Group, cells: Sequence[Cell]) -> dict[Contestant, Verdict]:
    """Of every contestant, the worst over its states and servers."""
    return {contestant: verdict_of(judged, contestant, cells) for contestant in group.contestants}


def advise(
    group: Group,
    level: Isolation,
    judged: Sequence[Judged],
    cells: Sequence[Cell],
    measured: Sequence[Measured],
    mixes: Sequence[Mix],
) -> Recommendation:
    """For one operation, for an application whose connections are at this level.

    A strategy that declares a level of its own brings it along, and competes. `cells` are those that exist: one that
    nobody judged makes its strategy unknown.
    """
    told = {
        who: verdict
        for who, verdict in verdicts(judged, group, cells).items()
        if who.isolation is level or who in own_level(group, cells, level)
    }
    passing = [who for who, verdict in told.items() if verdict in PASSES]
    undecided = tuple(who for who, verdict in told.items() if verdict is Verdict.UNKNOWN)
    if not passing:
        return Recommendation(group.operation, level.value, None, undecided=undecided)
    servers = by_server(measured)
    times = times_against(_base(group, told, servers), told, servers, mixes)
    best = min(passing, key=lambda who: times.get(who, float("inf")))
    as_good = tuple(
        who for who in passing if who != best and who in times and not told_apart(who, best, servers, mixes)
    )
    unsafe = _fastest_unsafe(told, best, times)
    return Recommendation(
        group.operation,
        level.value,
        best,
        told[best],
        best in times,
        as_good if best in times else (),
        unsafe,
        kinds_of(judged, unsafe) if unsafe else (),
        tuple(against(best, unsafe, servers, mixes)) if unsafe and best in times else (),
        _elsewhere(passing, best, times),
        undecided,
    )


def own_level(group: Group, cells: Sequence[Cell], level: Isolation) -> set[Contestant]:
    """Contestants of strategies that run at one other level only."""
    levels: dict[str, set[Isolation]] = {}
    for cell in cells:
        levels.setdefault(cell.strategy, set()).add(cell.isolation)
    return {who for who in group.contestants if level not in levels.get(who.strategy, {level})}


def _base(group: Group, told: Mapping[Contestant, Verdict], servers: Mapping[str, Sequence[Measured]]) -> Contestant:
    """Whom all can be held against: the reference, unless it was not measured."""
    on_all = [who for who in told if all(any(m.contestant == who for m in blocks) for blocks in servers.values())]
    return group.reference if group.reference in on_all or not on_all else on_all[0]


def times_against(
    reference: Contestant,
    contestants: Mapping[Contestant, object] | Sequence[Contestant],
    servers: Mapping[str, Sequence[Measured]],
    mixes: Sequence[Mix],
) -> dict[Contestant, float]:
    """The time of each in multiples of the reference's, the geometric mean over servers; of those measured on all."""
    found = {}
    for who in contestants:
        each = [head_to_head(blocks, who, reference, mixes) for blocks in servers.values()]
        known = [one.value for one in each if one is not None]
        if known and len(known) == len(each):
            found[who] = exp(fmean(map(log, known)))
    return found


def told_apart(
    first: Contestant, second: Contestant, servers: Mapping[str, Sequence[Measured]], mixes: Sequence[Mix]
) -> bool:
    """Whether on some server the interval says that one is slower, by more than anybody would care for."""
    return any(
        one is not None and one.excludes(1.0) and not _negligible(one)
        for one in (head_to_head(blocks, first, second, mixes) for blocks in servers.values())
    )


def settled(
    first: Contestant, second: Contestant, servers: Mapping[str, Sequence[Measured]], mixes: Sequence[Mix]
) -> bool:
    """Whether more blocks would not change what is said of the two: apart, or equal for all that matters."""
    each = [head_to_head(blocks, first, second, mixes) for blocks in servers.values()]
    return bool(each) and all(one is not None and (one.excludes(1.0) or _negligible(one)) for one in each)


def _negligible(one: Estimate) -> bool:
    return one.low >= 1 / NEGLIGIBLE and one.high <= NEGLIGIBLE


def _fastest_unsafe(
    told: Mapping[Contestant, Verdict], best: Contestant, times: Mapping[Contestant, float]
) -> Contestant | None:
    unsafe = [who for who, verdict in told.items() if verdict is Verdict.UNSAFE and who in times]
    here = [who for who in unsafe if who.layout == best.layout]
    return min(here or unsafe, key=lambda who: times[who], default=None)


def against(
    who: Contestant, other: Contestant, servers: Mapping[str, Sequence[Measured]], mixes: Sequence[Mix]
) -> list[Against]:
    """On each server that has a round of both."""
    return [
        Against(server, time, head_to_head(blocks, who, other, mixes, "wal_bytes"))
        for server, blocks in servers.items()
        if (time := head_to_head(blocks, who, other, mixes)) is not None
    ]


def _elsewhere(
    passing: Sequence[Contestant], best: Contestant, times: Mapping[Contestant, float]
) -> tuple[Contestant, ...]:
    layouts = dict.fromkeys(who.layout for who in passing if who.layout != best.layout)
    return tuple(
        chain.from_iterable(
            [min((who for who in passing if who.layout == layout), key=lambda who: times.get(who, float("inf")))]
            for layout in layouts
        )
    )
