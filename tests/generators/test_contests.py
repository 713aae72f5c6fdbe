"""The contests of a small scope are all there, once each, in one order, with small values."""

import subprocess
import sys
from enum import Enum
from math import comb
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import Connection, Key, Own, Pool, Scenario
from harness.generators.contests import contests
from harness.generators.states import key_bindings, state_statements
from harness.model.contest import Call
from harness.scenario.errors import ScenarioError
from harness.scenario.parameters import Tried


class Plan(Enum):
    BASIC = 1
    PRO = 2


def make(**parameters: object) -> Scenario:
    """A scenario whose one operation `put` has these parameters and is replaced by a strategy."""
    scenario = Scenario("shop", tables="CREATE TABLE t ()")
    add(scenario, "put", **parameters)
    scenario.sql_strategy("plain", put="SELECT 1")
    return scenario


def add(scenario: Scenario, name: str, **parameters: object) -> None:
    namespace: dict[str, object] = {"Connection": Connection}
    exec(f"def {name}(connection: Connection, {', '.join(parameters)}): ...", namespace)
    scenario.operation(**parameters)(namespace[name])


def listed(scenario: Scenario, sessions: int = 2, state: str = "new") -> list[str]:
    found = contests(scenario, scenario.strategies[0], state, sessions)
    return [f"{contest.pattern}: {', '.join(str(calls[0]) for calls in contest.sessions)}" for contest in found]


def test_each_shared_key_is_the_same_or_other_all_same_first():
    # one multiset of two, two shared keys: 2^2 = 4
    assert listed(make(student=Key(int), course=Key(str), sum=Own(st.integers(min_value=1)))) == [
        "same student, same course: put(student=1, course='course1', sum=1), put(student=1, course='course1', sum=2)",
        "same student, other course: put(student=1, course='course1', sum=1), put(student=1, course='course2', sum=2)",
        "other student, same course: put(student=1, course='course1', sum=1), put(student=2, course='course1', sum=2)",
        "no common key: put(student=1, course='course1', sum=1), put(student=2, course='course2', sum=2)",
    ]


def test_operations_meet_as_multisets_of_which_the_strategy_replaces_one():
    scenario = make(student=Key(int))
    add(scenario, "drop", student=Key(int))
    add(scenario, "count", day=st.just(7))
    # (put, put), (put, drop), (put, count); not (drop, drop), (drop, count), (count, count). A common key: x 2
    assert listed(scenario) == [
        "same student: put(student=1), put(student=1)",
        "no common key: put(student=1), put(student=2)",
        "same student: put(student=1), drop(student=1)",
        "no common key: put(student=1), drop(student=2)",
        "no common key: put(student=1), count(day=7)",
    ]


def test_every_value_of_an_enum_or_list_is_tried_once_whatever_the_session():
    # 2 plans x 2 sources = 4 forms of the call; multisets of two: 4 * 5 / 2 = 10; no keys: one pattern each
    found = listed(make(plan=Plan, source=["web", "app"]))
    assert len(found) == len(set(found)) == 10
    assert found[0] == "no common key: put(plan=<Plan.BASIC: 1>, source='web'), put(plan=<Plan.BASIC: 1>, source='web')"


def test_three_sessions():
    scenario = make(student=Key(int))
    add(scenario, "drop", student=Key(int))
    # multisets of 3 out of 2 operations: 4, without (put, drop, drop), in which two calls race that are not under test,
    # and (drop, drop, drop): 2; one shared key: x 2
    assert len(listed(scenario, sessions=3)) == 4
    assert listed(scenario, sessions=3)[1] == "no common key: put(student=1), put(student=2), put(student=3)"


def test_a_key_of_another_name_is_another_entity():
    scenario = make(student=Key(int))
    add(scenario, "visit", student=Key(int, name="guest"), host=Key(int, name="student"))
    assert "same student: put(student=1), visit(student=1, host=1)" in listed(scenario)
    assert "no common key: put(student=1), visit(student=1, host=2)" in listed(scenario)


def test_two_entities_of_one_kind_also_meet_crossed():
    transfer = make(source=Key(int, name="account"), target=Key(int, name="account"))
    assert listed(transfer) == [
        "same account: put(source=1, target=2), put(source=1, target=2)",
        "crossed account: put(source=1, target=2), put(source=2, target=1)",
        "no common key: put(source=1, target=2), put(source=3, target=4)",
    ]


def test_key_values_are_small_and_readable():
    made = make(number=Key(int), text=Key(str), uuid=Key(UUID), plan=Key(Plan), word=Key(["x", "y"]))
    (contest, *_), last = contests(made, made.strategies[0], "new"), contests(made, made.strategies[0], "new")[-1]
    assert [value for _, value in contest.sessions[0][0].arguments] == [1, "text1", UUID(int=1), Plan.BASIC, "x"]
    assert [value for _, value in last.sessions[1][0].arguments] == [2, "text2", UUID(int=2), Plan.PRO, "y"]


def test_a_key_with_one_value_cannot_be_other():
    assert listed(make(tenant=Key(["only"]))) == ["same tenant: put(tenant='only'), put(tenant='only')"]


def test_own_values_differ_across_the_contest_and_free_ones_are_minimal():
    made = make(access=Own(st.text(min_size=1)), refresh=Own(st.text(min_size=1)), note=st.text(min_size=2))
    (contest,) = contests(made, made.strategies[0], "new")
    calls = [dict(calls[0].arguments) for calls in contest.sessions]
    assert [(call["access"], call["refresh"]) for call in calls] == [("0", "1"), ("2", "3")]
    assert [call["note"] for call in calls] == ["00", "00"]


