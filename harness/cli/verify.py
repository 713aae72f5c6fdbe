"""`harness explore --verify FILE`: the cells of a certificate run again, and what it says compared member by member."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.campaign import campaign
from harness.campaign.campaign import Options, Selection
from harness.model.cell import Cell
from harness.model.codec import CodecError, encode
from harness.model.schedule import Gates
from harness.model.verdict import CellResult, Verdict
from harness.reports.certificate import BadCertificate, Entry, cells_of, entry, read_certificate
from harness.reports.progress import progress
from harness.reports.summary import counted
from harness.reports.verification import first_difference
from harness.scenario.check import check
from harness.scenario.discovery import find
from harness.scenario.errors import ScenarioError
from harness.scenario.language import Scenario
from harness.servers.choose import running
from harness.servers.server import Server, ServerError, told_apart

HOLDS, DIFFERS, UNABLE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class _Again:
    """One certificate, and where its cell is run again."""

    certified: Entry
    cell: Cell  # on the server of today
    server: Server
    scenario: Scenario | None
    missing: str  # what the certificate names and is there no more; empty where all is there


def verify(
    path: Path, specs: Sequence[str], workers: int | None, budget_s: float | None, out: Console, aside: Console
) -> int:
    """Run it again and say of each certificate whether it holds; the exit code.

    Raises BadCertificate before any server is started, ServerError for a server that cannot be had.
    """
    file = read_certificate(path)
    try:
        certified: list[Entry] = file["certificates"]
        options = _options(file["options"], workers, budget_s)
        cells = cells_of(certified)
        written_by = str(file["harness"])
        specs = specs or list(dict.fromkeys(_spec(e["server"]) for e in certified))
    except (KeyError, TypeError, ValueError) as error:
        raise BadCertificate(f"{path}: sealed, and yet not as a certificate is: {error!r}; write it anew") from error
    if not certified:
        out.print(f"{path}: there is no certificate in it: nothing to verify", soft_wrap=True)
        return UNABLE
    scenarios = [_scenario(e) for e in certified]
    with ExitStack() as stack:
        started = told_apart([stack.enter_context(running(spec)) for spec in specs])
        for server in started:
            out.print(f"{server.id}: {server.describe()}", soft_wrap=True)
        agains = [
            _again(e, cell, scenario, started) for e, cell, scenario in zip(certified, cells, scenarios, strict=True)
        ]
        results = _explore(agains, started, options, aside)
    codes = [_tell(again, results.get(again.cell), written_by, out) for again in agains]
    held = codes.count(HOLDS)
    out.print(f"{counted(len(codes), 'certificate')}: {held} {'holds' if held == 1 else 'hold'}")
    return DIFFERS if DIFFERS in codes else max(codes)


def _options(written: dict[str, Any], workers: int | None, budget_s: float | None) -> Options:
    return Options(
        sessions=written["sessions"],
        gates=Gates[written["gates"].upper()],
        faults=written["faults"],
        orders_max=written["orders_max"],
        scheduler=written["scheduler"],
        seed=written["seed"],
        workers=workers,
        budget_s=budget_s,
        plans=True,
        again=True,
    )


def _spec(server: dict[str, Any]) -> str:
    """Where to find a server like the certified one. Raises ServerError where that cannot be known."""
    if server["provider"] in ("embedded", "container"):
        return f"{server['provider']}:{server['version'].partition('.')[0]}"
    form = "path:DIR" if server["provider"] == "path" else "postgresql://..."
    raise ServerError(
        f"certified on PostgreSQL {server['version']}, whose place is not in the file: expected --server {form}"
    )


# The cells of today.


def _scenario(certified: Entry) -> Scenario | None:
    """By the path that the certificate knows, else by its name; None where nobody has it. Others' mistakes are told."""
    for source in (certified["source"], certified["scenario"]):
        if source != certified["scenario"] and not Path(source).is_file():
            continue
        try:
            found = [scenario for scenario in find(source) if scenario.name == certified["scenario"]]
        except ScenarioError as error:
            if error.path is not None:
                raise
            continue
        if found:
            check(found[0])
            return found[0]
    return None


def _again(certified: Entry, cell: Cell, scenario: Scenario | None, started: Sequence[Server]) -> _Again:
    version = str(certified["server"]["version"])
    alike = [server for server in started if server.version == version]
    alike += [server for server in started if server.version.partition(".")[0] == version.partition(".")[0]]
    server = (alike or started)[0]
    return _Again(certified, replace(cell, server=server.id), server, scenario, _missing(cell, scenario))


def _missing(cell: Cell, scenario: Scenario | None) -> str:
    if scenario is None:
        return f"scenario: expected {cell.scenario}, found none of that name"
    there: tuple[tuple[str, str, Sequence[str]], ...] = (
        ("strategy", cell.strategy, [strategy.name for strategy in scenario.strategies]),
        ("layout", cell.layout, list(scenario.layouts)),
        ("start state", cell.state, list(scenario.states)),
    )
    for what, name, names in there:
        if name not in names:
            return f"{what}: expected {name}, found {', '.join(names)}"
    return ""


def _explore(
    agains: Sequence[_Again], started: Sequence[Server], options: Options, aside: Console
) -> dict[Cell, CellResult]:
    chosen: dict[str, tuple[Scenario, dict[Cell, None]]] = {}
    for again in agains:
        if again.scenario is not None and not again.missing:
            chosen.setdefault(again.cell.scenario, (again.scenario, {}))[1][again.cell] = None
    selections = [Selection(scenario, tuple(cells)) for scenario, cells in chosen.values()]
    if not selections:
        return {}
    with progress(aside) as listener:
        report = campaign.explore(selections, started, options, listener)
    return {result.cell: result for result in report.cells}


# What is told.


def _tell(again: _Again, result: CellResult | None, written_by: str, out: Console) -> int:
    code, lines = _compared(again, result, written_by)
    name = again.certified["cell"]
    first, *more = lines or [""]
    out.print(f"holds: {name}" if code == HOLDS else f"{name}: {first}", soft_wrap=True)
    for line in more:
        out.print(f"  {line}", soft_wrap=True)
    return code


def _compared(again: _Again, result: CellResult | None, written_by: str) -> tuple[int, list[str]]:
    if again.missing:
        return DIFFERS, [f"{again.missing}; if that was meant, certify anew what there is"]
    if result is None or again.scenario is None:
        return DIFFERS, [f"start state: expected {again.cell.state}, found that the layout forbids it; certify anew"]
    if result.verdict is Verdict.UNKNOWN:
        return UNABLE, [f"could not be verified: {result.reason}"]
    difference = first_difference(again.certified, entry(result, again.server, again.scenario), written_by=written_by)
    if difference is None:
        return HOLDS, []
    findings = [f"{f.violation.name}: {f.violation.explanation}" for f in result.findings]
    return DIFFERS, [str(difference), *findings, *_replays(result)]


def _replays(result: CellResult) -> list[str]:
    lines = []
    for finding in result.findings:
        try:
            lines.append(f"replay with: harness replay '{encode(finding.schedule)}' --from {result.source}")
        except CodecError as error:
            lines.append(f"no line replays it: {error}")
    return lines
