"""What comparing the strategies of a scenario comes to: verdicts, costs, and what is to be recommended."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.model.cell import Cell
from harness.model.cost import Card, Contestant, Measured, Mix
from harness.model.estimate import Estimate
from harness.model.verdict import Rate, Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """A cell's verdict, as far as it matters beside others."""

    cell: Cell
    verdict: Verdict
    reason: str = ""
    kinds: tuple[str, ...] = ()  # of the findings, as `expect` names them
    contended: bool = False
    exhaustive: bool = False
    orders: int = 0
    replay: str | None = None  # a line that shows the first finding again
    alone: bool = False  # it needs no concurrency


@dataclass(frozen=True, slots=True)
class Hammered:
    """What truly concurrent sessions met in a cell: rounds with a violation, of the rounds that were run."""

    rate: Rate
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """The strategies that write one operation: only they can take each other's place."""

    operation: str
    contestants: tuple[Contestant, ...]
    reference: Contestant


@dataclass(frozen=True, slots=True)
class Against:
    """What one contestant costs in multiples of another, on one server."""

    server: str
    time: Estimate
    wal: Estimate | None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to take for one operation at one isolation level, and what that costs."""

    operation: str
    level: str
    best: Contestant | None  # None: nothing is safe in every state
    verdict: Verdict | None = None  # of the best: safe, or retry
    measured: bool = False
    as_good: tuple[Contestant, ...] = ()  # whose time the intervals do not tell from that of the best
    unsafe: Contestant | None = None  # the fastest that is, on the same layout if there is one
    unsafe_kinds: tuple[str, ...] = ()
    against_unsafe: tuple[Against, ...] = ()
    elsewhere: tuple[Contestant, ...] = ()  # the best of each other layout
    undecided: tuple[Contestant, ...] = ()  # with cells that are unknown or were not explored, and none unsafe


@dataclass(frozen=True, slots=True)
class OnServer:
    """A server of a comparison, as reports name it."""

    id: str
    version: str
    provider: str
    explored: str  # durability while exploring: "off", "default"
    measured: str  # and while measuring


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that is known of a scenario's strategies after a comparison, however far it came."""

    scenario: str
    servers: tuple[OnServer, ...]
    judged: tuple[Judged, ...]
    groups: tuple[Group, ...]
    cards: tuple[Card, ...]
    advice: tuple[Recommendation, ...]
    mixes: tuple[Mix, ...]
    clients: int
    calls: int
    seed: int
    elapsed_s: float
    hammered: Mapping[str, Hammered] = field(default_factory=dict)  # by the cell's id
    warnings: tuple[str, ...] = ()


def verdict_of(judged: Iterable[Judged], contestant: Contestant, cells: Iterable[Cell]) -> Verdict:
    """The worst over every state and server at the contestant's level; a cell that was not judged is unknown."""
    known = {one.cell: one.verdict for one in judged}
    mine = [
        known.get(cell, Verdict.UNKNOWN)
        for cell in cells
        if (cell.strategy, cell.layout, cell.isolation)
        == (contestant.strategy, contestant.layout, contestant.isolation)
    ]
    return min(mine, key=list(Verdict).index, default=Verdict.UNKNOWN)


def kinds_of(judged: Iterable[Judged], contestant: Contestant) -> tuple[str, ...]:
    """What was found of it, whatever the state and server."""
    return tuple(
        dict.fromkeys(
            kind
            for one in judged
            if (one.cell.strategy, one.cell.layout, one.cell.isolation)
            == (contestant.strategy, contestant.layout, contestant.isolation)
            for kind in one.kinds
        )
    )


def by_server(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    found: dict[str, list[Measured]] = {}
    for one in measured:
        found.setdefault(one.server, []).append(one)
    return found
