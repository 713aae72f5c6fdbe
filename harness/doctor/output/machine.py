"""Diagnoses for other programs: JSON (docs/doctor.schema.json), SARIF 2.1.0, and the annotations of GitHub's log."""

import json
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from harness.doctor.consult import Consultation
from harness.doctor.examine import Diagnosis, Examined, Repair
from harness.doctor.output.place import place_of
from harness.doctor.rules.rule import RULES
from harness.scenario.discovery import harness_version

FORMAT = 1
_LEVELS = {"error": "error", "warning": "warning", "hint": "note"}
_ANNOTATIONS = {"error": "error", "warning": "warning", "hint": "notice"}
_SARIF = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def json_text(consultation: Consultation) -> str:
    """Readers ignore members they do not know."""
    members = {
        "format": FORMAT,
        "harness": harness_version(),
        "server": consultation.version,
        "statements": [_statement(one) for one in consultation.examined],
    }
    return json.dumps(members, indent=1, ensure_ascii=False) + "\n"


def _statement(one: Examined) -> dict[str, Any]:
    return {
        "file": one.statement.file,
        "line": one.statement.line,
        "column": one.statement.column,
        "sql": one.statement.text,
        "arbiters": list(one.arbiters),
        "every_unique_index": one.every_index,
        "unchecked": one.unchecked,
        "diagnoses": [_diagnosis(one, each) for each in one.diagnoses],
    }


def _diagnosis(one: Examined, each: Diagnosis) -> dict[str, Any]:
    place = place_of(one.statement, each)
    return {
        "code": each.code,
        "severity": each.severity,
        "sqlstate": each.sqlstate,
        "message": each.message,
        "line": place.line,
        "column": place.column,
        "repairs": [_repair(repair) for repair in each.repairs],
        "untried": each.untried,
    }


def _repair(repair: Repair) -> dict[str, Any]:
    return {"kind": repair.kind, "text": repair.text, "comment": repair.comment}


def sarif_text(consultation: Consultation) -> str:
    """SARIF 2.1.0, as GitHub's code scanning and editors read it."""
    used = sorted({each.code for one in consultation.examined for each in one.diagnoses})
    driver = {
        "name": "harness doctor",
        "version": harness_version(),
        "rules": [_sarif_rule(code) for code in used],
    }
    results = [_result(one, each, used) for one in consultation.examined for each in one.diagnoses]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": _SARIF, "version": "2.1.0", "runs": [run]}, indent=1, ensure_ascii=False) + "\n"


def _sarif_rule(code: str) -> dict[str, Any]:
    known = RULES.get(code)
    title = known.title if known else "refused by the server"
    return {
        "id": code,
        "shortDescription": {"text": title},
        "fullDescription": {"text": known.text if known else title},
        "help": {"text": known.text if known else title},
    }


def _result(one: Examined, each: Diagnosis, used: Sequence[str]) -> dict[str, Any]:
    place = place_of(one.statement, each)
    region = {
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.end_line,
        "endColumn": max(place.end_column, place.column + 1) if place.end_line == place.line else place.end_column,
    }
    location = {"artifactLocation": {"uri": PurePath(one.statement.file).as_posix()}, "region": region}
    text = "\n".join([each.message, *(f"{repair.kind}: {repair.text}" for repair in each.repairs)])
    return {
        "ruleId": each.code,
        "ruleIndex": used.index(each.code),
        "level": _LEVELS[each.severity],
        "message": {"text": text},
        "locations": [{"physicalLocation": location}],
    }


def github_lines(consultation: Consultation) -> Iterator[str]:
    """Workflow commands: one annotation for each diagnosis."""
    for one in consultation.examined:
        for each in one.diagnoses:
            place = place_of(one.statement, each)
            text = "\n".join([each.message, *(repair.text for repair in each.repairs)])
            file = _property(PurePath(one.statement.file).as_posix())
            yield (
                f"::{_ANNOTATIONS[each.severity]} file={file},line={place.line},col={place.column},"
                f"title={_property(f'{each.code} {each.sqlstate or str()}'.strip())}::{_message(text)}"
            )


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
