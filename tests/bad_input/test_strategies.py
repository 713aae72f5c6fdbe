"""Code under test that does what it should not: the cell says so, and every other cell gets its verdict."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bad_input.conftest import MISBEHAVING, Finished, Running, cells

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def ran(
    server: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Finished, dict[str, dict[str, Any]]]]:
    """All of them in one run."""
    folder = tmp_path_factory.mktemp("misbehaving")
    words = ("explore", f"{MISBEHAVING}[unique,new]", "--server", "embedded", "--json", "report.json")
    one = Running(words, folder, {"HARNESS_TRIAL_S": "1"})
    finished = one.finish()
    one.nothing_is_left()
    yield finished, cells(folder / "report.json")


@pytest.mark.parametrize(
    ("strategy", "verdict", "reason"),
    [
        (
            "runs_for_ever",
            "unknown",
            r"s1 did not come back to the database within 1 s: it was at .*misbehaving\.py:(39|40)",
        ),
        ("answers_too_late", "unknown", r"s1 did not come back to the database within 1 s: .*misbehaving\.py:61"),
        ("will_not_be_interrupted", "unknown", "the strategy never came back .* does it catch BaseException.*"),
        ("runs_for_ever_in_c", "unknown", r"the process that ran this cell exited with status 1: .* or never return\?"),
        ("spins_on_a_try_lock", "unknown", ".*s1 repeats the same statement for ever: SELECT pg_try_advisory_lock.*"),
        ("leaves_its_transaction_open", "unsafe", ".*returned with its transaction open: nothing was committed.*"),
        ("raises", "unsafe", ".*OfItsOwn: no more credits.*"),
        ("closes_its_connection", "unsafe", ".*closed its connection.*"),
        ("exits", "unknown", r"the process that ran this cell exited with status 7: did the strategy call os\._exit.*"),
        ("quits", "unsafe", ".*SystemExit: 3.*"),
        ("kills_itself", "unknown", "the process that ran this cell was ended by SIGKILL: .*"),
        ("recurses", "unsafe", ".*RecursionError: maximum recursion depth exceeded.*"),
    ],
)
def test_the_verdict_says_what_it_did(
    ran: tuple[Finished, dict[str, dict[str, Any]]], strategy: str, verdict: str, reason: str
) -> None:
    cell = ran[1][strategy]
    assert cell["verdict"] == verdict
    assert re.fullmatch(reason, cell["reason"]), cell["reason"]


def test_nobody_else_is_harmed(ran: tuple[Finished, dict[str, dict[str, Any]]]) -> None:
    assert ran[1]["behaves"]["verdict"] == "safe"
    ran[0].says(code=1)


def test_the_line_at_which_it_was_is_the_loops() -> None:
    assert MISBEHAVING.read_text().splitlines()[39].strip() == "pass"


@pytest.mark.parametrize("told", ["soon", "0", "-1", "nan"])
def test_a_bad_limit_is_told(run: Any, told: str) -> None:
    pattern = rf"error: HARNESS_TRIAL_S='{told}': expected a number of seconds above 0, such as 20"
    run("explore", f"{MISBEHAVING}::behaves", HARNESS_TRIAL_S=told).complains(pattern, code=2)


def test_all_in_this_process_ends_too(run: Any, address: str, tmp_path: Path) -> None:
    cell = f"{MISBEHAVING}::runs_for_ever[none]"
    run("explore", cell, "--workers", "0", "--server", address, HARNESS_TRIAL_S="1").says(
        "s1 did not come back to the database within 1 s", code=2
    )
