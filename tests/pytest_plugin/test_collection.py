"""What pytest finds in scenario files, without a server."""

import subprocess
import sys

import pytest

from tests.pytest_plugin.conftest import COUNTERS, Project

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
CELLS = [
    "scenarios/counters.py::counters::update_or_insert[unique,new,read_committed,pg18]",
    "scenarios/counters.py::counters::update_or_insert[unique,twice,read_committed,pg18]",
    "scenarios/counters.py::counters::on_conflict[unique,new,read_committed,pg18]",
    "scenarios/counters.py::counters::on_conflict[unique,twice,read_committed,pg18]",
    "scenarios/counters.py::counters::update_or_insert[none,new,read_committed,pg18]",
    "scenarios/counters.py::counters::update_or_insert[none,twice,read_committed,pg18]",
    "scenarios/counters.py::counters::on_conflict[none,new,read_committed,pg18]",
    "scenarios/counters.py::counters::on_conflict[none,twice,read_committed,pg18]",
]


def collected(project: pytest.Pytester, *arguments: str) -> list[str]:
    result = project.runpytest_inprocess("--collect-only", "-q", *arguments)
    return [line for line in result.outlines if "::" in line]


def test_each_cell_is_an_item_and_those_of_one_layout_stand_together(project: Project) -> None:
    assert collected(project(), "scenarios") == CELLS


def test_the_id_of_a_cell_selects_it(project: Project) -> None:
    made = project()
    assert collected(made, CELLS[3]) == [CELLS[3]]
    assert collected(made, "scenarios/counters.py::counters::on_conflict") == [c for c in CELLS if "::on_con" in c]


def test_words_of_the_id_are_keywords(project: Project) -> None:
    assert collected(project(), "-k", "on_conflict and none and not twice") == [CELLS[6]]


def test_cells_carry_a_marker(project: Project) -> None:
    made = project()
    made.makepyfile("def test_of_the_projects_own(): pass")
    assert collected(made, "-m", "harness") == CELLS


@pytest.mark.parametrize(
    ("server", "id"),
    [("embedded:16", "pg16"), ("container:17", "pg17"), ("container:postgis/postgis:15-3.5", "pg15"), (NOWHERE, "pg")],
)
def test_the_server_in_the_id_is_foreseen_and_none_is_started(project: Project, server: str, id: str) -> None:
    result = project().runpytest_inprocess("--collect-only", "-q", "--harness-server", server)
    assert f"on_conflict[none,new,read_committed,{id}]" in result.stdout.str()
    assert "upsert-harness: server" not in result.stdout.str()


def test_a_file_named_on_the_command_line_is_no_test_module_besides(project: Project) -> None:
    scenario = COUNTERS + "\n\ndef test_nothing(): pass\n"
    assert collected(project(scenario), "scenarios/counters.py") == CELLS


def test_somebody_elses_folder_of_that_name_is_left_alone(project: Project) -> None:
    made = project(scenario="raise RuntimeError('I am imported')\n# Scenario(", helper="import harness\n1 / 0\n")
    made.makepyfile("def test_of_the_projects_own(): pass")
    result = made.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    assert "upsert-harness: " not in result.stdout.str()  # its line in the header; its name among the plugins is there


def test_an_ini_setting_says_where_scenarios_are(project: Project) -> None:
    made = project(ini="harness_scenarios = races/*.py deep/**/*.py\n")
    for folder in ("races", "deep/er"):
        made.path.joinpath(folder).mkdir(parents=True)
    made.path.joinpath("scenarios/counters.py").rename(made.path / "races/counters.py")
    made.path.joinpath("deep/er/others.py").write_text(
        made.path.joinpath("races/counters.py").read_text().replace('"counters"', '"others"')
    )
    ids = [line.rpartition("::")[0] for line in collected(made)]
    assert set(ids) == {"races/counters.py::counters", "deep/er/others.py::others"}


# Files that cannot be collected: one line says why.


def test_a_syntax_error_is_told_with_its_place_and_without_a_traceback(project: Project) -> None:
    result = project(COUNTERS + "\ndef broken(:\n").runpytest_inprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*counters.py:35: invalid syntax: def broken(:"])
    assert "Traceback" not in result.stdout.str()


def test_a_mistake_in_a_scenario_is_told_at_collection(project: Project) -> None:
    result = project(expected='unsafe("duplicate", layout="uniqe")').runpytest_inprocess()
    result.stdout.fnmatch_lines(["*counters.py:*'uniqe' (did you mean 'unique'?)*"])
    assert "Traceback" not in result.stdout.str()


def test_two_files_cannot_hold_scenarios_of_one_name(project: Project) -> None:
    result = project(zweiter=COUNTERS.replace("EXPECTED", "[]")).runpytest_inprocess()
    result.stdout.fnmatch_lines(["*zweiter.py:6: a second scenario called 'counters'; the first is at *counters.py:6"])


# What is said on the command line and in the ini file.


def test_the_header_says_which_server_and_which_seed(project: Project) -> None:
    made = project(ini="harness_seed = 4\n")
    made.makepyprojecttoml('[tool.harness]\nserver = "embedded:16"\nseed = 9\n')
    result = made.runpytest_inprocess("--collect-only")
    result.stdout.fnmatch_lines(["upsert-harness: server embedded:16 (asked for), seed 4"])
    result = made.runpytest_inprocess("--collect-only", "--harness-seed=7", "--harness-server=embedded")
    result.stdout.fnmatch_lines(["upsert-harness: server embedded:18 (asked for), seed 7"])


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--harness-seed=often", "ERROR: --harness-seed=often: expected a whole number"),
        ("--harness-budget=soon", "ERROR: --harness-budget: 'soon': expected a time such as 30s, 2m or 1h"),
        ("--harness-server=docker:18", "ERROR: --harness-server: server 'docker:18' is none of * (did you mean*"),
        ("--harness-server=postgres//me:s3cret@here", "ERROR: --harness-server: *"),
        ("--harness-server=postgresql://me:s3cret%zz@here", "ERROR: --harness-server: *"),
    ],
)
def test_a_bad_option_is_told_in_one_line(project: Project, option: str, told: str) -> None:
    result = project().runpytest_inprocess(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])
    assert "s3cret" not in result.stdout.str() + result.stderr.str()


def test_a_bad_server_in_the_environment_is_told_at_collection(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_SERVER", "embeded")
    result = project().runpytest_inprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["HARNESS_SERVER: server 'embeded' is none of * (did you mean embedded?)"])


def test_loading_the_plugin_imports_neither_driver_nor_generators() -> None:
    code = "import sys, harness.pytest_plugin.plugin; print({'psycopg', 'hypothesis', 'click'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
