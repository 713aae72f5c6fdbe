"""A schedule survives its line; a line that was cut, altered or written by another version says so."""

import contextlib
import datetime as dt
import enum
import math
import string
import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.cell import Cell, Isolation
from harness.model.codec import CodecError, cell_of, decode, encode
from harness.model.contest import Call, Contest
from harness.model.schedule import Choice, Failing, Fault, Gates, Schedule


class Plan(enum.StrEnum):
    BASIC = "basic"
    PRO = "pro"


class Level(enum.IntEnum):
    ONE = 1


def enums(name: str, member: str) -> object:
    known: dict[str, type[enum.Enum]] = {"Plan": Plan, "Level": Level}
    return known[name][member]


names = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=20)
zones = st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=-3, minutes=-30))])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.binary(),
    st.dates(),
    st.datetimes(timezones=zones).map(lambda moment: moment.replace(fold=0)),
    st.times().map(lambda moment: moment.replace(fold=0)),
    st.timedeltas(),
    st.sampled_from([*Plan, *Level]),
)
keys = st.one_of(st.text(), st.integers(), st.tuples(st.integers(), st.text()))
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner), max_leaves=5
)
calls = st.builds(Call, names, st.lists(st.tuples(names, values), max_size=3).map(tuple))
choices = st.builds(
    Choice,
    st.integers(0, 11),
    st.lists(st.integers(0, 11), max_size=4).map(tuple),
    st.sampled_from(["run", "victim", "timeout", "alone"]),
    st.text("0123456789abcdef", max_size=4),
)
schedules = st.builds(
    Schedule,
    cell=st.builds(
        Cell, names, names, names, names, st.sampled_from(Isolation), st.integers(13, 30).map("pg{}".format)
    ),
    contest=st.builds(
        Contest,
        names,
        st.lists(st.lists(calls, max_size=3).map(tuple), max_size=4).map(tuple),
        st.text(),
        st.lists(calls, max_size=2).map(tuple),
    ),
    choices=st.lists(choices, max_size=12).map(tuple),
    gates=st.sampled_from(Gates),
    fault=st.none() | st.builds(Fault, st.integers(0, 4), st.integers(0, 40), st.sampled_from(Failing)),
    aged=st.booleans(),
    digest=st.text("0123456789abcdef", min_size=12, max_size=12),
    alone=st.booleans(),
)

CELL = Cell("purchases", "ShippedFix", "partial", "new", Isolation.READ_COMMITTED, "pg18")


def one(**arguments: object) -> Schedule:
    contest = Contest("new", ((Call("purchase", tuple(arguments.items())),),), "same student")
    return Schedule(CELL, contest, (Choice(0, (0, 1), "run", "595b"),), Gates.USUAL, False, "0123456789ab")


@given(schedules)
def test_a_schedule_survives_its_line(schedule: Schedule) -> None:
    line = encode(schedule)
    again = decode(line, enums)
    assert again == schedule
    assert repr(again) == repr(schedule)  # 1 == 1.0 == True: the types are to survive as well
    assert cell_of(line) == schedule.cell


@given(schedules)
def test_a_line_is_one_word_that_a_shell_can_quote(schedule: Schedule) -> None:
    line = encode(schedule)
    assert line.startswith(f"h1:{schedule.cell.id}:")
    assert line.isprintable() and line.isascii() and not set(line) & set(" '\"\\")


def test_a_line_that_was_wrapped_and_quoted_is_read_all_the_same() -> None:
    line = encode(one(student=1))
    assert decode(f"  '{line[:30]}\n  {line[30:]}'\n") == one(student=1)


@pytest.mark.parametrize("value", [math.inf, -0.0, "\ud800", "a'b\"c\\", Decimal("1E+3"), uuid.UUID(int=1), (), [], {}])
def test_awkward_values_survive(value: object) -> None:
    assert repr(decode(encode(one(value=value)))) == repr(one(value=value))


def test_not_a_number_survives() -> None:
    ((_, value),) = decode(encode(one(value=math.nan))).contest.sessions[0][0].arguments
    assert isinstance(value, float) and math.isnan(value)


@given(st.data())
def test_no_cut_line_is_taken_for_a_whole_one(data: st.DataObject) -> None:
    line = encode(one(student=1, course=2, note="text"))
    length = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(CodecError):
        decode(line[:length])


@given(st.data())
def test_no_altered_line_is_taken_for_the_original(data: st.DataObject) -> None:
    line = encode(one(student=1, course=2, note="text"))
    at = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.sampled_from(string.ascii_letters + string.digits).filter(lambda c: c != line[at]))
    with contextlib.suppress(CodecError):  # else they are the spare bits of the last letter
        assert decode(line[:at] + other + line[at + 1 :]) == decode(line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("purchases", "'purchases' is no schedule line: expected one that begins h1:, as a finding prints it"),
        (
            "h2:purchases::A[b,c,read_committed,pg18]:abc",
            "h2: this line was written by a newer harness, this one reads h1:; "
            "install that version, or run 'harness explore' again",
        ),
        (
            "h1:purchases::Shipp",
            "this line is cut short or altered (19 characters); copy it whole, up to the closing quote",
        ),
        (
            "h1:purchases::A[b,c,read_comitted,pg18]:abc",
            "'read_comitted' is no isolation level: expected one of read_committed, repeatable_read, serializable",
        ),
    ],
)
def test_what_is_wrong_with_a_line_is_said(line: str, message: str) -> None:
    with pytest.raises(CodecError) as raised:
        cell_of(line) and decode(line)
    assert str(raised.value) == message


def test_a_value_without_a_written_form_is_refused_when_it_is_written() -> None:
    with pytest.raises(CodecError, match=r"argument 1j of type complex has no written form: expected int, str"):
        encode(one(value=1j))


def test_an_enum_needs_its_scenario() -> None:
    line = encode(one(plan=Plan.PRO))
    assert decode(line, enums) == one(plan=Plan.PRO)
    with pytest.raises(CodecError, match=r"uses Plan.PRO, which the scenario does not have"):
        decode(line)
