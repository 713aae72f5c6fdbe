"""The version axis, told: the first difference of each strategy, and who alone shows it."""

from dataclasses import replace

from harness.model.verdict import CellResult, Verdict
from harness.reports.versions import version_lines
from tests.reports.made import DUPLICATE, SERVER, TWICE, report, result

UNSAFE, UNKNOWN, RETRY, SAFE = Verdict
OLD, NEW = replace(SERVER, id="pg15.18"), replace(SERVER, id="pg15.20")


def on(server: str, made: CellResult) -> CellResult:
    return replace(made, cell=replace(made.cell, server=server))


def lines(*results: CellResult) -> list[str]:
    return version_lines(replace(report(*results), servers=(OLD, NEW)))


def test_one_server_has_nothing_to_be_compared_with() -> None:
    assert version_lines(report(result("Naive none new rc"))) == []


def test_the_same_everywhere_is_said_in_one_line() -> None:
    alike = [on(server, result("Naive none new rc", UNSAFE, DUPLICATE)) for server in ("pg15.18", "pg15.20")]
    assert lines(*alike) == ["1 cell is the same on pg15.18, pg15.20"]


def test_the_first_difference_of_a_strategy_names_who_alone_shows_it() -> None:
    told = lines(
        on("pg15.18", result("Naive full new rc")),
        on("pg15.18", result("Naive none new rc", UNSAFE, DUPLICATE, TWICE)),
        on("pg15.18", result("Naive none old rc", UNSAFE, DUPLICATE)),
        on("pg15.20", result("Naive full new rc")),
        on("pg15.20", result("Naive none new rc", UNSAFE, TWICE)),
        on("pg15.20", result("Naive none old rc", RETRY)),
    )
    assert told[0] == (
        "first difference: items::Naive[none,new,read_committed]: pg15.18 unsafe duplicate, 23505, pg15.20 unsafe "
        "23505; 1 further cell of this strategy differ"
    )
    assert told[1].startswith("  duplicate on pg15.18, not on pg15.20; replay with: harness replay 'h1:")
    assert told[2:] == ["1 cell is the same on pg15.18, pg15.20"]


def test_a_cell_that_one_server_does_not_have_is_counted() -> None:
    assert lines(on("pg15.18", result("Naive none new rc"))) == [
        "0 cells are the same on pg15.18, pg15.20",
        "1 cell could not be compared: not every server has a verdict",
    ]
