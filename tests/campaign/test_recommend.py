"""What is recommended, and above all what is not: constructed matrices with constructed costs."""

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from harness.campaign.recommend import advise, settled
from harness.model.cell import Cell, Isolation
from harness.model.comparison import Group, Judged, Recommendation, by_server
from harness.model.cost import COUNTERS, Block, Contestant, Measured, Mix, bucket
from harness.model.verdict import Verdict

RC, SERIALIZABLE = Isolation.READ_COMMITTED, Isolation.SERIALIZABLE
MIXES = (Mix.NEW,)
UNSAFE, UNKNOWN, RETRY, SAFE = Verdict
WORDS = {"s": SAFE, "r": RETRY, "u": UNKNOWN, "x": UNSAFE}

Verdicts = Mapping[str, str]
"""`{"upsert full": "ssx"}`: of a strategy in a layout, the verdict in each state; `.` where it was not explored."""


def who(name: str, level: Isolation = RC) -> Contestant:
    strategy, layout = name.split()
    return Contestant(strategy, layout, level)


def cells(name: str, words: str, server: str = "pg18", level: Isolation = RC) -> list[Cell]:
    strategy, layout = name.split()
    return [Cell("items", strategy, layout, f"state{n}", level, server) for n in range(len(words))]


def blocks(times: Mapping[str, Sequence[float] | float], server: str = "pg18", level: Isolation = RC) -> list[Measured]:
    """Six rounds for each; one number: always the same time."""
    counters = dict.fromkeys(COUNTERS, 1)
    found = []
    for name, each in times.items():
        for number, seconds in enumerate([each] * 6 if isinstance(each, float) else each):
            block = Block(1, 1, {}, {}, 1, seconds, {bucket(1): 1}, 0.0, 1, counters)
            found.append(Measured(server, number, who(name, level), Mix.NEW, block))
    return found


def advice(
    verdicts: Verdicts, times: Mapping[str, Sequence[float] | float], *, servers: Sequence[str] = ("pg18",)
) -> Recommendation:
    every = [cell for name, words in verdicts.items() for server in servers for cell in cells(name, words, server)]
    said = {cell: word for name, words in verdicts.items() for server in servers
            for cell, word in zip(cells(name, words, server), words, strict=True)}  # fmt: skip
    judged = [
        Judged(cell, WORDS[word], kinds=("duplicate",) if word == "x" else ())
        for cell, word in said.items()
        if word != "."
    ]
    group = Group("put", tuple(map(who, verdicts)), who(next(iter(verdicts))))
    measured = [block for server in servers for block in blocks(times, server)]
    return advise(group, RC, judged, every, measured, MIXES)


def test_the_cheapest_that_is_safe_in_every_state_is_taken() -> None:
    told = advice(
        {"slow full": "ss", "quick full": "ss", "naive full": "sx"},
        {"slow full": 3.0, "quick full": 2.0, "naive full": 1.0},
    )
    assert told.best == who("quick full")
    assert (told.verdict, told.measured, told.as_good) == (SAFE, True, ())
    assert (told.unsafe, told.unsafe_kinds) == (who("naive full"), ("duplicate",))
    (against,) = told.against_unsafe
    assert against.time is not None
    assert (against.time.value, against.time.low) == (2.0, 2.0)


def test_what_is_unsafe_in_one_state_is_never_taken_however_quick() -> None:
    told = advice({"naive full": "sssx", "slow full": "ssss"}, {"naive full": 0.01, "slow full": 9.0})
    assert told.best == who("slow full")


def test_what_is_unknown_or_unexplored_in_one_state_is_never_taken() -> None:
    for words in ("su", "s."):
        told = advice({"quick full": words, "slow full": "ss"}, {"quick full": 1.0, "slow full": 2.0})
        assert told.best == who("slow full")
        assert told.undecided == (who("quick full"),)
    assert advice({"quick full": "su"}, {"quick full": 1.0}).best is None


def test_what_is_unsafe_on_one_server_is_not_taken() -> None:
    every = [*cells("put full", "s", "pg16"), *cells("put full", "s", "pg18")]
    judged = [Judged(every[0], SAFE), Judged(every[1], UNSAFE, kinds=("23505",))]
    group = Group("put", (who("put full"),), who("put full"))
    assert advise(group, RC, judged, every, [], MIXES).best is None
    assert advise(group, RC, [judged[0], Judged(every[1], SAFE)], every, [], MIXES).best == who("put full")


