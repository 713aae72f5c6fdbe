"""What decorators make of functions and classes, and what a strategy hands to each trial."""

from __future__ import annotations

import subprocess
import sys
from enum import Enum

import pytest
from hypothesis import strategies as st

import harness
from harness import READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE, Connection, Key, Own, Pool, Scenario
from harness.model.contest import Call
from harness.scenario.bodies import wants_pool
from harness.scenario.errors import ScenarioError
from harness.scenario.language import Operation
from harness.scenario.parameters import Free, Tried


class Plan(Enum):
    BASIC = 1
    PRO = 2


def shop() -> tuple[Scenario, Operation]:
    scenario = Scenario("shop", tables="CREATE TABLE t ()")

    @scenario.operation(
        student=Key(int),
        course=Key(str, name="class"),
        amount=Own(st.integers()),
        plan=Plan,
        note=st.text(),
        refusals="P0001",
    )
    def buy(connection: Connection, course: str, student: int, amount: int, plan: Plan, note: str) -> str:
        """Buys."""
        return "specified"

    @scenario.operation(student=Key(int), refusals=[KeyError, "23505"])
    def refund(pool: Pool, student: int) -> str:
        return "specified"

    return scenario, buy


def test_parameters_are_in_the_order_of_the_function_whatever_the_order_declared():
    _, buy = shop()
    assert list(buy.parameters) == ["course", "student", "amount", "plan", "note"]
    assert buy.keys == {"course": "class", "student": "student"}
    assert buy.parameters["plan"] == Tried((Plan.BASIC, Plan.PRO))
    assert isinstance(buy.parameters["note"], Free)


def test_refusals_are_one_or_several_classes_or_sqlstates():
    scenario, _ = shop()
    assert [operation.refusals for operation in scenario.operations.values()] == [("P0001",), (KeyError, "23505")]


def test_an_operation_can_be_called_as_the_function_it_was():
    _, buy = shop()
    assert buy(None, "a", 1, 2, Plan.PRO, note="") == "specified"
    assert (buy.name, buy.doc) == ("buy", "Buys.")


def test_a_function_strategy_replaces_one_operation_and_stays_what_it_was():
    scenario, buy = shop()

    @buy.strategy
    def other(connection: Connection, course: str, student: int, amount: int, plan: Plan, note: str) -> str:
        """Another way."""
        return "other"

    (strategy,) = scenario.strategies
    assert (strategy.name, strategy.doc, strategy.replaces) == ("other", "Another way.", ("buy",))
    bodies = strategy.bind()
    assert bodies["buy"] is other
    assert bodies["refund"] is scenario.specification()["refund"]


def test_a_class_strategy_is_a_process_that_each_trial_has_anew():
    scenario, _ = shop()

    @scenario.strategy(processes="each")
    class Remembers:
        calls = 0

        def refund(self, pool: Pool, student: int) -> str:
            return str(self._count())

        def _count(self) -> int:
            self.calls += 1
            return self.calls

    (strategy,) = scenario.strategies
    bodies = strategy.bind()
    assert [bodies["refund"](None, student=1), bodies["refund"](None, student=1)] == ["1", "2"]
    assert strategy.bind()["refund"](None, student=1) == "1"
    first, second = strategy.bind_sessions(2)
    assert first["refund"].__self__ is not second["refund"].__self__
    assert Remembers.calls == 0


def test_sessions_share_one_process_unless_declared_otherwise():
    scenario, _ = shop()

    @scenario.strategy
    class Remembers:
        def refund(self, pool: Pool, student: int) -> str:
            return ""

    first, second = scenario.strategies[0].bind_sessions(2)
    assert first["refund"].__self__ is second["refund"].__self__


def test_a_pool_is_asked_for_by_its_annotation():
    class Worker:
        def with_pool(self, pool: Pool) -> None: ...
        def with_connection(self, connection: Connection) -> None: ...

    def qualified(pool: harness.Pool) -> None: ...
    def for_checkers_only(pool: not_imported.Pool) -> None: ...  # noqa: F821
    def unannotated(pool) -> None: ...

    scenario, _ = shop()
    assert [wants_pool(body) for body in scenario.specification().values()] == [False, True]
    assert wants_pool(Worker().with_pool) and not wants_pool(Worker().with_connection)
    assert wants_pool(qualified) and wants_pool(for_checkers_only) and not wants_pool(unannotated)


def test_what_may_be_retried_is_40001_above_read_committed_unless_declared():
    scenario, _ = shop()
    for retryable in (None, (), ("40001", "23505")):
        scenario.sql_strategy(f"s{retryable}", retryable=retryable, buy="SELECT 1")
    default, never, always = scenario.strategies
    assert [default.retryable_at(level) for level in (READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE)] == [
        (),
        ("40001",),
        ("40001",),
    ]
    assert never.retryable_at(SERIALIZABLE) == ()
    assert always.retryable_at(READ_COMMITTED) == ("40001", "23505")


def test_a_strategy_runs_at_all_levels_or_at_its_own():
    scenario, _ = shop()
    scenario.sql_strategy("all", buy="SELECT 1")
    scenario.sql_strategy("one", isolation=SERIALIZABLE, buy="SELECT 1")
    assert [strategy.levels for strategy in scenario.strategies] == [
        (READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE),
        (SERIALIZABLE,),
    ]


def test_declarations_have_defaults():
    scenario = Scenario("shop", tables="CREATE TABLE t ()")
    assert (scenario.layouts, scenario.states, scenario.identity) == ({"none": ""}, {"new": ()}, ())
    assert scenario.place.path == __file__


def test_a_state_is_sql_or_calls_in_order():
    scenario, buy = shop()
    scenario.state("bought", "SELECT 1", buy.call(note="x"))
    assert scenario.states["bought"] == ("SELECT 1", Call("buy", (("note", "x"),)))


def test_a_call_with_a_parameter_that_is_none_is_guessed():
    _, buy = shop()
    with pytest.raises(
        ScenarioError, match=r"buy.call\(amont=...\): no such parameter \(did you mean 'amount'\?\)"
    ) as caught:
        buy.call(amont=1)
    assert caught.value.path == __file__


def test_the_public_face_holds_what_it_promises_and_guesses_nothing():
    assert all(getattr(harness, name) is not None for name in harness.__all__)
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'Scenarios'; it has: READ_COMMITTED"):
        harness.Scenarios  # noqa: B018


def test_importing_harness_loads_no_driver():
    code = "import sys, harness; assert not {'psycopg', 'hypothesis'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
