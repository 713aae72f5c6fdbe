"""What a strategy costs: blocks of one workload measured in turn, and the card that they come to.

A block is a few calls of one strategy, by several clients at once, on tables made anew. Every strategy runs one block
of each mix in every round, in an order drawn anew; what is compared is always of the same round.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import exp, log

from harness.model.cell import Isolation
from harness.model.estimate import Estimate, Spread, ratio, spread


class Mix(StrEnum):
    """Which entities the calls of a block are about."""

    NEW = "new keys"  # each call another one, that is not there yet
    EXISTING = "existing keys"  # drawn from those that are there
    HOT = "hot key"  # one that is there, for all clients
    MOSTLY_EXISTING = "90/10"  # nine of ten drawn from those that are there, one not there yet


@dataclass(frozen=True, slots=True)
class Contestant:
    """A strategy in a layout, at the isolation level it is used at."""

    strategy: str
    layout: str
    isolation: Isolation

    def __str__(self) -> str:
        return f"{self.strategy} on {self.layout}"


@dataclass(frozen=True, slots=True)
class Block:
    """Some calls of a contestant, as counted; blocks of one contestant can be added up."""

    calls: int
    acknowledged: int  # answered: a value, or a refusal that is a normal answer
    failed: Mapping[str, int]  # calls that were not, by SQLSTATE or name of the exception
    errors: Mapping[str, int]  # statements that failed, by SQLSTATE, whoever caught it
    round_trips: int
    elapsed_s: float  # from the first call to the last answer
    latencies: Mapping[int, int]  # acknowledged calls by `bucket` of their duration, retries included
    lock_wait_s: float  # of all clients together
    clients: int
    counters: Mapping[str, int] = field(default_factory=dict)  # of the server; `COUNTERS` has their names


COUNTERS = {
    "wal_bytes": "WAL written, by position",
    "transaction_ids": "assigned, those of savepoints included",
    "sequence_values": "drawn from sequences of the database",
    "rows_inserted": "row versions inserted, whether they stayed or not",
    "rows_updated": "row versions that replaced another",
    "rows_updated_hot": "of them, without an entry in any index",
    "dead_tuples": "row versions made or found and not visible to anybody any more",
    "heap_bytes": "growth of the tables' main forks",
    "index_bytes": "growth of their indexes",
    "deadlocks": "that the server found",
}
"""What a block counts of the server; whole numbers."""

RETRIED = ("40001", "40P01")  # class 40, transaction rollback: somebody has to begin again

_STEP = 1.05  # a bucket of latencies is as wide as this: percentiles are good to 2.5 %


def bucket(nanoseconds: int) -> int:
    return round(log(max(nanoseconds, 1)) / log(_STEP))


def percentile_ms(latencies: Mapping[int, int], share: float) -> float:
    """The duration that this share of the calls did not exceed."""
    left = share * sum(latencies.values())
    for number in sorted(latencies):
        left -= latencies[number]
        if left <= 0:
            return exp(number * log(_STEP)) / 1e6
    return 0.0


def added(blocks: Sequence[Block]) -> Block:
    """Several blocks as one: a workload of as many calls of each."""

    def counted(of: Callable[[Block], Mapping[str, int]]) -> dict[str, int]:
        return dict(sum((Counter(of(block)) for block in blocks), Counter()))

    latencies: Counter[int] = Counter()
    counters: Counter[str] = Counter()
    for block in blocks:
        latencies.update(block.latencies)
        counters.update(block.counters)
    return Block(
        calls=sum(block.calls for block in blocks),
        acknowledged=sum(block.acknowledged for block in blocks),
        failed=counted(lambda block: block.failed),
        errors=counted(lambda block: block.errors),
        round_trips=sum(block.round_trips for block in blocks),
        elapsed_s=sum(block.elapsed_s for block in blocks),
        latencies=dict(latencies),
        lock_wait_s=sum(block.lock_wait_s for block in blocks),
        clients=max(block.clients for block in blocks),
        counters=dict(counters),
    )


FIGURES: Mapping[str, Callable[[Block], float]] = {
    "time_us": lambda b: b.elapsed_s * 1e6 / b.acknowledged,
    "calls_per_s": lambda b: b.acknowledged / b.elapsed_s,
    "p50_ms": lambda b: percentile_ms(b.latencies, 0.50),
    "p95_ms": lambda b: percentile_ms(b.latencies, 0.95),
    "p99_ms": lambda b: percentile_ms(b.latencies, 0.99),
    "round_trips": lambda b: b.round_trips / b.acknowledged,
    "retries": lambda b: sum(b.errors.get(state, 0) for state in RETRIED) / b.acknowledged,
    "failed_share": lambda b: sum(b.failed.values()) / b.calls,
    "lock_wait_share": lambda b: b.lock_wait_s / (b.elapsed_s * b.clients),
    "wal_bytes": lambda b: b.counters["wal_bytes"] / b.acknowledged,
    "transaction_ids": lambda b: b.counters["transaction_ids"] / b.acknowledged,
    "sequence_values": lambda b: b.counters["sequence_values"] / b.acknowledged,
    "dead_tuples": lambda b: b.counters["dead_tuples"] / b.acknowledged,
    "hot_share": lambda b: b.counters["rows_updated_hot"] / max(1, b.counters["rows_updated"]),
    "heap_bytes": lambda b: b.counters["heap_bytes"] / b.acknowledged,
    "index_bytes": lambda b: b.counters["index_bytes"] / b.acknowledged,
    "deadlocks": lambda b: b.counters["deadlocks"] / b.acknowledged,
}
"""What a card tells of blocks in which calls were acknowledged. Where no unit says otherwise: for each such call."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A block with its place in the design."""

    server: str
    round: int
    contestant: Contestant
    mix: Mix
    block: Block


