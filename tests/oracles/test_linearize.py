"""The search for an order, against brute force over simulated histories, and against histories with planted faults."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.model.outcome import Answer, Ok
from harness.oracles.linearize import Span, TooLarge, explain, keeps_time

# A register that answers what it held: swap(n). The state is its value, and call n writes n + 1.


def swap(state: int, number: int) -> tuple[int, Answer]:
    return number + 1, Ok(state)


def check(spans: list[Span], end: int, expected: tuple[int, ...] | None) -> None:
    assert explain(spans, 0, swap, lambda state, order: state == end) == expected


def test_one_after_the_other_is_explained_by_their_order() -> None:
    check([Span(0, 1, Ok(0)), Span(2, 3, Ok(1))], 2, (0, 1))


def test_calls_that_overlap_may_have_gone_either_way() -> None:
    check([Span(0, 3, Ok(2)), Span(1, 2, Ok(0))], 1, (1, 0))


def test_an_order_that_real_time_forbids_is_none() -> None:
    check([Span(0, 1, Ok(2)), Span(2, 3, Ok(0))], 1, None)


def test_a_lost_write_is_not_explained() -> None:
    check([Span(0, 3, Ok(0)), Span(1, 2, Ok(0))], 1, None)


def test_a_wrong_end_is_not_explained() -> None:
    check([Span(0, 1, Ok(0)), Span(2, 3, Ok(1))], 1, None)


def test_who_may_have_had_no_effect_may_be_left_out_or_come_late() -> None:
    unknown = Span(0, 1, None, must=False)
    check([unknown, Span(2, 3, Ok(0))], 2, (1,))
    check([unknown, Span(2, 3, Ok(0))], 1, (1, 0))
    check([Span(0, 1, None), Span(2, 3, Ok(0))], 2, None)  # one that was acknowledged may not


def test_what_nobody_can_search_is_said() -> None:
    spans = [Span(0, 9, Ok(99)) for _ in range(12)]
    with pytest.raises(TooLarge):
        explain(spans, 0, swap, lambda *_: True, nodes_max=10)


def test_dead_ends_are_remembered() -> None:
    # 12 calls that commute have 12! orders, but 2^12 sets of those that are done, of 6 ways on average to go on.
    spans = [Span(0, 9, Ok(None)) for _ in range(12)]
    nothing = explain(spans, 0, lambda state, number: (0, Ok(None)), lambda *_: False, nodes_max=12 * 2**11)
    assert nothing is None


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Up to four calls with any times, that a register answered in some order or, a little wrong, in none."""
    count = draw(st.integers(1, 4))
    times = [sorted((draw(st.integers(0, 9)), draw(st.integers(0, 9)))) for _ in range(count)]
    state, answers = 0, {}
    for number in draw(st.permutations(range(count))):
        state, answers[number] = swap(state, number)
    if draw(st.booleans()):
        answers[draw(st.integers(0, count - 1))] = Ok(draw(st.integers(0, count)))
    return [Span(*times[n], answers[n], draw(st.integers(0, 5)) > 0) for n in range(count)], state


@given(histories())
@settings(max_examples=300, deadline=None)
def test_it_finds_an_order_exactly_where_there_is_one(history: tuple[list[Span], int]) -> None:
    spans, end = history
    found = explain(spans, 0, swap, lambda state, order: state == end)
    possible = set(all_orders(spans, end))
    assert (found in possible) if possible else found is None


def all_orders(spans: list[Span], end: int) -> list[tuple[int, ...]]:
    """By brute force: every order of all that must be there and any of the others."""
    musts = {number for number, span in enumerate(spans) if span.must}
    found = []
    for size in range(len(spans) + 1):
        for order in permutations(range(len(spans)), size):
            state = 0
            fits = musts <= set(order)
            for position, number in enumerate(order):
                after = order[position + 1 :]
                late = any(spans[n].must and spans[n].ended < spans[number].began for n in after)
                state, answer = swap(state, number)
                fits = fits and not late and spans[number].told in (None, answer)
            if fits and state == end:
                found.append(order)
    return found


def test_a_known_order_is_taken_only_where_time_allows_it() -> None:
    overlapping = [Span(0, 3), Span(1, 2)]
    apart = [Span(0, 1), Span(2, 3)]
    assert keeps_time(overlapping, (1, 0))
    assert keeps_time(apart, (0, 1))
    assert not keeps_time(apart, (1, 0))
