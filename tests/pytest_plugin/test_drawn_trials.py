"""`harness.testing`: trials as arguments of Hypothesis' own tests, shrunk, printed and kept as any other is."""

import pytest

from tests.pytest_plugin.conftest import Project

MINE = """
from hypothesis import given, settings
from harness.testing import Scope, Trial, trials

@settings(deadline=None, max_examples=40)
@given(trials("scenarios/counters.py::{strategy}[none,new]"))
def test_mine(trial: Trial) -> None:
    trial.check()
"""


def run(project: pytest.Pytester, server: str, strategy: str, *arguments: str) -> pytest.RunResult:
    project.makepyfile(test_mine=MINE.replace("{strategy}", strategy))
    # In a process of its own: what is drawn stays open as long as the process.
    return project.runpytest_subprocess(
        "--harness-server", server, "-p", "no:cacheprovider", "test_mine.py", *arguments
    )


def test_a_failing_trial_is_shrunk_and_printed_as_its_interleaving(project: Project, address: str) -> None:
    result = run(project(), address, "update_or_insert")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*duplicate: 2 live rows of counter (name) = ('name1')*",
            "*trial=<trial*",
            "*update_or_insert?none,new,read_committed,pg18?: duplicate*",
            "*start state 'new', same name*",  # two calls, and no prelude: nothing else is needed
            "*| s1 *| s2 *|",
            "*replay with: harness replay *",
        ]
    )
    assert "Flaky" not in result.stdout.str()


def test_what_failed_is_kept_and_replayed_first(project: Project, address: str) -> None:
    folder = project()
    run(folder, address, "update_or_insert")
    again = run(folder, address, "update_or_insert", "--hypothesis-show-statistics")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*during reuse phase*", "*1 failing*"])


def test_a_trial_that_an_order_of_its_calls_explains_passes(project: Project, address: str) -> None:
    held = MINE.replace("[none,new]", "[unique,new]")
    folder = project()
    folder.makepyfile(test_mine=held.replace("{strategy}", "on_conflict"))
    result = folder.runpytest_subprocess(
        "--harness-server", address, "-p", "no:cacheprovider", "test_mine.py", "--hypothesis-show-statistics"
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*40 passing*", "*on a common key*"])


def test_a_text_that_means_several_cells_is_refused(project: Project, address: str) -> None:
    folder = project()
    folder.makepyfile(test_mine=MINE.replace("[none,new]", "").replace("{strategy}", "on_conflict"))
    result = folder.runpytest_subprocess("--harness-server", address, "-p", "no:cacheprovider", "test_mine.py")
    result.stdout.fnmatch_lines(["*means * cells: expected one, such as 'counters::on_conflict*"])