@dataclass(frozen=True, slots=True)
class Figures:
    """What the blocks of one contestant come to, in one mix or in all of them together."""

    rounds: int
    spreads: Mapping[str, Spread]
    ratios: Mapping[str, Estimate]  # to the reference's of the same round


@dataclass(frozen=True, slots=True)
class Card:
    """The cost of one contestant on one server."""

    contestant: Contestant
    server: str
    overall: Figures | None  # all mixes, as many calls of each; None where no round has them all
    mixes: Mapping[Mix, Figures]
    failing: str = ""  # "42P10 on every call": why there is nothing to tell


Rounds = Mapping[int, Block]


def card(measured: Iterable[Measured], contestant: Contestant, reference: Contestant, mixes: Sequence[Mix]) -> Card:
    """Of the blocks of one server, what they say of a contestant, in ratios to the reference."""
    known = list(measured)
    mine, other = (_by_mix(known, who) for who in (contestant, reference))
    told = {mix: figures for mix in mixes if (figures := _figures(mine.get(mix, {}), other.get(mix, {}))) is not None}
    return Card(
        contestant,
        known[0].server if known else "",
        _figures(_together(mine, mixes), _together(other, mixes)),
        told,
        _failing([m.block for m in known if m.contestant == contestant]),
    )


def head_to_head(
    measured: Iterable[Measured], first: Contestant, second: Contestant, mixes: Sequence[Mix], figure: str = "time_us"
) -> Estimate | None:
    """How many times the second's figure the first's is, over all mixes; None without a round that has both."""
    known = list(measured)
    a, b = (_answered(_together(_by_mix(known, who), mixes)) for who in (first, second))
    tell = FIGURES[figure]
    return ratio([(tell(a[number]), tell(b[number])) for number in sorted(a.keys() & b.keys())])


def _by_mix(measured: Iterable[Measured], who: Contestant) -> dict[Mix, dict[int, Block]]:
    found: dict[Mix, dict[int, Block]] = {}
    for one in measured:
        if one.contestant == who:
            found.setdefault(one.mix, {})[one.round] = one.block
    return found


def _together(by_mix: Mapping[Mix, Rounds], mixes: Sequence[Mix]) -> dict[int, Block]:
    """The rounds that have a block of every mix, each as one."""
    whole = set.intersection(*(set(by_mix.get(mix, ())) for mix in mixes)) if mixes else set()
    return {number: added([by_mix[mix][number] for mix in mixes]) for number in sorted(whole)}


def _answered(rounds: Rounds) -> dict[int, Block]:
    return {number: block for number, block in rounds.items() if block.acknowledged}


def _figures(mine: Rounds, reference: Rounds) -> Figures | None:
    mine, reference = _answered(mine), _answered(reference)
    if not mine:
        return None
    ratios = {}
    for name, tell in FIGURES.items():
        found = ratio([(tell(mine[n]), tell(reference[n])) for n in sorted(mine.keys() & reference.keys())])
        if found is not None:
            ratios[name] = found
    spreads = {name: spread([tell(block) for block in mine.values()]) for name, tell in FIGURES.items()}
    return Figures(len(mine), spreads, ratios)


def _failing(blocks: Sequence[Block]) -> str:
    if not blocks or any(block.acknowledged for block in blocks):
        return ""
    return f"{', '.join(sorted(added(blocks).failed))} on every call"
