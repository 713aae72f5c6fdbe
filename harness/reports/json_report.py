"""The report for other programs; docs/report.schema.json describes it. Readers ignore members they do not know."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.campaign.campaign import Options, Report
from harness.model.codec import CodecError, encode
from harness.model.schedule import Schedule
from harness.model.verdict import CellResult, Finding
from harness.reports.advice import plain as plain_advice
from harness.reports.story import story
from harness.reports.witness import witness
from harness.scenario.discovery import harness_version
from harness.servers.server import Server

FORMAT = 1

Operations = Mapping[str, Sequence[str]]
"""Scenario -> the names of its operations."""


def json_report(report: Report, operations: Operations | None = None) -> str:
    """The text of the file."""
    return json.dumps(plain(report, operations or {}), indent=1, ensure_ascii=False) + "\n"


def plain(report: Report, operations: Operations) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "harness": harness_version(),
        "seed": report.options.seed,
        "options": _options(report.options),
        "servers": [_server(server) for server in report.servers],
        "warnings": list(report.warnings),
        "stale": list(report.stale),
        "elapsed_s": round(report.elapsed_s, 3),
        "cells": [_cell(result, operations.get(result.cell.scenario, ())) for result in report.cells],
    }


def _options(options: Options) -> dict[str, Any]:
    return {
        "sessions": options.sessions,
        "budget_s": options.budget_s,
        "gates": options.gates.name.lower(),
        "faults": options.faults,
        "workers": options.workers,
        "orders_max": options.orders_max,
        "scheduler": options.scheduler,
        "layouts": list(options.layouts),
        "states": list(options.states),
        "isolations": [str(isolation) for isolation in options.isolations],
    }


def _server(server: Server) -> dict[str, Any]:
    # Member by member: what is not named here (the connection string holds a password) cannot get into a file.
    return {
        "id": server.id,
        "provider": server.provider,
        "version": server.version,
        "wake_order": server.wake_order,
        "durability": server.durability,
    }


def _cell(result: CellResult, operations: Sequence[str]) -> dict[str, Any]:
    cell, coverage = result.cell, result.coverage
    return {
        "id": cell.id,
        "scenario": cell.scenario,
        "strategy": cell.strategy,
        "layout": cell.layout,
        "state": cell.state,
        "isolation": str(cell.isolation),
        "server": cell.server,
        "operations": list(operations),
        "verdict": str(result.verdict),
        "reason": result.reason,
        "expected": result.expected,
        "as_expected": result.as_expected,
        "stale": list(result.stale),
        "granularity": coverage.granularity,
        "gates": list(coverage.gates),
        "faults": coverage.faults,
        "gates_missing": list(coverage.gates_missing),
        "sessions": coverage.sessions,
        "contests": coverage.contests,
        "orders": coverage.orders,
        "classes": coverage.classes,
        "pruned": coverage.pruned,
        "not_explored": coverage.not_explored,
        "exhaustive": coverage.exhaustive,
        "sampled": coverage.sampled,
        "sampled_of": round(coverage.sampled_of),
        "repeated": coverage.repeated,
        "drawn": {"trials": coverage.drawn, "met": coverage.drawn_met, "refused": coverage.drawn_refused},
        "reduction": coverage.reduction,
        "elapsed_s": round(result.elapsed_s, 3),
        "findings": [_finding(finding, result.source) for finding in result.findings],
    }


def _finding(finding: Finding, source: str) -> dict[str, Any]:
    violation = finding.violation
    return {
        "kind": violation.kind,
        "sqlstate": violation.sqlstate,
        "anomaly": violation.anomaly,
        "alone": violation.alone,
        "explanation": violation.explanation,
        "count": finding.count,
        "contest": str(finding.contest),
        "schedule": _line(finding.schedule),
        "story": list(story(finding)),
        "witness": witness(finding, source),
        "replayed": finding.replayed,
        "replays": finding.replays,
        "shrunk": finding.shrunk and asdict(finding.shrunk),
        "ungated": finding.ungated and {"hits": finding.ungated.hits, "tries": finding.ungated.tries},
        **plain_advice(finding.advice),
    }


def _line(schedule: Schedule) -> str | None:
    try:
        return encode(schedule)
    except CodecError:
        return None  # an argument without a written form; the witness says which
