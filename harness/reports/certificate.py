"""Certificates: what was explored to its end and passed, and what that rests on; docs/certificate.schema.json.

One entry for each cell that is safe or retry and was explored exhaustively. Every other cell is named with the reason
why it has none. The seal tells an edited file from the one that was written; it is a digest, not a signature.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement, groupby
from pathlib import Path
from typing import Any

from harness.campaign.campaign import Report, Selection
from harness.generators.contests import tests
from harness.model.cell import Cell, Isolation
from harness.model.sqlstate import describe
from harness.model.verdict import CellResult, Coverage, Verdict
from harness.oracles import ORACLES
from harness.reports.summary import counted
from harness.scenario.discovery import digest, file_digest, harness_version, shipped
from harness.scenario.language import Scenario
from harness.scenario.strategy import Strategy
from harness.servers.server import Server

KIND, FORMAT = "upsert-harness certificate", 1

Entry = dict[str, Any]

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class BadCertificate(ValueError):
    """A file that cannot be verified: what was expected, what was found, what to do."""


# Writing.


def certificate(report: Report, selections: Sequence[Selection]) -> str:
    """The text of the file."""
    options = report.options
    certified = [result for result in report.cells if why_not(result) is None]
    file: dict[str, Any] = {
        "kind": KIND,
        "format": FORMAT,
        "harness": harness_version(),
        "options": {
            "sessions": options.sessions,
            "gates": options.gates.name.lower(),
            "faults": options.faults,
            "orders_max": options.orders_max,
            "scheduler": options.scheduler,
            "seed": options.seed,
        },
        "summary": _summary(certified, report.servers, selections),
        "certificates": [entry(result, *_about(result.cell, report.servers, selections)) for result in certified],
        "without": [
            {"cell": result.cell.id, "verdict": str(result.verdict), "why": why}
            for result in report.cells
            if (why := why_not(result)) is not None
        ],
    }
    return json.dumps({**file, "seal": _seal(file)}, indent=1, ensure_ascii=False) + "\n"


def why_not(result: CellResult) -> str | None:
    """Why a cell gets no certificate; None for one that does."""
    coverage = result.coverage
    match result.verdict:
        case Verdict.UNSAFE:
            return f"unsafe: {', '.join(dict.fromkeys(f.violation.name for f in result.findings))}"
        case Verdict.UNKNOWN:
            return f"unknown: {result.reason}"
    if coverage.not_explored:
        return f"only sampled: {counted(coverage.not_explored, 'order')} could not be controlled"
    if not coverage.exhaustive:
        return (
            f"only sampled: a contest has more orders than were allowed; {counted(coverage.orders, 'order')} were run"
        )
    return None


def entry(result: CellResult, server: Server, scenario: Scenario) -> Entry:
    """Everything that a certificate says of one cell."""
    cell, coverage = result.cell, result.coverage
    strategy = next(s for s in scenario.strategies if s.name == cell.strategy)
    return {
        "cell": cell.id,
        "scenario": cell.scenario,
        "strategy": cell.strategy,
        "layout": cell.layout,
        "state": cell.state,
        "isolation": str(cell.isolation),
        "source": _source(scenario),
        "server": {"id": server.id, "provider": server.provider, "version": server.version},
        "verdict": str(result.verdict),
        "digests": {"scenario": file_digest(scenario), "schema": digest(scenario, cell.layout)},
        "sessions": coverage.sessions,
        "contests": coverage.contests,
        "skipped": coverage.skipped,
        "orders": coverage.orders,
        "classes": coverage.classes,
        "exhaustive": coverage.exhaustive,
        "reduction": coverage.reduction,
        "granularity": coverage.granularity,
        "gates": list(coverage.gates),
        "ages": {"fresh": "every order", "aged": f"{coverage.aged} serial orders"},
        "plans": [
            {"statement": plan.statement, "plan": plan.plan, "fingerprint": _short_digest(plan.plan)}
            for plan in coverage.plans
        ],
        "oracles": [name for name, _ in ORACLES],
        "scope": _scope([cell.state], result, server, scenario, strategy),
        "not_covered": _not_covered(coverage),
    }


def _about(cell: Cell, servers: Sequence[Server], selections: Sequence[Selection]) -> tuple[Server, Scenario]:
    server = next(server for server in servers if server.id == cell.server)
    return server, next(s.scenario for s in selections if s.scenario.name == cell.scenario)


def _source(scenario: Scenario) -> str:
    """How it is found again: by its path from here, or by its name among those that are shipped."""
    path = Path(scenario.path)
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return scenario.name if path.is_relative_to(shipped().resolve()) else str(path)


# The scope, for a person.


def _summary(certified: Sequence[CellResult], servers: Sequence[Server], selections: Sequence[Selection]) -> list[str]:
    """One sentence for the start states of a strategy of which the same is to be said."""

    def alike(result: CellResult) -> tuple[object, ...]:
        cell, coverage = result.cell, result.coverage
        place = (cell.scenario, cell.strategy, cell.server, cell.layout, list(Isolation).index(cell.isolation))
        return (*place, str(result.verdict), coverage.gates, coverage.sessions)

    sentences = []
    for _, group in groupby(sorted(certified, key=lambda r: tuple(map(str, alike(r)))), key=alike):
        together = list(group)
        cell = together[0].cell
        server, scenario = _about(cell, servers, selections)
        strategy = next(s for s in scenario.strategies if s.name == cell.strategy)
        states = [state for state in scenario.states if any(r.cell.state == state for r in together)]
        said = _scope(states, together[0], server, scenario, strategy)
        sentences.append(f"{cell.scenario}::{cell.strategy}, layout {cell.layout}: {said}")
    return sentences


def _scope(states: Sequence[str], result: CellResult, server: Server, scenario: Scenario, strategy: Strategy) -> str:
    """`No interleaving of two concurrent calls of purchase, ... ends in a duplicate, ...`"""
    coverage, isolation = result.coverage, result.cell.isolation
    where = f"on PostgreSQL {server.version} at {isolation.sql.upper()}"
    gates = f" and at {_number(len(coverage.gates))} gate{'s'[: len(coverage.gates) != 1]} inside them"
    between = f"switched between statements{gates if coverage.gates else ''}"
    error, again = "an unexpected error", ""
    if result.verdict is Verdict.RETRY:
        names = " or ".join(describe(sqlstate) for sqlstate in strategy.retryable_at(isolation))
        error = f"an error other than {names}"
        again = f"; a call that failed with {names} left nothing behind, and succeeded when it was called again"
    return (
        f"No interleaving of {_calls(scenario, strategy, coverage.sessions)}, {_from(states)}, {where}, {between}, "
        f"ends in a duplicate, {error}, a lost update, or anything else that the same calls one after another "
        f"could not end in{again}."
    )


def _calls(scenario: Scenario, strategy: Strategy, sessions: int) -> str:
    """What runs at once: as `generators.contests` chooses it."""
    chosen = [
        " and ".join(dict.fromkeys(names))
        for names in combinations_with_replacement(scenario.operations, sessions)
        if tests([[name] for name in names], strategy)
    ]
    keys = list(dict.fromkeys(key for operation in scenario.operations.values() for key in operation.keys.values()))
    sharing = f" with the same or another {' and '.join(keys)}" if keys else ""
    return f"{_number(sessions)} concurrent calls of {', or of '.join(dict.fromkeys(chosen))}{sharing}"


def _from(states: Sequence[str]) -> str:
    named = ", ".join(f"'{state}'" for state in states)
    return (
        f"from start state {named}"
        if len(states) == 1
        else f"from any of {_number(len(states))} start states ({named})"
    )


def _not_covered(coverage: Coverage) -> str:
    inside = f"at points other than {', '.join(coverage.gates)}" if coverage.gates else "at any point"
    parts = [
        f"more than {_number(coverage.sessions)} sessions, or a second call of one of them",
        "start states, argument values, layouts, isolation levels and servers that this certificate does not name",
        f"switches inside a statement {inside}",
        "interleavings under generic plans, with which only serial orders were run",
    ]
    if not coverage.faults:
        parts.append("clients that fail or lose their connection")
    if coverage.skipped:
        parts.append(f"{counted(coverage.skipped, 'contest')} of which no serial order writes anything")
    return f"Not covered: {'; '.join(parts)}."


def _number(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


# Reading.


def read_certificate(path: Path) -> dict[str, Any]:
    """The file as it was written. Raises BadCertificate for one that is none, or is not whole, or was altered."""
    anew = "write it anew with 'harness explore CELL --certificate FILE'"
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadCertificate(f"{path}: cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise BadCertificate(f"{path}: expected JSON, found {error.msg} in line {error.lineno}; {anew}") from error
    kind = file.get("kind") if isinstance(file, dict) else None
    if kind != KIND:
        raise BadCertificate(f"{path}: expected a file of kind {KIND!r}, found {kind!r}; {anew}")
    if file.get("format") != FORMAT:
        found, by = file.get("format"), file.get("harness")
        raise BadCertificate(
            f"{path}: expected format {FORMAT}, found {found!r}; verify it with harness {by}, or {anew}"
        )
    sealed = {name: value for name, value in file.items() if name != "seal"}
    if file.get("seal") != _seal(sealed):
        raise BadCertificate(
            f"{path}: altered since it was written: expected what its seal was made of, found another text; {anew}"
        )
    return sealed


def cells_of(entries: Iterable[Entry]) -> list[Cell]:
    """The cells that entries speak of."""
    return [
        Cell(e["scenario"], e["strategy"], e["layout"], e["state"], Isolation(e["isolation"]), e["server"]["id"])
        for e in entries
    ]


def _seal(file: dict[str, Any]) -> str:
    return hashlib.sha256(
        json.dumps(file, sort_keys=True, ensure_ascii=False).encode(errors="backslashreplace")
    ).hexdigest()


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:12]
