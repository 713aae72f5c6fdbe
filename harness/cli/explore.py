"""`harness explore`: a verdict for each cell, a witness for each finding that no rule covers."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
from click.core import ParameterSource
from rich.console import Console

from harness.campaign import campaign
from harness.campaign.advise import Wish
from harness.campaign.campaign import Listener, Note, Options, Progress, Report, Selection, select
from harness.campaign.search import NONDETERMINISM, PORTFOLIO, SCHEDULERS
from harness.campaign.store import Store, settled_store
from harness.cli.advising import advised
from harness.cli.options import (
    consoles,
    debug,
    duration,
    isolation,
    no_color,
    number_of_sessions,
    report_file,
    servers,
)
from harness.cli.options import store as store_options
from harness.cli.verify import verify
from harness.model.cell import Isolation, parse_pattern
from harness.model.schedule import Gates
from harness.model.verdict import CellResult, Verdict
from harness.reports.certificate import certificate, why_not
from harness.reports.files import write_whole
from harness.reports.html import html_report
from harness.reports.json_report import json_report
from harness.reports.junit import junit_report
from harness.reports.markdown import markdown_report
from harness.reports.picks import WANTED, Wanted, picks
from harness.reports.progress import progress
from harness.reports.summary import counted, coverage_lines, totals, unexpected_lines
from harness.reports.verdicts import verdict_tables, verdict_text
from harness.reports.versions import version_lines
from harness.reports.witness import witness
from harness.scenario.check import check
from harness.scenario.discovery import find
from harness.servers.choose import running
from harness.servers.server import SameVersion, Server, told_apart

FOUND, UNABLE, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go besides the terminal."""

    witnesses: Wanted
    json: Path | None
    html: Path | None
    markdown: Path | None
    junit: Path | None
    certificate: Path | None = None
    variations: bool = True
    repairs: bool = False


@click.command()
@click.argument("cells", metavar="[CELL]...", nargs=-1)
@servers
@click.option(
    "--isolation", "isolations", multiple=True, type=isolation, metavar="LEVEL", help="Only this level. Repeatable."
)
@click.option("--layout", "layouts", multiple=True, metavar="NAME", help="Only this layout. Repeatable.")
@click.option("--state", "states", multiple=True, metavar="NAME", help="Only this start state. Repeatable.")
@click.option(
    "--sessions", type=number_of_sessions, metavar="N", default="2", show_default=True, help="Clients of one contest."
)
@click.option(
    "--budget", type=duration, metavar="TIME", help="Time for everything together: 30s, 2m. What is left is unknown."
)
@click.option(
    "--orders",
    type=click.IntRange(1),
    metavar="N",
    default=4000,
    show_default=True,
    help="Of one contest at most, those with few preemptions first. Beyond it a cell is not exhaustive.",
)
@click.option(
    "--scheduler",
    type=click.Choice(SCHEDULERS),
    default=PORTFOLIO,
    show_default=True,
    help="Who goes next; docs/schedulers.md says what each finds. nondeterminism runs every schedule twice.",
)
@click.option("--seed", type=int, metavar="N", default=0, show_default=True, help="Of what is drawn.")
@click.option(
    "--gates",
    type=click.Choice([gates.name.lower() for gates in Gates]),
    default=Gates.USUAL.name.lower(),
    show_default=True,
    help="Where to switch sessions inside statements; all: also after they wrote.",
)
@click.option(
    "--overlaps",
    type=click.IntRange(1),
    metavar="N",
    default=1000,
    show_default=True,
    help="Runs without gates, at most, to confirm a finding that needed one.",
)
@click.option(
    "--examples",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    show_default=True,
    help="Also draw N contests in each cell that passes: 2 to 5 sessions, several calls, more keys, other values.",
)
@click.option("--faults", is_flag=True, help="Also let one client fail: cancelled, cut off, its answer lost.")
@click.option("--no-gates", "gates", flag_value="none", help="Between statements only; the same as --gates none.")
@click.option(
    "--workers", type=click.IntRange(0), metavar="N", help="Processes; 0 runs all in this one. Default: one per CPU."
)
@click.option(
    "--witnesses",
    type=click.Choice(WANTED),
    default="worst",
    show_default=True,
    help="Interleavings to print: of findings that no rule covers, the most telling of each scenario, all, none.",
)
@click.option(
    "--try-repairs",
    is_flag=True,
    help="Run the other strategies and layouts on each interleaving that is printed, and say which survive.",
)
@click.option("--no-variations", is_flag=True, help="Do not find out which parts of these do not matter.")
@click.option("--json", "json_file", type=report_file, metavar="FILE", help="Write everything for another program.")
@click.option("--html", "html_file", type=report_file, metavar="FILE", help="Write one page with every witness.")
@click.option("--markdown", "markdown_file", type=report_file, metavar="FILE", help="Write a page as GitHub shows it.")
@click.option(
    "--junit", "junit_file", type=report_file, metavar="FILE", help="Write a case for each cell, for a build server."
)
@click.option(
    "--certificate",
    "certificate_file",
    type=report_file,
    metavar="FILE",
    help="Write what was explored to its end and passed, with all that this rests on.",
)
@click.option(
    "--verify",
    "verify_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Run the cells of a certificate again, and compare.",
)
@store_options
@no_color
@debug
@click.pass_context
def explore(
    context: click.Context,
    cells: tuple[str, ...],
    servers: tuple[str, ...],
    isolations: tuple[Isolation, ...],
    layouts: tuple[str, ...],
    states: tuple[str, ...],
    sessions: int,
    budget: float | None,
    orders: int,
    scheduler: str,
    seed: int,
    gates: str,
    examples: int,
    faults: bool,
    overlaps: int,
    workers: int | None,
    witnesses: Wanted,
    try_repairs: bool,
    no_variations: bool,
    json_file: Path | None,
    html_file: Path | None,
    markdown_file: Path | None,
    junit_file: Path | None,
    certificate_file: Path | None,
    verify_file: Path | None,
    store: str | None,
    no_store: bool,
    no_color: bool,
) -> int:
    """Run every interleaving within bounds; a verdict for each CELL."""
    if verify_file is not None:
        _only_what_a_certificate_leaves_open(context)
        return verify(verify_file, servers, workers, budget, *consoles(no_color=no_color))
    options = Options(
        sessions=sessions,
        budget_s=budget,
        orders_max=orders,
        scheduler=scheduler,
        seed=seed,
        gates=Gates[gates.upper()],
        examples=examples,
        faults=faults,
        overlaps=overlaps,
        workers=workers,
        layouts=layouts,
        states=states,
        isolations=isolations,
        plans=certificate_file is not None,
    )
    outputs = Outputs(
        witnesses, json_file, html_file, markdown_file, junit_file, certificate_file, not no_variations, try_repairs
    )
    folder = settled_store(store, off=no_store)
    kept = None if folder is None else Store(folder)
    return run(cells, servers or ("auto",), options, outputs, *consoles(no_color=no_color), kept)


