"""The store under pytest: findings of one run are replayed first in the next, and said at the end of it."""

import pytest

from tests.pytest_plugin.conftest import COUNTERS, Project
from tests.pytest_plugin.test_running import RACE, run

KEPT = ("--harness-store", "kept")


def test_what_no_rule_covers_is_kept_replayed_first_and_retired_once_fixed(project: Project, address: str) -> None:
    made = project(expected="")
    first = run(made, address, "-k", RACE, *KEPT)
    first.assert_outcomes(failed=1)
    first.stdout.fnmatch_lines(["upsert-harness: witnesses are in *kept/witnesses"])
    assert len(list((made.path / "kept" / "witnesses").iterdir())) == 1

    again = run(made, address, "-k", RACE, *KEPT)
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["upsert-harness: counters::update_or_insert*: a known duplicate still shows; *"])

    path = made.path / "scenarios" / "counters.py"
    fixed = 'connection.execute("SELECT pg_advisory_lock(1)"); count.body(connection, name); '
    fixed += 'connection.execute("SELECT pg_advisory_unlock(1)")'
    path.write_text(COUNTERS.replace("EXPECTED", "[]").replace("count.body(connection, name)", fixed))
    mended = run(made, address, "-k", RACE, *KEPT)
    mended.assert_outcomes(passed=1)
    mended.stdout.fnmatch_lines(["upsert-harness: counters::*: fixed: the known duplicate no longer shows; moved to *"])
    assert list((made.path / "kept" / "witnesses").iterdir()) == []


@pytest.mark.parametrize("ini", ["harness_store = off", ""])
def test_nothing_is_kept_where_nothing_is_to_be(project: Project, address: str, ini: str) -> None:
    made = project(expected="", ini=ini)  # HARNESS_STORE is off in every test of ours
    run(made, address, "-k", RACE).assert_outcomes(failed=1)
    assert not (made.path / ".harness").exists()
