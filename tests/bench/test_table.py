"""The page that the table of schedulers is written into: marks, names, and a table that reads as one."""

import pytest

from harness.campaign.search import NONDETERMINISM, SCHEDULERS
from tests.bench.report import put
from tests.bench.schedulers import BEGIN, END, PAGE, SHOWN, table


def test_the_page_explains_every_scheduler_and_measures_all_that_find() -> None:
    page = PAGE.read_text()
    assert all(f"| `{name}` |" in page for name in SCHEDULERS)
    assert f"| | {' | '.join(SHOWN)} |" in page
    assert NONDETERMINISM not in SHOWN


def test_the_table_goes_between_its_marks_and_nowhere_else() -> None:
    page = PAGE.read_text()
    text = table([("a race", [1, None, *[1000] * (len(SHOWN) - 2)])])
    made = put(page, text, BEGIN, END)
    assert f"| a race | 1 | - | {'1,000 | ' * (len(SHOWN) - 2)}".rstrip() in made
    assert put(made, "", BEGIN, END) == put(page, "", BEGIN, END)
    assert made.partition("\n<!--")[0] == page.partition("\n<!--")[0]


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no marks"):
        put("# Schedulers\n", "", BEGIN, END)