_WITH_VERIFY = {"verify_file", "servers", "workers", "budget", "no_color"}


def _only_what_a_certificate_leaves_open(context: click.Context) -> None:
    """A certificate says which cells, and within which bounds."""
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
        if given and context.params.get(name) and name not in _WITH_VERIFY:
            word = parameter.opts[0] if isinstance(parameter, click.Option) else "CELL"
            raise click.UsageError(f"--verify takes no {word}: the file says what is run, and how")


def run(
    patterns: Sequence[str],
    specs: Sequence[str],
    options: Options,
    outputs: Outputs,
    out: Console,
    aside: Console,
    store: Store | None = None,
) -> int:
    """Explore, print, write; the exit code."""
    _load(patterns)
    with ExitStack() as stack:
        started = _start(stack, specs, out)
        selections = select(patterns, options, [server.id for server in started])
        heard = Heard(selections)
        broken: BaseException | None = None
        try:
            with progress(aside) as listener:
                report = campaign.explore(selections, started, options, heard.along_with(listener), store)
        except (KeyboardInterrupt, Exception) as error:  # what was found so far is told all the same
            if not heard.results and isinstance(error, Exception):
                raise
            report, broken = heard.report(started, options, why(error)), error
        if broken is None:
            scenarios = {selection.scenario.name: selection.scenario for selection in selections}
            wish, every = _wish(options, outputs, heard.began), bool(outputs.json or outputs.html)
            try:
                report = advised(report, scenarios, outputs.witnesses, wish, aside, every_hint=every)
            except (KeyboardInterrupt, Exception) as error:  # the findings are told all the same
                report, broken = replace(report, warnings=(f"no advice on the findings: {why(error)}",)), error
    tell(report, outputs.witnesses, out)
    if store is not None and store.summary():
        out.print(store.summary(), soft_wrap=True)
    write(report, selections, outputs)
    if outputs.certificate is not None:
        _certify(report, selections, outputs.certificate, out, whole=broken is None)
    if isinstance(broken, Exception):
        raise broken
    if broken:
        return INTERRUPTED
    unknown = any(result.verdict is Verdict.UNKNOWN and not result.as_expected for result in report.cells)
    return UNABLE if options.scheduler == NONDETERMINISM and unknown else exit_code(report.cells)


