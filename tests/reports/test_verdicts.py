"""The verdict table, word for word: what is merged, what is marked, and what the coverage lines dare to say."""

import io

from rich.console import Console

from harness.model.verdict import CellResult, Verdict
from harness.reports.summary import coverage_lines, totals, unexpected_lines
from harness.reports.verdicts import verdict_tables, verdict_text
from tests.reports.made import DUPLICATE, NO_ARBITER, TWICE, report, result

UNSAFE, UNKNOWN, RETRY, SAFE = Verdict


def cells(strategy: str, layout: str, state: str, *entries: tuple[Verdict, ...]) -> list[CellResult]:
    return [result(f"{strategy} {layout} {state} {level}", *entry) for level, entry in zip(("rc", "rr", "s"), entries)]  # noqa: B905


def shown(*results: CellResult, stale: tuple[str, ...] = ()) -> str:
    (table,) = verdict_tables(report(*results, stale=stale))
    return verdict_text(table).plain


def test_states_and_layouts_that_say_the_same_share_a_line() -> None:
    fine = [c for state in ("new", "owned") for c in cells("Locked", "full", state, (SAFE,), (RETRY,), (RETRY,))]
    fine += [c for state in ("new", "owned") for c in cells("Locked", "none", state, (SAFE,), (RETRY,), (RETRY,))]
    naive = [
        result("Naive full new rc", UNSAFE, TWICE),
        result("Naive full new rr", UNSAFE, TWICE),
        result("Naive full owned rc"),
        result("Naive full owned rr"),
        result("Naive none new rc", UNSAFE, DUPLICATE),
        result("Naive none new rr", UNSAFE, DUPLICATE),
        result("Naive none owned rc"),
        result("Naive none owned rr"),
    ]
    assert (
        shown(*fine, *naive)
        == """\
items on pg18
                             read committed    repeatable read   serializable
Locked
  every layout  every state  safe              retry             retry
Naive
  full          new          unsafe 23505      unsafe 23505      -
                owned        safe              safe              -
  none          new          unsafe duplicate  unsafe duplicate  -
                owned        safe              safe              -
  - no such cell: not asked for, not for this level, or a state that the layout forbids
"""
    )


def test_marks_say_what_colours_say() -> None:
    text = shown(
        result("Naive full new rc", UNSAFE, TWICE, expected="safe", as_expected=False),
        result("Naive none new rc", UNKNOWN, reason="one statement, needs gates", as_expected=False),
        result("Naive none old rc", UNKNOWN, reason="one statement, needs gates", as_expected=False),
        result("Fixed full new rc"),
        stale=("items::Fixed: unsafe('23505')",),
    )
    assert (
        text
        == """\
items on pg18
                     read committed
Naive
  full  new          ! unsafe 23505
  none  every state  ! unknown [1]
Fixed ~
  full  new          safe
  ! worse than its strategy expects
  ~ a rule of this strategy is met by no cell any more
  [1] one statement, needs gates (2 cells)
"""
    )


def test_cells_worse_than_expected_are_not_hidden_among_their_like() -> None:
    text = shown(
        result("Naive full new rc", UNSAFE, TWICE), result("Naive full old rc", UNSAFE, TWICE, as_expected=False)
    )
    assert "new  unsafe 23505\n" in text and "old  ! unsafe 23505\n" in text


def test_several_kinds_are_all_named() -> None:
    assert "unsafe 23505, duplicate" in shown(result("Naive full new rc", UNSAFE, TWICE, DUPLICATE))


def test_a_table_of_long_names_fits_a_hundred_columns() -> None:
    results = [
        result(
            f"{'a_strategy_with_quite_a_name' * 2} layout{n}_{'l' * 20} state{m}_{'s' * 20} {level}",
            UNSAFE,
            TWICE,
            DUPLICATE,
        )
        for n in range(3)
        for m in range(n + 1)
        for level in ("rc", "rr", "s")
    ]
    assert max(len(line) for line in shown(*results).splitlines()) <= 100


def test_on_a_terminal_the_words_are_the_same() -> None:
    (table,) = verdict_tables(report(result("Naive full new rc", UNSAFE, TWICE, as_expected=False)))
    plain, coloured = (
        Console(file=io.StringIO(), force_terminal=True, no_color=off, width=100) for off in (True, False)
    )
    for console in (plain, coloured):
        console.print(verdict_text(table), soft_wrap=True)
    assert "\x1b[1;7;31m" in coloured.file.getvalue()  # type: ignore[attr-defined]
    assert "31m" not in plain.file.getvalue()  # type: ignore[attr-defined]


def test_there_is_a_table_for_each_scenario_and_server() -> None:
    assert verdict_tables(report()) == []
    assert [table.title for table in verdict_tables(report(result("Naive full new rc")))] == ["items on pg18"]


# Coverage.


def test_exhaustive_is_said_of_what_was_explored_to_its_end_only() -> None:
    lines = coverage_lines(
        [
            result("Fixed full new rc", orders=1200),
            result("Fixed full old rc", RETRY, orders=4),
            result("Fixed none new rc", orders=30, exhaustive=False),
            result("Naive none new rc", UNSAFE, DUPLICATE, orders=5),
            result("Naive none old rc", UNKNOWN, orders=6, reason="the budget was spent"),
            result("Naive none odd rc", UNKNOWN, orders=0, reason="the budget was spent"),
        ]
    )
    assert lines == [
        "exhaustive: 1,204 orders in 4 contests of 2 cells",
        "sampled, not exhaustive: 30 orders in 2 contests of 1 cell",
        "unsafe, each contest explored until its first violation: 5 orders in 2 contests of 1 cell",
        "unknown in the end: 6 orders in 2 contests of 1 cell",
        "not explored: 1 cell in which no interleaving was run",
        "switched between statements of 2 sessions, and at these gates inside them: BEFORE INSERT ON item",
    ]


def test_nothing_is_claimed_of_nothing() -> None:
    assert coverage_lines([]) == []
    unknown = result("Naive none new rc", UNKNOWN, orders=0, reason="nothing explored")
    assert coverage_lines([unknown]) == ["not explored: 1 cell in which no interleaving was run"]


def test_the_last_line_counts_and_names_the_seed() -> None:
    results = (
        result("Fixed full new rc"),
        result("Naive full new rc", UNSAFE, TWICE, as_expected=False),
        result("Naive full old rc", UNKNOWN, reason="never contended", as_expected=False),
    )
    assert totals(report(*results, stale=("items::Fixed: unsafe()",))) == (
        "3 cells: 1 unsafe, 1 unknown, 1 safe; 1 worse than expected, 1 not judged; 1 stale rule; seed 7; 12.3 s"
    )
    assert totals(report()) == "0 cells; 0 worse than expected; seed 7; 12.3 s"


def test_what_is_worse_than_expected_is_told_once_for_cells_alike() -> None:
    results = [
        result("Naive full new rc", UNSAFE, TWICE, expected="safe", as_expected=False),
        result("Naive full old rc", UNSAFE, TWICE, expected="safe", as_expected=False),
        result("Naive none new rc", UNKNOWN, expected="safe", as_expected=False, reason="never contended"),
        result("Fixed full new rc", UNKNOWN, expected="safe", as_expected=False, reason="never contended"),
        result("Fixed none new rc", UNSAFE, NO_ARBITER, expected="unsafe('42P10')"),
    ]
    assert unexpected_lines(results) == [
        "worse than expected: items::Naive[full,new,read_committed,pg18] and 1 other cell: "
        "unsafe 23505 (expected safe)",
        "not judged: items::Naive[none,new,read_committed,pg18] and 1 other cell: never contended",
    ]
