"""Reports for other programs: JSON as its schema says, JUnit, Markdown; whole files, and no password in any."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.campaign.campaign import Report
from harness.model.codec import decode
from harness.model.verdict import KINDS, Verdict, Violation
from harness.reports.files import write_whole
from harness.reports.html import html_report
from harness.reports.json_report import json_report
from harness.reports.junit import junit_report
from harness.reports.markdown import markdown_report
from tests.reports.made import DUPLICATE, NO_ARBITER, TWICE, finding, report, result
from tests.reports.schema import problems

UNSAFE, UNKNOWN, RETRY, SAFE = Verdict
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text())

FULL = report(
    result("Fixed full new rc"),
    result("Fixed full new rr", RETRY),
    result("Naive none new rc", UNSAFE, DUPLICATE, TWICE, expected="safe", as_expected=False),
    result("Before none new rc", UNSAFE, NO_ARBITER, expected="unsafe('42P10')"),
    result("Naive full new rc", UNKNOWN, reason="never contended", as_expected=False),
    warnings=("interrupted: 5 of 6 cells were explored",),
    stale=("items::Fixed: unsafe('23505')",),
)


def read(made: Report = FULL) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(json_report(made, {"items": ("put",)}))
    return members


@pytest.mark.parametrize("made", [FULL, report()], ids=["full", "empty"])
def test_the_json_report_is_as_its_schema_says(made: Report) -> None:
    assert list(problems(read(made), SCHEMA)) == []


def test_every_member_that_is_written_is_described() -> None:
    (cell, *_), full = read()["cells"], read()
    assert full.keys() == SCHEMA["properties"].keys()
    for member, name in ((cell, "cell"), (full["cells"][2]["findings"][0], "finding"), (full["servers"][0], "server")):
        assert member.keys() == SCHEMA["$defs"][name]["properties"].keys()


def test_the_schema_refuses_what_is_wrong() -> None:
    for path, value in (("verdict", "fine"), ("orders", "20"), ("id", "items"), ("isolation", "read committed")):
        broken = deepcopy(read())
        broken["cells"][0][path] = value
        assert [problem.split(":")[0] for problem in problems(broken, SCHEMA)] == [f"$.cells[0].{path}"]


def test_the_schema_knows_every_kind() -> None:
    assert tuple(SCHEMA["$defs"]["finding"]["properties"]["kind"]["enum"]) == KINDS
    assert SCHEMA["$defs"]["cell"]["properties"]["verdict"]["enum"] == list(Verdict)


def test_the_schedule_of_a_finding_can_be_replayed() -> None:
    line = read()["cells"][2]["findings"][0]["schedule"]
    assert decode(line) == finding().schedule


@pytest.mark.parametrize("text", [json_report(FULL), markdown_report(FULL), junit_report(FULL), html_report(FULL)])
def test_no_password_is_written(text: str) -> None:
    assert "hunter2" not in text


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    write_whole(target, "first")
    with pytest.raises(TypeError):
        write_whole(target, b"half of it")  # type: ignore[arg-type]
    assert target.read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_half_a_surrogate_pair_does_not_cost_the_report(tmp_path: Path) -> None:
    odd = report(result("Naive none new rc", UNSAFE, Violation("crash", "ValueError: \ud800")))
    write_whole(tmp_path / "report.json", json_report(odd))
    finding = json.loads((tmp_path / "report.json").read_text())["cells"][0]["findings"][0]
    assert finding["explanation"] == "ValueError: \ud800"


def test_junit_counts_findings_as_failures_and_unknown_cells_as_errors() -> None:
    suite = ElementTree.fromstring(junit_report(FULL)).find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("name", "tests", "failures", "errors")} == {
        "name": "items",
        "tests": "5",
        "failures": "1",
        "errors": "1",
    }
    (failure,) = suite.iter("failure")
    assert failure.get("message") == "unsafe, expected safe: "
    assert failure.text is not None and failure.text.count("replay with: harness replay") == 2


def test_junit_survives_what_xml_cannot_hold() -> None:
    odd = Violation("crash", "ValueError: \x00\x1b[31m <&> \ud800")
    text = junit_report(report(result("Naive none new rc", UNSAFE, odd, reason=odd.explanation, as_expected=False)))
    ElementTree.fromstring(text)


def test_markdown_reads_like_this() -> None:
    text = markdown_report(FULL)
    assert text.startswith("# Upserts under concurrency\n\n5 cells: 2 unsafe, 1 unknown, 1 retry, 1 safe;")
    assert "| strategy | layout | start state | read committed | repeatable read |\n| --- |" in text
    assert "| `Fixed` ~ | full | new | safe | retry |" in text
    assert "| `Naive` | none | new | **! unsafe duplicate, 23505** | - |" in text
    assert "## Warnings\n\n- interrupted: 5 of 6 cells were explored\n" in text
    assert text.count("<details>") == 2 and text.count("```") == 4


def test_html_is_one_page_that_loads_nothing() -> None:
    text = html_report(report(result("Naive none new rc", UNSAFE, Violation("crash", "<script>"), as_expected=False)))
    assert text.startswith("<!doctype html>")
    assert "<script" not in text and "src=" not in text and "http" not in text
    assert "&lt;script&gt;" in text
