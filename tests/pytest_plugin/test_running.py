"""Items that run: what passes, what fails and in which words, and that there is one server however many processes."""

import xml.etree.ElementTree as ET

import pytest

from tests.pytest_plugin.conftest import COUNTERS, Project
from tests.pytest_plugin.test_collection import NOWHERE

RACE = "update_or_insert and none and new"


def run(project: pytest.Pytester, server: str, *arguments: str) -> pytest.RunResult:
    return project.runpytest_inprocess("--harness-server", server, "-p", "no:cacheprovider", *arguments)


def test_cells_that_are_as_expected_pass_and_those_a_layout_forbids_are_skipped(project: Project, address: str) -> None:
    result = run(project(), address, "-rs")
    result.assert_outcomes(passed=6, skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED * layout unique forbids the start state twice"])


def test_a_finding_that_no_rule_covers_fails_with_its_interleaving(project: Project, address: str) -> None:
    result = run(project(expected=""), address, "-k", RACE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*counters::update_or_insert[[]none,new,read_committed,pg18]: expected safe, found unsafe duplicate",
            "*| s1 *| s2 *|",
            "*INSERT INTO counter*",
            "expected*",
            "found:",
            "replay with: harness replay *h1:*",
        ],
        consecutive=False,
    )
    assert "Traceback" not in result.stdout.str()


def test_a_cell_that_cannot_be_judged_fails_with_the_reason(project: Project, address: str) -> None:
    scenario = COUNTERS.replace("count.body(connection, name)", "__import__('os')._exit(7)")
    result = run(project(scenario, expected=""), address, "-k", "none and new")
    result.assert_outcomes(failed=1, passed=1)  # it took nobody else with it
    result.stdout.fnmatch_lines(["*expected safe, found unknown: the process that ran this cell exited with status 7*"])


def test_an_unknown_that_is_expected_passes(project: Project, address: str) -> None:
    scenario = COUNTERS.replace("count.body(connection, name)", "__import__('os')._exit(7)")
    scenario = scenario.replace("Scenario, unsafe", "Scenario, unknown, unsafe")
    run(project(scenario, expected="unknown()"), address, "-k", RACE).assert_outcomes(passed=1)


def test_sql_that_the_server_refuses_fails_in_one_line(project: Project, address: str) -> None:
    scenario = COUNTERS.replace("CREATE UNIQUE INDEX ON counter (name)", "CREATE UNIQUE INDEX ON counter (nam)")
    result = run(project(scenario), address, "-k", "update_or_insert and unique and new")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*counters.py:6: scenario counters, layout unique: the server refuses it: *nam*42703*"]
    )
    assert "Traceback" not in result.stdout.str()


def test_a_spent_budget_is_said(project: Project, address: str) -> None:
    result = run(project(), address, "--harness-budget=1ms", "-k", "on_conflict and unique and new")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*found unknown: the budget was spent before *"])


def test_without_a_server_cells_are_skipped_with_the_reason(project: Project) -> None:
    result = run(project(), NOWHERE, "-rs")
    result.assert_outcomes(skipped=8)
    result.stdout.fnmatch_lines(["SKIPPED *cannot use postgresql://nobody@127.0.0.1:1/nothing: *"])


def test_without_a_server_cells_fail_in_ci(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = run(project(), NOWHERE, "-k", RACE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["cannot use postgresql://nobody@127.0.0.1:1/nothing: *"])


def test_junit_files_say_verdict_and_coverage(project: Project, address: str) -> None:
    made = project()
    run(made, address, "-k", RACE, "--junit-xml=junit.xml")
    (case,) = ET.parse(made.path / "junit.xml").getroot().iter("testcase")
    told = {each.get("name"): each.get("value") for each in case.iter("property")}
    assert (told["verdict"], told["expected"]) == ("unsafe", "unsafe('duplicate', layout='none', state='new')")
    assert int(told["orders"] or 0) > 1


@pytest.mark.parametrize("distribution", ["load", "loadgroup"])
def test_several_processes_share_one_server(project: Project, distribution: str, server: object) -> None:
    made = project()
    result = made.runpytest_subprocess("-n", "2", "--dist", distribution, "--harness-server", "embedded", "-v")
    result.assert_outcomes(passed=6, skipped=2)
    assert result.stdout.str().count("upsert-harness: server embedded PostgreSQL 18") == 1
    assert "[gw0]" in result.stdout.str()
    assert "[gw1]" in result.stdout.str()
