"""An expect rule is a ceiling, exact in kind: of those that match the worst wins, and one nobody meets is stale."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE, retry, safe, unknown, unsafe
from harness.model.cell import Cell, Isolation
from harness.model.verdict import Verdict
from harness.scenario.expectations import Rule, expected, is_as_expected, stale_rules


@dataclass
class Rules:
    expect: tuple[Rule, ...]


def cell(layout="none", state="new", isolation=READ_COMMITTED, server="pg18", version="") -> Cell:
    return Cell("shop", "plain", layout, state, isolation, server, version)


def check(rules, where: Cell, verdict: str, *kinds: str) -> None:
    found = expected(Rules(tuple(rules)), where)
    assert (found.verdict, found.kinds) == (verdict, frozenset(kinds))


def test_without_a_rule_it_is_safe_and_above_read_committed_at_most_retry():
    check([], cell(), "safe")
    check([], cell(isolation=REPEATABLE_READ), "retry")
    check([], cell(isolation=SERIALIZABLE), "retry")
    check([unsafe("duplicate", layout="full")], cell(), "safe")


def test_contests_that_lead_into_other_states_are_expected_to_show_what_is_declared_of_those() -> None:
    rules = Rules((unsafe("wrong-alone", layout="full", state="refunded"), unsafe("23505", layout="partial")))
    assert expected(rules, cell("full")).verdict is Verdict.SAFE
    assert expected(rules, cell("full"), any_state=True).kinds == {"wrong-alone"}
    assert expected(rules, cell("full"), any_state=True).verdict is Verdict.UNSAFE
    assert expected(rules, cell("none"), any_state=True).verdict is Verdict.SAFE


def test_a_rule_of_larger_contests_is_of_no_other_and_never_stale() -> None:
    rules = Rules((unsafe("23505", layout="partial", larger=True),))
    assert expected(rules, cell("partial")).verdict is Verdict.SAFE
    assert expected(rules, cell("partial"), larger=True).kinds == {"23505"}
    assert expected(rules, cell("partial"), any_state=True).kinds == {"23505"}
    assert expected(rules, cell("partial"), any_state=True).text == "unsafe('23505', layout='partial', larger=True)"
    assert stale_rules(rules, [(cell("partial"), Verdict.SAFE, ())]) == ()


@pytest.mark.parametrize(
    ("rule", "where", "matches"),
    [
        (unsafe("duplicate"), cell(), True),
        (unsafe("duplicate", layout="none"), cell(), True),
        (unsafe("duplicate", layout="none"), cell(layout="full"), False),
        (unsafe("duplicate", layout=("none", "full")), cell(layout="full"), True),
        (unsafe("duplicate", layout="none", state="owned"), cell(), False),
        (unsafe("duplicate", isolation=SERIALIZABLE), cell(isolation=SERIALIZABLE), True),
        (unsafe("duplicate", isolation="serializable"), cell(isolation=SERIALIZABLE), True),
        (unsafe("duplicate", isolation=(SERIALIZABLE, REPEATABLE_READ)), cell(), False),
        (unsafe("duplicate", server="pg16"), cell(), False),
        (unsafe("duplicate", server="pg18"), cell(server="pg18.4"), True),
        (unsafe("duplicate", server="pg18.4"), cell(server="pg18.4"), True),
        (unsafe("duplicate", server="pg18.4"), cell(version="18.4"), True),
        (unsafe("duplicate", server="pg18.4"), cell(version="18.5"), False),
        (unsafe("duplicate", server="pg18.4"), cell(), False),  # not known which minor it is
        (unsafe("duplicate", server="<pg18.6"), cell(version="18.5"), True),
        (unsafe("duplicate", server="<pg18.6"), cell(version="18.6"), False),
        (unsafe("duplicate", server="<pg18.6"), cell(version="18.10"), False),
        (unsafe("duplicate", server="<pg18.6"), cell(server="pg17", version="17.1"), False),
        (unsafe("duplicate", server="<pg18.6"), cell(), False),
        (unsafe("duplicate", server=("pg1", "<pg18.4")), cell(version="18.4"), False),
    ],
)
def test_a_filter_is_a_word_or_several(rule, where, matches):
    assert rule.matches(where) is matches


def test_the_worst_rule_wins_and_the_kinds_of_all_unsafe_rules_count():
    check(
        [retry(), unsafe("duplicate"), unsafe("23505", state="new"), unknown()], cell(), "unsafe", "duplicate", "23505"
    )
    check([retry(), unknown(), safe()], cell(), "unknown")
    check([safe(), retry()], cell(), "retry")
    check([safe()], cell(isolation=SERIALIZABLE), "safe")


def test_a_rule_prints_as_it_is_written():
    rule = unsafe("23505", "duplicate", layout=("partial", "full"), isolation=SERIALIZABLE)
    assert str(rule) == "unsafe('23505', 'duplicate', layout=('partial', 'full'), isolation='serializable')"
    assert expected(Rules((unsafe("42P10", layout="none"),)), cell()).text == "unsafe('42P10', layout='none')"
    assert expected(Rules(()), cell()).text == "safe"


@pytest.mark.parametrize(
    ("rules", "verdict", "kinds", "fine"),
    [
        ([], "safe", [], True),
        ([], "retry", [], False),
        ([], "unknown", [], False),
        ([], "unsafe", ["duplicate"], False),
        ([retry()], "safe", [], True),
        ([retry()], "unknown", [], False),
        ([unsafe("duplicate")], "unknown", [], False),  # not found out is not found to be fine
        ([unsafe("duplicate")], "safe", [], True),
        ([unsafe("duplicate")], "unsafe", ["duplicate"], True),
        ([unsafe("duplicate")], "unsafe", ["23505"], False),  # the word is the same, the kind is another
        ([unsafe("duplicate")], "unsafe", ["duplicate", "23505"], False),
        ([unsafe("duplicate"), unsafe("23505")], "unsafe", ["duplicate", "23505"], True),
        ([unsafe("40P01")], "unsafe", ["deadlock"], True),
    ],
)
def test_a_rule_is_a_ceiling_exact_in_kind(rules, verdict, kinds, fine):
    assert is_as_expected(expected(Rules(tuple(rules)), cell()), Verdict(verdict), kinds) is fine


def test_a_rule_that_no_cell_meets_is_stale():
    met, gone, half = unsafe("duplicate", layout="none"), unsafe("23505", layout="full"), unsafe("duplicate", "crash")
    other = retry(server="pg12")  # no cell of its was run: nothing is known of it
    results = [
        (cell(), Verdict.UNSAFE, ["duplicate"]),
        (cell(state="owned"), Verdict.SAFE, []),
        (cell(layout="full"), Verdict.SAFE, []),
    ]
    assert stale_rules(Rules((met, gone, half, other)), results) == (gone, half)


def test_the_kinds_of_a_rule_may_be_seen_in_different_cells():
    results = [(cell(), Verdict.UNSAFE, ["duplicate"]), (cell(state="owned"), Verdict.UNSAFE, ["23505"])]
    assert stale_rules(Rules((unsafe("duplicate", "23505"),)), results) == ()


words = st.sampled_from(["none", "full"])
kinds = st.lists(st.sampled_from(["duplicate", "23505", "deadlock"]), min_size=1, max_size=2)
rules = st.one_of(
    st.builds(lambda kinds, layout: unsafe(*kinds, layout=layout), kinds, words),
    st.builds(lambda layout: retry(layout=layout), words),
    st.builds(lambda layout: unknown(layout=layout), words),
)


@given(st.lists(rules), rules, words, st.sampled_from(Isolation))
def test_one_more_rule_worse_than_safe_never_lowers_the_ceiling_at_read_committed(known, more, layout, isolation):
    rank = [Verdict.UNSAFE, Verdict.UNKNOWN, Verdict.RETRY, Verdict.SAFE].index
    where = cell(layout=layout)
    before, after = expected(Rules(tuple(known)), where), expected(Rules((*known, more)), where)
    assert rank(after.verdict) <= rank(before.verdict)
    assert before.kinds <= after.kinds or after.verdict != before.verdict


@given(st.lists(rules, max_size=4), words)
def test_what_is_expected_is_itself_as_expected_and_not_stale(known, layout):
    strategy, where = Rules(tuple(known)), cell(layout=layout)
    ceiling = expected(strategy, where)
    assert is_as_expected(ceiling, ceiling.verdict, ceiling.kinds)
    stale = stale_rules(strategy, [(where, ceiling.verdict, ceiling.kinds)])
    assert all(rule.verdict != ceiling.verdict for rule in stale)
