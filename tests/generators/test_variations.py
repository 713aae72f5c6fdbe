"""Arguments varied: other values of the scenario's own generators, and nothing but the one parameter changed."""

from hypothesis import strategies as st

from harness.generators.minimal import various
from harness.generators.variations import argument_variations
from harness.model.contest import Call, Contest
from harness.scenario.language import Scenario
from harness.scenario.parameters import Connection, Key, Own

scenario = Scenario("varied", tables="CREATE TABLE item (name text)")


@scenario.operation(name=Key(str), amount=Own(st.integers(1, 100)), note=st.sampled_from("ab"), kind=["x", "y"])
def put(connection: Connection, name: str, amount: int, note: str, kind: str) -> None: ...


@scenario.operation(name=Key(str))
def drop(connection: Connection, name: str) -> None: ...


def call(amount: int, note: str = "a", kind: str = "x") -> Call:
    return Call("put", (("name", "n1"), ("amount", amount), ("note", note), ("kind", kind)))


CONTEST = Contest("new", ((call(1), call(2)), (call(3),), (Call("drop", (("name", "n1"),)),)), "same name")


def test_only_one_parameter_changes_and_the_calls_stay_where_they_are() -> None:
    for parameter, values, contest in argument_variations(scenario, CONTEST):
        assert (contest.state, contest.pattern, contest.operations) == (
            CONTEST.state,
            CONTEST.pattern,
            CONTEST.operations,
        )
        changed = set()
        for ref in contest.operations:
            was, now = CONTEST.call(ref), contest.call(ref)
            assert was.operation == now.operation and [n for n, _ in was.arguments] == [n for n, _ in now.arguments]
            changed |= {n for (n, a), (_, b) in zip(was.arguments, now.arguments, strict=True) if a != b}
        assert changed == {parameter} and len(values) == 3


def test_what_is_own_differs_in_every_call_and_is_of_its_generator() -> None:
    amounts = [values for parameter, values, _ in argument_variations(scenario, CONTEST) if parameter == "amount"]
    assert (3, 2, 1) in amounts  # the other way round
    assert all(len(set(values)) == 3 and all(1 <= value <= 100 for value in values) for values in amounts)
    assert max(max(values) for values in amounts) > 50  # far from the smallest


def test_every_tried_and_free_value_has_its_turn_and_keys_have_none() -> None:
    by_name: dict[str, set[object]] = {}
    for parameter, values, _ in argument_variations(scenario, CONTEST):
        by_name.setdefault(parameter, set()).add(values)
    assert by_name.keys() == {"amount", "note", "kind"}
    assert by_name["note"] == {("b",) * 3} and by_name["kind"] == {("y",) * 3}


def test_they_are_the_same_every_time() -> None:
    assert list(argument_variations(scenario, CONTEST)) == list(argument_variations(scenario, CONTEST))
    assert various(st.integers(0, 10**6), 4) == various(st.integers(0, 10**6), 4)


def test_a_generator_with_few_values_gives_those() -> None:
    assert various(st.just(7), 4) == [7]
    assert various(st.booleans(), 4) == [False, True]
