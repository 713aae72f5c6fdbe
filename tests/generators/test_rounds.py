"""Templates of rounds: fresh keys and nothing else, copies with values of their own."""

from uuid import UUID

from hypothesis import strategies as st

from harness import Connection, Key, Own, Scenario
from harness.generators.rounds import fresh, is_separate, spread, stride, template
from harness.model.contest import Call, Contest

made = Scenario("made", tables="CREATE TABLE t (a int)")


@made.operation(who=Key(str), org=Key(UUID), number=Key(int), plan=Key(["basic", "pro"]), amount=Own(st.integers(1, 9)))
def buy(connection: Connection, who: str, org: UUID, number: int, plan: str, amount: int) -> None: ...


@made.operation(plan=Key(["basic", "pro"]))
def count(connection: Connection, plan: str) -> None: ...


def call(who: str, amount: int = 1) -> Call:
    arguments = {"who": who, "org": UUID(int=1), "number": 2, "plan": "pro", "amount": amount}
    return Call("buy", tuple(arguments.items()))


CONTEST = Contest("new", ((call("who1", 1),), (call("who2", 2),)), "other who")


def test_every_key_that_can_be_fresh_is_moved_and_nothing_else() -> None:
    moved = fresh(made, CONTEST, 100)
    assert [dict(calls[0].arguments) for calls in moved.sessions] == [
        {"who": "who101", "org": UUID(int=101), "number": 102, "plan": "pro", "amount": 1},
        {"who": "who102", "org": UUID(int=101), "number": 102, "plan": "pro", "amount": 2},
    ]


def test_rounds_a_stride_apart_have_no_key_in_common() -> None:
    step = stride(made, CONTEST)
    one, other = (fresh(made, CONTEST, base) for base in (0, step))
    keys = [{v for calls in c.sessions for n, v in calls[0].arguments if n in ("who", "number")} for c in (one, other)]
    assert not keys[0] & keys[1]


def test_a_call_with_listed_keys_only_meets_those_of_every_round() -> None:
    assert is_separate(made, CONTEST)
    assert not is_separate(made, Contest("new", (*CONTEST.sessions, (Call("count", (("plan", "pro"),)),)), ""))


def test_copies_have_values_of_their_own_as_far_as_there_are_any() -> None:
    eight = spread(made, CONTEST, 8)
    assert [dict(calls[0].arguments)["who"] for calls in eight.sessions] == ["who1", "who2"] * 4
    assert len({dict(calls[0].arguments)["amount"] for calls in eight.sessions}) == 8
    twelve = spread(made, CONTEST, 12)  # of nine values
    assert len(twelve.sessions) == 12
    assert spread(made, CONTEST, 2) == CONTEST


def test_calls_that_are_alike_all_meet_on_one_key() -> None:
    alike = Contest("new", ((call("who1", 1),), (call("who1", 2),)), "same who")
    made_of = template(made, alike, 5, step=3)
    assert {dict(calls[0].arguments)["who"] for calls in made_of.contest.sessions} == {"who1"}
    (unit,) = made_of.units
    assert (unit.contest, unit.numbers) == (made_of.contest, (0, 1, 2, 3, 4))


def test_copies_of_calls_that_differ_have_keys_of_their_own() -> None:
    made_of = template(made, CONTEST, 5, step=3)
    whose = [dict(calls[0].arguments)["who"] for calls in made_of.contest.sessions]
    assert whose == ["who1", "who2", "who4", "who5", "who7"]
    assert [(unit.place, unit.numbers) for unit in made_of.units] == [(0, (0, 1)), (1, (2, 3)), (2, (4,))]
    assert made_of.units[0].contest == made_of.units[1].contest == CONTEST
    assert made_of.units[2].contest.sessions == CONTEST.sessions[:1]


def test_without_keys_to_tell_copies_apart_the_others_do_nothing() -> None:
    made_of = template(made, CONTEST, 5, step=0)
    assert made_of.contest.sessions == (*CONTEST.sessions, (), (), ())
    assert len(made_of.units) == 1
