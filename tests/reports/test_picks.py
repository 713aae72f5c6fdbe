"""Which findings are shown: what no rule covers, one for each race; or the most telling of a scenario."""

from harness.model.verdict import CellResult, Verdict
from harness.reports.picks import picks
from tests.reports.made import DUPLICATE, NO_ARBITER, TWICE, result

UNSAFE, UNKNOWN = Verdict.UNSAFE, Verdict.UNKNOWN


def names(results: list[CellResult], wanted: str) -> list[tuple[str, str]]:
    return [(pick.result.cell.id, pick.finding.violation.name) for pick in picks(results, wanted)]  # type: ignore[arg-type]


def test_as_expected_nothing_is_shown() -> None:
    results = [result("Naive none new rc", UNSAFE, DUPLICATE, expected="unsafe('duplicate')")]
    assert picks(results, "worst") == []
    assert picks(results, "none") == []
    assert len(picks(results, "all")) == 1


def test_of_an_unexpected_cell_the_findings_no_rule_names_are_shown() -> None:
    results = [result("Naive none new rc", UNSAFE, TWICE, DUPLICATE, expected="unsafe('23505')", as_expected=False)]
    assert names(results, "worst") == [("items::Naive[none,new,read_committed,pg18]", "duplicate")]


def test_one_race_is_shown_once_with_the_number_of_its_other_cells() -> None:
    results = [
        result(f"Naive none {state} {level}", UNSAFE, DUPLICATE, as_expected=False)
        for level in ("s", "rc")
        for state in ("new", "old")
    ]
    (pick,) = picks(results, "worst")
    assert pick.result.cell.id == "items::Naive[none,new,read_committed,pg18]"
    assert pick.also == "the same in 3 other cells of Naive"


def test_unexpectedly_unknown_cells_have_nothing_to_show() -> None:
    assert picks([result("Naive none new rc", UNKNOWN, as_expected=False)], "worst") == []


def test_a_race_tells_more_than_an_error_that_needs_none() -> None:
    results = [
        result("Before none new rc", UNSAFE, NO_ARBITER),
        result("Shipped full new rc", UNSAFE, TWICE),
        result("Shipped none new rr", UNSAFE, DUPLICATE),
        result("Shipped none new rc", UNSAFE, DUPLICATE),
    ]
    assert names(results, "worst-per-scenario") == [("items::Shipped[none,new,read_committed,pg18]", "duplicate")]


def test_what_is_unexpected_tells_most() -> None:
    results = [
        result("Shipped none new rc", UNSAFE, DUPLICATE),
        result("Fixed full new rc", UNSAFE, NO_ARBITER, as_expected=False),
    ]
    assert names(results, "worst-per-scenario") == [("items::Fixed[full,new,read_committed,pg18]", "42P10")]