def test_nothing_safe_means_nothing_taken() -> None:
    told = advice({"naive full": "x", "other full": "sx"}, {"naive full": 1.0, "other full": 1.0})
    assert (told.best, told.unsafe, told.undecided) == (None, None, ())


def test_retry_may_be_taken_and_is_said() -> None:
    told = advice({"again full": "sr", "slow full": "ss"}, {"again full": 1.0, "slow full": 2.0})
    assert (told.best, told.verdict) == (who("again full"), RETRY)


def test_safe_without_costs_is_taken_as_such() -> None:
    told = advice({"put full": "s", "naive full": "x"}, {"naive full": 1.0})
    assert (told.best, told.measured, told.against_unsafe) == (who("put full"), False, ())


def test_who_is_measured_goes_before_who_is_not() -> None:
    assert advice({"put full": "s", "add full": "s"}, {"add full": 1.0, "put full": ()}).best == who("add full")


def test_what_intervals_do_not_tell_apart_is_as_good() -> None:
    noisy = [0.5, 2.0, 0.9, 1.2, 0.7, 1.4]
    told = advice({"a full": "s", "b full": "s", "c full": "s"}, {"a full": 1.0, "b full": noisy, "c full": 5.0})
    assert {told.best, *told.as_good} == {who("a full"), who("b full")}


def test_more_blocks_are_wanted_only_where_they_could_decide() -> None:
    def is_settled(times: Sequence[float] | float) -> bool:
        servers = by_server(blocks({"a full": 1.0, "b full": times}))
        return settled(who("a full"), who("b full"), servers, MIXES)

    assert is_settled(2.0)  # apart
    assert is_settled([1.0, 1.01, 0.99, 1.0, 1.02, 0.99])  # equal for all that matters
    assert not is_settled([0.5, 2.0, 0.9, 1.2, 0.7, 1.4])
    assert not is_settled([2.0, 2.0, 2.0])  # too few for an interval


def test_a_strategy_with_a_level_of_its_own_brings_it_along() -> None:
    own = Contestant("strict", "full", SERIALIZABLE)
    every = [*cells("strict full", "s", level=SERIALIZABLE), *cells("naive full", "x")]
    judged = [Judged(every[0], SAFE), Judged(every[1], UNSAFE, kinds=("duplicate",))]
    group = Group("put", (own, who("naive full")), own)
    assert advise(group, RC, judged, every, blocks({"strict full": 1.0}, level=SERIALIZABLE), MIXES).best == own


def test_a_strategy_of_all_levels_does_not_run_at_another_than_asked() -> None:
    above = Contestant("put", "full", SERIALIZABLE)
    every = [*cells("put full", "s", level=SERIALIZABLE), *cells("put full", "x")]
    judged = [Judged(every[0], SAFE), Judged(every[1], UNSAFE, kinds=("duplicate",))]
    group = Group("put", (who("put full"), above), above)
    assert advise(group, RC, judged, every, [], MIXES).best is None
    assert advise(group, SERIALIZABLE, judged, every, [], MIXES).best == above


def test_the_fastest_unsafe_is_sought_on_the_same_layout_first() -> None:
    verdicts = {"put full": "s", "naive full": "x", "naive none": "x"}
    times = {"put full": 3.0, "naive full": 2.0, "naive none": 1.0}
    assert advice(verdicts, times).unsafe == who("naive full")


def test_the_best_of_each_other_layout_is_told() -> None:
    told = advice(
        {"put full": "s", "lock none": "s", "slow none": "s"}, {"put full": 1.0, "lock none": 2.0, "slow none": 3.0}
    )
    assert told.elsewhere == (who("lock none"),)


NAMES = [f"{strategy} {layout}" for strategy in "abc" for layout in ("full", "none")]


@given(
    st.dictionaries(st.sampled_from(NAMES), st.text("srux.", min_size=1, max_size=3), min_size=1),
    st.dictionaries(st.sampled_from(NAMES), st.floats(0.1, 10)),
    st.sampled_from([("pg18",), ("pg16", "pg18")]),
)
def test_whatever_is_named_as_good_passes_everywhere(
    verdicts: dict[str, str], times: dict[str, float], servers: Sequence[str]
) -> None:
    told = advice(verdicts, {name: each for name, each in times.items() if name in verdicts}, servers=servers)
    passing = {who(name) for name, words in verdicts.items() if set(words) <= {"s", "r"}}
    recommended = {one for one in (told.best, *told.as_good, *told.elsewhere) if one is not None}
    assert recommended <= passing
    assert bool(recommended) == bool(passing)
    assert told.unsafe is None or "x" in verdicts[f"{told.unsafe.strategy} {told.unsafe.layout}"]
