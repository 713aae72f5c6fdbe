"""`harness doctor` and `harness explain` end to end: what is printed and written, and the exit codes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli.doctor import code_of
from harness.cli.main import main
from harness.doctor.consult import Consultation
from harness.doctor.examine import Diagnosis, Examined
from harness.doctor.rules.rule import RULES
from harness.doctor.statement import Statement
from tests.reports.schema import problems

ROOT = Path(__file__).parents[2]
TABLE = """CREATE TABLE purchases (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, student_id int NOT NULL,
    course_id int NOT NULL, is_active boolean);
CREATE UNIQUE INDEX one_active ON purchases (student_id, course_id) WHERE is_active;
"""
BROKEN = (
    "INSERT INTO purchases (student_id, course_id) VALUES ($1, $2)\nON CONFLICT (student_id, course_id)\nDO NOTHING;\n"
)
SOUND = BROKEN.replace("course_id)\nDO", "course_id) WHERE is_active\nDO")


def run(*words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, ["doctor", *words], input=text)


@pytest.fixture
def schema(tmp_path: Path) -> str:
    (tmp_path / "schema.sql").write_text(TABLE)
    return str(tmp_path / "schema.sql")


@pytest.mark.server
def test_a_broken_statement_is_shown_with_its_repairs_and_the_exit_code_is_1(schema: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.sql"
    broken.write_text(BROKEN)
    result = run(str(broken), "--schema", schema, "--json", str(tmp_path / "out.json"))
    assert result.exit_code == 1
    assert "error[D103]: (student_id, course_id) is unique only in part, by one_active WHERE is_active" in result.output
    assert "broken.sql:2:13\n" in result.output
    assert "ON CONFLICT (student_id, course_id) WHERE is_active\n      DO NOTHING" in result.output
    assert "CREATE UNIQUE INDEX CONCURRENTLY purchases_student_id_course_id_key ON purchases" in result.output
    written = json.loads((tmp_path / "out.json").read_text())
    assert list(problems(written, json.loads((ROOT / "docs" / "doctor.schema.json").read_text()))) == []
    assert [each["code"] for each in written["statements"][0]["diagnoses"]] == ["D103"]


@pytest.mark.server
def test_a_sound_statement_is_shown_with_its_arbiter_and_the_exit_code_is_0(schema: str) -> None:
    result = run("-", "--schema", schema, text=SOUND)
    assert (result.exit_code, "arbiter one_active" in result.output) == (0, True), result.output


@pytest.mark.server
def test_annotations_stand_alone(schema: str) -> None:
    result = run("-e", BROKEN, "--schema", schema, "--github")
    assert result.exit_code == 1
    assert [line.partition(" ")[0] for line in result.output.splitlines()] == ["::error"]


@pytest.mark.server
def test_a_schema_that_cannot_be_loaded_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "schema.sql").write_text("CREATE TABLE t (a nothing)")
    result = run("-e", BROKEN, "--schema", str(tmp_path / "schema.sql"))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "schema.sql:" in result.stderr
    assert 'type "nothing" does not exist' in result.stderr


def test_files_without_upserts_need_no_server(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("INSERT INTO t VALUES (1);")
    result = run(str(tmp_path / "a.sql"))
    assert (result.exit_code, result.output) == (0, "0 upserts in 1 statement: nothing wrong\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 3, "error: nothing to examine: expected files, '-' for standard input, or -e 'INSERT ...'"),
        (["nowhere.sql"], 3, "error: invalid value for '[FILE]...': Path 'nowhere.sql' does not exist"),
        (["-e", "x", "--severity", "bad"], 3, "error: invalid value for '--severity': 'bad' is not one of"),
        (["-e", "x", "--rate", "0"], 3, "error: invalid value for '--rate'"),
        (["-e", BROKEN, "--server", "embedded"], 2, "error: nothing to examine against: expected --schema FILE"),
    ],
)
def test_bad_words_are_said(words: list[str], code: int, message: str) -> None:
    result = run(*words)
    assert result.exit_code == code
    assert result.stderr.startswith(message)


STATEMENT = Statement("a.sql", 1, 1, "", "", 0)
HINT, WARNING, ERROR = (
    Examined(STATEMENT, diagnoses=(Diagnosis(code, severity, ""),))  # type: ignore[arg-type]
    for code, severity in (("D301", "hint"), ("D201", "warning"), ("D101", "error"))
)
UNCHECKED = Examined(STATEMENT, unchecked="why")


@pytest.mark.parametrize(
    ("found", "severity", "code"),
    [
        ([], "warning", 0),
        ([HINT], "warning", 0),
        ([HINT], "hint", 1),
        ([WARNING], "warning", 1),
        ([WARNING], "error", 0),
        ([HINT, ERROR], "error", 1),
        ([UNCHECKED], "warning", 2),
        ([UNCHECKED, HINT], "warning", 0),
        ([UNCHECKED, ERROR], "warning", 1),
    ],
)
def test_the_exit_code_follows_from_the_diagnoses(found: list[Examined], severity: str, code: int) -> None:
    assert code_of(Consultation("", "", tuple(found), 9), severity) == code


# harness explain


def explain(*codes: str) -> Result:
    return CliRunner().invoke(main, ["explain", *codes])


def test_every_code_is_explained() -> None:
    listed = explain()
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.output.splitlines()] == sorted(RULES)
    assert "PostgreSQL does support WHERE in ON CONFLICT" in explain("d103").output


def test_an_sqlstate_leads_to_its_diagnoses() -> None:
    result = explain("42p10")
    assert result.exit_code == 0
    head, *listed = result.output.splitlines()
    assert head == "42P10 is one of these; 'harness doctor' says which:"
    assert [line.split()[0] for line in listed] == sorted(c for c, rule in RULES.items() if rule.sqlstate == "42P10")


def test_a_code_that_is_none_is_said() -> None:
    result = explain("D1033")
    assert result.exit_code == 3
    assert result.stderr == "error: D1033: no such diagnosis (did you mean D103?); 'harness explain' lists them\n"
