"""Rounds of a job on benches that only note who had a turn: whole rounds, fair turns, no time for everybody."""

import time
from collections import Counter
from typing import Any

import pytest

from harness.campaign.measure import CostJob, _Rounds
from harness.model.cell import Isolation
from harness.model.cost import COUNTERS, Block, Contestant, Mix, bucket
from harness.runners.cost import NeverEnds
from harness.scenario.discovery import find
from tests.reports.made import SERVER

NAMES = ("on_conflict_with_predicate", "insert_in_savepoint", "advisory_lock", "lock_table")
CONTESTANTS = tuple(Contestant(name, "partial", Isolation.READ_COMMITTED) for name in NAMES)
MIXES = (Mix.NEW, Mix.HOT)


class Noted:
    """Everybody answers, but those who are told not to."""

    def __init__(self, silent: str = "", stuck: str = "") -> None:
        self.turns: list[str] = []
        self.silent, self.stuck = silent, stuck

    def block(self, strategy: Any, isolation: Isolation, operation: str, workload: Any) -> Block:
        self.turns.append(strategy.name)
        if strategy.name == self.stuck:
            raise NeverEnds("its calls came to no end")
        calls = 0 if strategy.name == self.silent else 1
        return Block(1, calls, {} if calls else {"42P10": 1}, {}, 1, 1.0, {bucket(1): calls}, 0.0, 1,
                     dict.fromkeys(COUNTERS, 0))  # fmt: skip


def rounds(bench: Noted, *, deadline: float, count: int = 8) -> _Rounds:
    job = CostJob(SERVER, "", "purchases", "purchase", CONTESTANTS, MIXES, 2, 12, 3, count, 1, deadline)
    return _Rounds(job, find("purchases")[0], {"partial": bench})  # type: ignore[dict-item]


def test_every_round_has_a_block_of_each_mix_of_everybody() -> None:
    told = rounds(Noted(), deadline=time.time() + 3600).run()
    assert not told.dropped
    each = Counter((m.contestant, m.mix, m.round) for m in told.blocks)
    assert set(each.values()) == {1}
    assert len(each) == 8 * len(MIXES) * len(CONTESTANTS)
    assert {m.round for m in told.blocks} == set(range(3, 11))  # goes on where another job ended


@pytest.mark.parametrize("fault", ["silent", "stuck"])
def test_who_answers_nothing_or_never_ends_is_dropped_and_runs_no_more(fault: str) -> None:
    bench = Noted(**{fault: "advisory_lock"})
    told = rounds(bench, deadline=time.time() + 3600).run()
    why = {"silent": "42P10 on every call", "stuck": "its calls came to no end"}[fault]
    assert told.dropped == ((CONTESTANTS[2], why),)
    assert bench.turns.count("advisory_lock") == 1
    assert {m.contestant for m in told.blocks} == {*CONTESTANTS} - {CONTESTANTS[2]}


def test_where_not_all_fit_the_first_have_whole_rounds() -> None:
    """Eight rounds of two mixes: 16 s for each contestant, and time for three of them."""
    made = rounds(Noted(), deadline=time.time() + 50)
    made._took_s.update(dict.fromkeys(CONTESTANTS, 1.0))
    assert made._that_fit() == list(CONTESTANTS[:3])


def test_without_time_for_a_warm_up_there_is_nothing_and_no_error() -> None:
    bench = Noted()
    assert rounds(bench, deadline=0.0).run().blocks == ()
    assert not bench.turns


def test_two_are_left_to_be_compared_however_short_the_time() -> None:
    made = rounds(Noted(), deadline=time.time())
    made._took_s.update(dict.fromkeys(CONTESTANTS, 1.0))
    assert made._that_fit() == list(CONTESTANTS[:2])
