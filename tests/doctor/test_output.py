"""Diagnoses on a terminal, as JSON, as SARIF, as annotations: what they say, and where they point."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from harness.doctor.consult import Consultation
from harness.doctor.examine import Diagnosis, Examined, Repair
from harness.doctor.output.machine import github_lines, json_text, sarif_text
from harness.doctor.output.place import Place, place_of
from harness.doctor.output.terminal import lines_of, summary
from harness.doctor.statement import Statement
from tests.reports.schema import problems

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "doctor.schema.json").read_text())
TEXT = "INSERT INTO t (a)\n    VALUES (%s)\n    ON CONFLICT (a)\n    DO UPDATE SET b = 100%, c = 1"
STATEMENT = Statement("src/store.py", 7, 5, TEXT, TEXT.replace("%s", "$1"), 1)
NO_INDEX = Diagnosis(
    "D103",
    "error",
    "(a) is unique only in part",
    "42P10",
    (
        Repair("sql", "INSERT INTO t (a)\n    VALUES (%s)\n    ON CONFLICT (a) WHERE live\n    DO UPDATE SET b = 100%"),
        Repair("ddl", "CREATE UNIQUE INDEX CONCURRENTLY t_a_key ON t (a);", "fails while there are duplicates"),
    ),
)
MOVED = Diagnosis("D203", "warning", "another key", untried="nothing helped")
BURNED = Diagnosis("D301", "hint", "a value of the sequence")
FOUND = Consultation(
    "embedded PostgreSQL 18.4",
    "18.4",
    (
        Examined(STATEMENT, diagnoses=(NO_INDEX, MOVED, BURNED)),
        Examined(STATEMENT, ("t_pkey",)),
        Examined(STATEMENT, unchecked="cannot be checked: {table} is known only when it runs"),
    ),
    9,
)


def test_a_diagnosis_reads_as_a_compilers() -> None:
    text = "\n".join(line.plain for line in lines_of(FOUND.examined[0]))
    assert text.startswith(
        """\
error[D103]: (a) is unique only in part
  --> src/store.py:9:17
   |
 8 | VALUES (%s)
 9 | ON CONFLICT (a)
   |             ^^^ 42P10 on every call
   |
   = help: change the statement
       INSERT INTO t (a)
       VALUES (%s)
       ON CONFLICT (a) WHERE live
       DO UPDATE SET b = 100%
   = or: change the schema
       -- fails while there are duplicates
       CREATE UNIQUE INDEX CONCURRENTLY t_a_key ON t (a);
   = more: harness explain D103; what is shown above was tried on a scratch copy
"""
    )
    assert "no repair is shown: nothing helped" in text


def test_the_summary_counts_and_names_the_arbiters() -> None:
    assert summary(FOUND) == [
        "3 upserts in 9 statements: 1 error, 1 warning, 1 hint; 1 statement could not be checked",
        "  src/store.py:7: arbiter t_pkey",
        "asked: embedded PostgreSQL 18.4",
    ]


@pytest.mark.parametrize(
    ("diagnosis", "place"),
    [
        (NO_INDEX, Place(9, 17, 9, 20)),
        (MOVED, Place(10, 5, 10, 34)),
        (BURNED, Place(7, 17, 7, 18)),
    ],
)
def test_it_points_to_the_words_it_is_about(diagnosis: Diagnosis, place: Place) -> None:
    assert place_of(STATEMENT, diagnosis) == place


def test_it_points_to_the_first_word_of_what_cannot_be_read() -> None:
    torn = Statement("f.py", 3, 9, "INSERT INTO t VALUES (", "", 0)
    assert place_of(torn, NO_INDEX) == Place(3, 9, 3, 15)


def read() -> dict[str, Any]:
    members: dict[str, Any] = json.loads(json_text(FOUND))
    return members


def test_the_json_is_as_its_schema_says() -> None:
    assert list(problems(read(), SCHEMA)) == []


def test_every_member_that_is_written_is_described() -> None:
    whole = read()
    statement = whole["statements"][0]
    diagnosis = statement["diagnoses"][0]
    assert whole.keys() == SCHEMA["properties"].keys()
    for member, name in ((statement, "statement"), (diagnosis, "diagnosis"), (diagnosis["repairs"][0], "repair")):
        assert member.keys() == SCHEMA["$defs"][name]["properties"].keys()


def test_the_schema_refuses_what_is_wrong() -> None:
    for name, value in (("code", "X1"), ("severity", "bad"), ("repairs", "none")):
        broken = deepcopy(read())
        broken["statements"][0]["diagnoses"][0][name] = value
        assert [problem.split(":")[0] for problem in problems(broken, SCHEMA)] == [
            f"$.statements[0].diagnoses[0].{name}"
        ]


def test_sarif_names_rules_levels_and_regions() -> None:
    log = json.loads(sarif_text(FOUND))
    (run,) = log["runs"]
    assert log["version"] == "2.1.0"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["D103", "D203", "D301"]
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note"]
    location = run["results"][0]["locations"][0]["physicalLocation"]
    assert location == {
        "artifactLocation": {"uri": "src/store.py"},
        "region": {"startLine": 9, "startColumn": 17, "endLine": 9, "endColumn": 20},
    }
    assert all(
        run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"]
    )


def test_an_annotation_is_one_line_with_its_marks_escaped() -> None:
    error, warning, notice = github_lines(FOUND)
    assert error.startswith(
        "::error file=src/store.py,line=9,col=17,title=D103 42P10::(a) is unique only in part%0AINSERT"
    )
    assert "100%25" in error
    assert warning.startswith("::warning file=")
    assert notice.startswith("::notice file=")
    assert "\n" not in error