def _wish(options: Options, outputs: Outputs, began: float) -> Wish:
    """Within the time that is left of the budget."""
    spent = time.monotonic() - began
    return Wish(
        variations=outputs.variations,
        repairs=outputs.repairs,
        gates=options.gates,
        orders_max=options.orders_max,
        workers=options.workers,
        deadline=None if options.budget_s is None else time.time() + options.budget_s - spent,
    )


def why(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "ended by an error, told below"


def _load(patterns: Sequence[str]) -> None:
    """A mistake in a file or a name is told before any server is started."""
    for pattern in map(parse_pattern, patterns or [""]):
        for scenario in find(pattern.source):
            check(scenario)


def _start(stack: ExitStack, specs: Sequence[str], out: Console) -> list[Server]:
    try:
        started = told_apart([stack.enter_context(running(spec)) for spec in specs])
    except SameVersion as same:
        raise click.UsageError(str(same)) from None
    for server in started:
        out.print(f"{server.id}: {server.describe()}", soft_wrap=True)
    return started


@dataclass
class Heard:
    """What is known so far: the report of a run that comes to no end of its own."""

    selections: Sequence[Selection]
    results: list[CellResult] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def along_with(self, listener: Listener) -> Listener:
        def hear(event: CellResult | Progress | Note) -> None:
            if isinstance(event, CellResult):
                self.results.append(event)
            listener(event)

        return hear

    def report(self, started: Sequence[Server], options: Options, why: str) -> Report:
        cells = [cell for selection in self.selections for cell in selection.cells]
        order = {cell: number for number, cell in enumerate(cells)}
        results = sorted(self.results, key=lambda result: order[result.cell])
        warning = f"{why}: {len(results)} of {len(cells)} cells were explored"
        return Report(tuple(results), tuple(started), options, (warning,), (), time.monotonic() - self.began)


def tell(report: Report, wanted: Wanted, out: Console) -> None:
    """The report, for a person."""

    def line(text: str = "") -> None:
        out.print(text, soft_wrap=True)

    for table in verdict_tables(report):
        line()
        out.print(verdict_text(table), end="", soft_wrap=True)
        for covered in coverage_lines(table.results):
            line(covered)
    for worse in unexpected_lines(report.cells):
        line(worse)
    for pick in picks(report.cells, wanted):
        line()
        line(witness(pick.finding, pick.result.source))
        if pick.also:
            line(pick.also)
    line()
    for difference in version_lines(report):
        line(difference)
    for warning in report.warnings:
        line(f"warning: {warning}")
    for rule in report.stale:
        line(f"stale rule, met by no cell any more: {rule}")
    line(totals(report))


def write(report: Report, selections: Sequence[Selection], outputs: Outputs) -> None:
    operations = {selection.scenario.name: tuple(selection.scenario.operations) for selection in selections}
    if outputs.json is not None:
        write_whole(outputs.json, json_report(report, operations))
    if outputs.html is not None:
        write_whole(outputs.html, html_report(report))
    if outputs.markdown is not None:
        write_whole(outputs.markdown, markdown_report(report, outputs.witnesses))
    if outputs.junit is not None:
        write_whole(outputs.junit, junit_report(report))


def _certify(report: Report, selections: Sequence[Selection], path: Path, out: Console, *, whole: bool) -> None:
    if not whole:  # whether a strategy met anybody at all is known at the end only
        out.print(f"no certificate is written to {path}: the run did not come to its end", soft_wrap=True)
        return
    write_whole(path, certificate(report, selections))
    certified = sum(why_not(result) is None for result in report.cells)
    out.print(f"{counted(certified, 'cell')} of {len(report.cells)} certified in {path}", soft_wrap=True)


def exit_code(results: Sequence[CellResult]) -> int:
    """A finding weighs more than a cell that could not be judged: both are mended, but the finding is certain."""
    worse = [result for result in results if not result.as_expected]
    if any(result.verdict is not Verdict.UNKNOWN for result in worse):
        return FOUND
    return UNABLE if worse or not results else 0