def test_a_generator_with_too_few_values_is_told():
    made = make(student=Key(int), flag=Own(st.booleans()))
    assert len(listed(made)) == 2
    with pytest.raises(
        ScenarioError, match=r"operation put, flag: booleans\(\) has too few values: found none but \[False, T"
    ):
        listed(made, sessions=3)


def test_a_contest_needs_a_session():
    made = make(student=Key(int))
    with pytest.raises(ValueError, match="sessions=0: a contest needs at least one session"):
        listed(made, sessions=0)


def test_contests_are_the_same_in_every_process():
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from hypothesis import strategies as st
from harness import Connection, Key, Own, Scenario
from harness.generators.contests import contests
shop = Scenario("shop", tables="")
@shop.operation(k=Key(int), a=Own(st.text(min_size=1)), b=Own(st.uuids()), c=st.floats(0.5), d=Own(st.datetimes()))
def put(connection: Connection, k: int, a: str, b: object, c: float, d: object) -> None: ...
@put.strategy
def plain(connection: Connection, k: int, a: str, b: object, c: float, d: object) -> None: ...
print(*contests(shop, shop.strategies[0], "new", 3), sep="\\n")
"""
    runs = {
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    }
    assert len(runs) == 1


declarations = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.sampled_from([Key(int), Key(str, name="k"), Own(st.integers()), st.booleans(), (1, 2), (1, 2, 3)]),
    min_size=1,
)


@given(declarations, st.integers(1, 3))
@settings(deadline=None, suppress_health_check=[HealthCheck.nested_given])  # contests ask Hypothesis, too
def test_all_contests_of_one_operation_are_there_once(declared, sessions):
    scenario = make(**declared)
    operation = scenario.operations["put"]
    forms = 1
    for meaning in operation.parameters.values():
        forms *= len(meaning.values) if isinstance(meaning, Tried) else 1
    # with one session nothing is shared; a name that two parameters bear has three manners (crossed), others two
    names = list(operation.keys.values())
    patterns = 1
    for name in set(names):
        patterns *= 1 if sessions == 1 else 3 if names.count(name) > 1 else 2
    found = contests(scenario, scenario.strategies[0], "new", sessions)
    assert len(set(found)) == len(found) == comb(forms + sessions - 1, sessions) * patterns
    for contest in found:
        own = [
            value
            for calls in contest.sessions
            for name, value in calls[0].arguments
            if isinstance(operation.parameters[name], Own)
        ]
        assert len(own) == len(set(own))


def stated(*steps: object) -> Scenario:
    scenario = make(student=Key(int), course=Key(int), amount=Own(st.integers(min_value=1)))
    add(scenario, "rename", student=Key(int))
    scenario.state("made", *steps)
    return scenario


def test_a_statement_is_run_once_for_each_combination_of_the_keys_it_mentions():
    scenario = stated("INSERT s %(student)s; INSERT p %(student)s %(course)s", "INSERT 'once;%'")
    first, other_course, *_ = contests(scenario, scenario.strategies[0], "made")
    assert state_statements(scenario, first) == [
        ("INSERT s %(student)s", {"student": 1}),
        ("INSERT p %(student)s %(course)s", {"student": 1, "course": 1}),
        ("INSERT 'once;%'", {}),
    ]
    assert state_statements(scenario, other_course)[:3] == [
        ("INSERT s %(student)s", {"student": 1}),
        ("INSERT p %(student)s %(course)s", {"student": 1, "course": 1}),
        ("INSERT p %(student)s %(course)s", {"student": 1, "course": 2}),
    ]


def test_keys_are_taken_from_calls_that_have_all_of_them():
    scenario = stated()
    contest = contests(scenario, scenario.strategies[0], "made")[-1]
    assert contest.sessions[1][0].operation == "rename"
    assert key_bindings(contest, scenario, ("student",)) == ((1,), (2,))
    assert key_bindings(contest, scenario, ("student", "course")) == ((1, 1),)
    assert key_bindings(contest, scenario, ()) == ((),)


def test_a_state_made_of_calls_has_the_keys_of_the_contest_and_values_of_its_own():
    scenario = stated(Call("put", ()), Call("put", (("student", 9),)))
    other_student = contests(scenario, scenario.strategies[0], "made")[2]
    assert [str(call) for call in state_statements(scenario, other_student)] == [
        "put(student=1, course=1, amount=3)",  # the calls of the contest have the amounts 1 and 2
        "put(student=2, course=1, amount=4)",
        "put(student=9, course=1, amount=5)",
    ]


def test_a_call_of_two_entities_of_one_kind_is_no_entity_twice():
    scenario = make(source=Key(int, name="account"), target=Key(int, name="account"))
    scenario.state("made", Call("put", ()), "INSERT %(account)s")
    first = contests(scenario, scenario.strategies[0], "made")[0]
    assert [str(step) for step in state_statements(scenario, first)[:2]] == [
        "put(source=1, target=2)",
        "put(source=2, target=1)",
    ]
    assert state_statements(scenario, first)[2:] == [("INSERT %(account)s", {"account": n}) for n in (1, 2)]


def test_pool_is_no_parameter_of_a_call():
    scenario = Scenario("shop", tables="")

    @scenario.operation(student=Key(int))
    def put(pool: Pool, student: int) -> None: ...

    assert list(put.parameters) == ["student"]
