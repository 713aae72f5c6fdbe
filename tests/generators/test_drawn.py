"""What is drawn: sessions that meet, all sizes of the scope, values that code forgets; and nothing outside of it."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from harness.generators.contests import contests, described
from harness.generators.drawn import Scope, drawn_contests, serial_orders
from harness.model.contest import Contest, orders
from harness.scenario.discovery import find as find_scenarios
from harness.scenario.language import Scenario
from harness.scenario.parameters import Own
from harness.scenario.values import values_of

SCENARIOS = {scenario.name: scenario for scenario in find_scenarios(None)}
PURCHASES = SCENARIOS["purchases"]
QUIET = settings(
    database=None, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), max_examples=300
)


def drawn(scenario: Scenario, scope: Scope | None = None) -> st.SearchStrategy[Contest]:
    return drawn_contests(scenario, scenario.strategies[0], next(iter(scenario.states)), scope)


def sample(generator: st.SearchStrategy[Any], count: int) -> list[Any]:
    """As many draws, always the same ones."""
    taken: list[Any] = []

    @settings(QUIET, max_examples=count, phases=[Phase.generate])
    @given(generator)
    def take(value: Any) -> None:
        taken.append(value)

    take()
    return taken


def minimal(generator: st.SearchStrategy[Any], condition: Callable[[Any], bool] = lambda _: True) -> Any:
    return find(generator, condition, settings=QUIET)


def meets(contest: Contest) -> bool:
    keys = [{repr(call.arguments[:1]) for call in calls} for calls in contest.sessions]
    return any(a & b for i, a in enumerate(keys) for b in keys[i + 1 :])


@pytest.mark.parametrize("name", SCENARIOS)
@given(data=st.data())
@settings(QUIET, max_examples=40)
def test_every_contest_is_of_the_scope_and_of_the_scenario(name: str, data: st.DataObject) -> None:
    scenario = SCENARIOS[name]
    contest = data.draw(drawn(scenario))
    strategy = scenario.strategies[0]
    counts = [len(calls) for calls in contest.sessions]
    assert 2 <= len(counts) <= 5 and 1 <= min(counts) <= max(counts) <= 4 and len(contest.prelude) <= 3
    assert serial_orders(counts) <= 180
    calls = [call for calls in (contest.prelude, *contest.sessions) for call in calls]
    assert any(call.operation in strategy.replaces for calls in contest.sessions for call in calls)
    # Operations that are not under test do not race each other: what that shows is not the strategy's.
    strangers = [calls for calls in contest.sessions if any(c.operation not in strategy.replaces for c in calls)]
    assert len(strangers) <= 1
    own: Counter[tuple[str, object]] = Counter()
    for call in calls:
        parameters = scenario.operations[call.operation].parameters
        assert list(parameters) == [name for name, _ in call.arguments]
        own.update(repr(value) for name, value in call.arguments if isinstance(parameters[name], Own))
    assert not own or max(own.values()) == 1


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_serial_orders_are_counted_as_there_are(counts: list[int]) -> None:
    refs = Contest("", tuple((None,) * count for count in counts), "").operations  # type: ignore[misc]
    assert serial_orders(counts) == len(list(orders(refs)))


def test_ten_keys_on_an_empty_table_do_not_hide_the_race() -> None:
    # Independent draws from ten keys would let two calls meet once in ten; a key in use is taken three times of four.
    wide = sample(drawn(PURCHASES, Scope(keys_max=10)), 300)
    assert sum(map(meets, wide)) > 0.8 * len(wide)
    assert max(len({repr(call.arguments[:1]) for s in c.sessions for call in s}) for c in wide) > 3


def test_all_shapes_are_drawn() -> None:
    few = sample(drawn(PURCHASES), 300)
    sizes = Counter(len(contest.sessions) for contest in few)
    assert set(sizes) == {2, 3, 4, 5}
    assert any(len(c.sessions) == 5 and {call.operation for s in c.sessions for call in s} == {"purchase"} for c in few)
    churn = ("purchase", "refund", "purchase")
    assert any(tuple(call.operation for call in calls[:3]) == churn for c in few for calls in c.sessions)
    assert any(contest.prelude for contest in few)


def test_the_simplest_contest_is_two_first_calls_on_one_key() -> None:
    # Equal to the first of the small scope, but for the values of `Own`, of which neither is simpler.
    contest = minimal(drawn(PURCHASES))
    assert [[call.operation for call in calls] for calls in contest.sessions] == [["purchase"], ["purchase"]]
    assert contest.pattern == "same student, same course" and not contest.prelude


@pytest.mark.parametrize("name", SCENARIOS)
def test_patterns_of_the_small_scope_are_described_as_it_names_them(name: str) -> None:
    scenario = SCENARIOS[name]
    for strategy in scenario.strategies:
        for contest in contests(scenario, strategy, next(iter(scenario.states))):
            assert described(scenario, contest.sessions) == contest.pattern, str(contest)


# Values.


@pytest.mark.parametrize(
    ("type_", "wanted"),
    [
        ("text", ["", "\u00e9", "e\u0301", "A", "x" * 3_000]),
        ("varchar(5)", ["y" * 5, "z" * 6]),  # it fits, and it does not
        ("int", [0, -1, 2**31 - 1, -(2**31), 2**31]),
        ("bigint", [2**63 - 1]),
        ("boolean", [True, False]),
        ("jsonb", ["null", '{"a": 1, "a": 2}']),
    ],
)
def test_values_that_code_forgets_are_drawn(type_: str, wanted: list[object]) -> None:
    generator = values_of(type_)
    assert generator is not None
    drawn_ = sample(generator, 500)
    assert [value for value in wanted if value not in drawn_] == []


def test_nothing_is_a_value_where_the_column_takes_it() -> None:
    may, must = values_of("text", nullable=True), values_of("text")
    assert may is not None and must is not None
    assert None in sample(may, 50) and None not in sample(must, 50)


def test_batches_hold_duplicates_and_come_in_opposite_orders() -> None:
    generator = values_of("int[]")
    assert generator is not None
    batches = sample(generator, 500)
    assert any(len(batch) > len(set(batch)) > 0 for batch in batches)
    assert any(len(set(batch)) > 1 and batch[::-1] in batches for batch in batches)


def test_times_tie_and_run_backwards() -> None:
    generator = values_of("timestamptz")
    assert generator is not None
    pairs = sample(st.tuples(generator, generator), 100)
    assert {(a > b) - (a < b) for a, b in pairs} == {-1, 0, 1}


def test_no_values_are_invented_for_a_type_that_is_not_known() -> None:
    assert values_of("mood") is None and values_of("mood[]") is None


@pytest.mark.parametrize(("keyword", "value"), [("sessions_max", 1), ("calls_max", 0), ("keys_max", 0)])
def test_a_scope_that_holds_no_contest_is_refused(keyword: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{keyword}={value}"):
        Scope(**{keyword: value})
