"""JUnit XML for build servers: a suite for each scenario, a case for each cell; a failure is what no rule covers."""

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from harness.campaign.campaign import Report
from harness.model.verdict import CellResult, Verdict
from harness.reports.picks import uncovered
from harness.reports.witness import witness

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_report(report: Report) -> str:
    root = Element("testsuites", name="harness")
    for scenario in dict.fromkeys(result.cell.scenario for result in report.cells):
        results = [result for result in report.cells if result.cell.scenario == scenario]
        suite = SubElement(
            root,
            "testsuite",
            name=scenario,
            tests=str(len(results)),
            failures=str(sum(_is_failure(result) for result in results)),
            errors=str(sum(_is_error(result) for result in results)),
            time=f"{sum(result.elapsed_s for result in results):.3f}",
        )
        for result in results:
            _case(suite, result)
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _is_error(result: CellResult) -> bool:
    return not result.as_expected and result.verdict is Verdict.UNKNOWN


def _is_failure(result: CellResult) -> bool:
    return not result.as_expected and result.verdict is not Verdict.UNKNOWN


def _case(suite: Element, result: CellResult) -> None:
    name = result.cell.id.partition("::")[2]
    case = SubElement(suite, "testcase", classname=result.cell.scenario, name=name, time=f"{result.elapsed_s:.3f}")
    if result.as_expected:
        return
    message = f"{result.verdict}, expected {result.expected}: {result.reason}"
    problem = SubElement(case, "error" if _is_error(result) else "failure", message=_clean(message))
    problem.text = _clean("\n\n".join(witness(finding, result.source) for finding in uncovered(result)))


def _clean(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold, in any spelling: PostgreSQL's messages may quote data."""
    return _NO_XML.sub("?", text)
