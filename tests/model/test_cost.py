"""Blocks to cards: what is added, what is left out, what is compared with what."""

import pytest

from harness.model.cell import Isolation
from harness.model.cost import COUNTERS, FIGURES, Block, Contestant, Measured, Mix, added, bucket, card, head_to_head
from harness.model.cost import percentile_ms as percentile

FAST = Contestant("fast", "full", Isolation.READ_COMMITTED)
SLOW = Contestant("slow", "full", Isolation.READ_COMMITTED)
MIXES = (Mix.NEW, Mix.HOT)


def block(seconds: float = 1.0, *, acknowledged: int = 10, wal: int = 0) -> Block:
    counters = {**dict.fromkeys(COUNTERS, 0), "wal_bytes": wal}
    failed = {"42P10": 10 - acknowledged} if acknowledged < 10 else {}
    return Block(10, acknowledged, failed, {}, 20, seconds, {bucket(10**6): acknowledged}, 0.5, 4, counters)


def measured(who: Contestant, number: int, mix: Mix, made: Block) -> Measured:
    return Measured("pg18", number, who, mix, made)


def rounds(count: int) -> list[Measured]:
    """In each round the machine is twice as slow as in the one before; `slow` takes three times the time of `fast`."""
    return [
        measured(who, number, mix, block(times * 2.0**number, wal=100 * times))
        for number in range(count)
        for mix in MIXES
        for who, times in ((FAST, 1), (SLOW, 3))
    ]


def test_a_ratio_is_of_blocks_of_one_round() -> None:
    told = card(rounds(6), SLOW, FAST, MIXES)
    assert told.overall is not None
    time = told.overall.ratios["time_us"]
    assert (time.value, time.low, time.high) == pytest.approx((3, 3, 3))
    assert told.overall.ratios["wal_bytes"].value == pytest.approx(3)
    assert told.overall.spreads["calls_per_s"].count == 6


def test_a_round_without_a_mix_is_no_round_of_all_mixes() -> None:
    partial = [m for m in rounds(6) if not (m.round == 2 and m.mix is Mix.HOT and m.contestant == SLOW)]
    told = card(partial, SLOW, FAST, MIXES)
    assert told.overall is not None
    assert told.overall.rounds == 5
    assert told.mixes[Mix.NEW].rounds == 6


def test_who_answers_nothing_has_no_figures_and_says_why() -> None:
    failing = [measured(SLOW, 0, mix, block(acknowledged=0)) for mix in MIXES]
    told = card([*failing, *rounds(1)[:0]], SLOW, FAST, MIXES)
    assert told.overall is None
    assert told.failing == "42P10 on every call"
    assert not card(rounds(1), SLOW, FAST, MIXES).failing


def test_head_to_head_needs_a_round_with_both() -> None:
    assert head_to_head(rounds(1), SLOW, FAST, MIXES) is not None
    assert head_to_head([m for m in rounds(1) if m.contestant == SLOW], SLOW, FAST, MIXES) is None


def test_added_blocks_are_a_block() -> None:
    both = added([block(1.0, wal=100), block(3.0, acknowledged=6, wal=60)])
    assert (both.calls, both.acknowledged, both.failed, both.elapsed_s) == (20, 16, {"42P10": 4}, 4.0)
    assert FIGURES["wal_bytes"](both) == 10
    assert FIGURES["calls_per_s"](both) == 4
    assert FIGURES["failed_share"](both) == 0.2


@pytest.mark.parametrize("milliseconds", [0.05, 1.0, 37.0, 4000.0])
def test_buckets_keep_durations_to_a_fortieth(milliseconds: float) -> None:
    assert percentile({bucket(round(milliseconds * 1e6)): 1}, 0.5) == pytest.approx(milliseconds, rel=0.025)


def test_percentiles_are_of_the_calls() -> None:
    calls = {bucket(10**6): 98, bucket(10**9): 2}
    assert percentile(calls, 0.95) == pytest.approx(1, rel=0.03)
    assert percentile(calls, 0.99) == pytest.approx(1000, rel=0.03)
