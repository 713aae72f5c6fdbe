"""`harness hammer`: cells under truly concurrent sessions; `harness history`: what each of their calls was told."""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console

from harness.campaign import hammer as campaign
from harness.campaign.campaign import Options, Selection, select
from harness.campaign.hammered import FaultOptions, HammerOptions, HammerReport, HammerResult, Racing
from harness.cli.explore import FOUND, INTERRUPTED, UNABLE, why
from harness.cli.options import consoles, debug, duration, isolation, no_color, number_of_sessions, report_file, servers
from harness.model.cell import Isolation, parse_pattern
from harness.model.fault import FaultKind
from harness.model.verdict import Verdict
from harness.reports.files import write_whole
from harness.reports.hammered import findings_text, hammered_json, hammered_text, hammered_totals
from harness.reports.hammering import Listener, hammering
from harness.runners.hammer import WINDOW
from harness.runners.history_file import HistoryWriter, Recorded, read
from harness.scenario.check import check
from harness.scenario.discovery import find
from harness.servers.choose import running
from harness.servers.server import SameVersion, Server, told_apart

SESSIONS_MAX = 64
WANTED = ("worst", "all", "none")


@click.command()
@click.argument("cells", metavar="[CELL]...", nargs=-1)
@servers
@click.option(
    "--isolation", "isolations", multiple=True, type=isolation, metavar="LEVEL", help="Only this level. Repeatable."
)
@click.option("--layout", "layouts", multiple=True, metavar="NAME", help="Only this layout. Repeatable.")
@click.option("--state", "states", multiple=True, metavar="NAME", help="Only this start state. Repeatable.")
@click.option(
    "--sessions", type=number_of_sessions, metavar="N", default="8", show_default=True, help="At once; up to 64."
)
@click.option("--seconds", type=duration, metavar="TIME", default="10s", show_default=True, help="Of each cell.")
@click.option("--budget", type=duration, metavar="TIME", help="For all cells together: 30s, 2m.")
@click.option("--rounds", type=click.IntRange(1), metavar="N", help="Of each cell, at most.")
@click.option("--seed", type=int, metavar="N", default=0, show_default=True, help="Of which contest each round takes.")
@click.option(
    "--window",
    type=click.IntRange(1),
    metavar="N",
    default=WINDOW,
    show_default=True,
    help="Rounds that a session may be ahead of the slowest: with 1 all begin together, with more it goes faster.",
)
@click.option("--history", type=report_file, metavar="FILE", help="Keep what every call was told, for harness history.")
@click.option(
    "--witnesses", type=click.Choice(WANTED), default="worst", show_default=True, help="Of what findings to print one."
)
@click.option("--faults", "with_faults", is_flag=True, help="Hurt sessions, processes and the server meanwhile.")
@click.option(
    "--fault",
    "kinds",
    multiple=True,
    type=click.Choice([str(kind) for kind in FaultKind]),
    help="Only faults of this kind. Repeatable; implies --faults.",
)
@click.option("--each", type=click.IntRange(1), metavar="N", help="Faults of each kind, in each cell; it ends then.")
@click.option("--no-hand-over", "hand_over", is_flag=True, default=True, flag_value=False, help="Rates only.")
@click.option("--json", "json_file", type=report_file, metavar="FILE", help="Write everything for another program.")
@no_color
@debug
def hammer(
    cells: tuple[str, ...],
    servers: tuple[str, ...],
    isolations: tuple[Isolation, ...],
    layouts: tuple[str, ...],
    states: tuple[str, ...],
    sessions: int,
    seconds: float,
    budget: float | None,
    rounds: int | None,
    seed: int,
    window: int,
    history: Path | None,
    witnesses: str,
    with_faults: bool,
    kinds: tuple[str, ...],
    each: int | None,
    hand_over: bool,
    json_file: Path | None,
    no_color: bool,
) -> int:
    """Many sessions at once on the same fresh keys, round after round, on each CELL; a rate for what goes wrong.

    What is found by luck is handed to the explorer, which finds the shortest interleaving that shows it every time.
    Nothing found is no proof: that is what 'harness explore' is for.
    """
    if sessions > SESSIONS_MAX:
        raise click.UsageError(f"sessions={sessions}: expected at most {SESSIONS_MAX}")
    if each is not None and not (with_faults or kinds):
        raise click.UsageError(f"--each {each}: of what? expected --faults or --fault KIND beside it")
    faults = FaultOptions(kinds=tuple(map(FaultKind, kinds)), each=each) if with_faults or kinds else None
    options = HammerOptions(
        sessions=sessions,
        seconds=seconds,
        budget_s=budget,
        rounds=rounds,
        seed=seed,
        layouts=layouts,
        states=states,
        isolations=isolations,
        window=window,
        hand_over=hand_over,
        faults=faults,
    )
    out, aside = consoles(no_color=no_color)
    return run(cells, servers or ("auto",), options, history, witnesses, json_file, out, aside)


def run(
    patterns: Sequence[str],
    specs: Sequence[str],
    options: HammerOptions,
    history: Path | None,
    witnesses: str,
    json_file: Path | None,
    out: Console,
    aside: Console,
) -> int:
    """Hammer, print, write; the exit code."""
    for pattern in map(parse_pattern, patterns or [""]):  # a mistake is told before any server is started
        for scenario in find(pattern.source):
            check(scenario)
    with ExitStack() as stack:
        historian = stack.enter_context(HistoryWriter(history) if history else nullcontext())
        started = _start(stack, specs, out)
        selected = Options(layouts=options.layouts, states=options.states, isolations=options.isolations)
        selections = select(patterns, selected, [server.id for server in started])
        heard = _Heard(selections)
        broken: BaseException | None = None
        try:
            with hammering(aside) as listener:
                report = campaign.hammer(selections, started, options, heard.along_with(listener), historian)
        except (KeyboardInterrupt, Exception) as error:  # what was found so far is told all the same
            if not heard.results and isinstance(error, Exception):
                raise
            report, broken = heard.report(started, options, why(error)), error
    _tell(report, witnesses, out)
    if json_file is not None:
        write_whole(json_file, json.dumps(hammered_json(report), indent=1, ensure_ascii=False) + "\n")
    if isinstance(broken, Exception):
        raise broken
    return INTERRUPTED if broken else _exit_code(report.cells)


def _start(stack: ExitStack, specs: Sequence[str], out: Console) -> list[Server]:
    try:
        started = told_apart([stack.enter_context(running(spec, purpose="hammer")) for spec in specs])
    except SameVersion as same:
        raise click.UsageError(str(same)) from None
    for server in started:
        out.print(f"{server.id}: {server.describe()}", soft_wrap=True)
    return started


@dataclass
class _Heard:
    """What is known so far: the report of a run that comes to no end of its own."""

    selections: Sequence[Selection]
    results: list[HammerResult] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def along_with(self, listener: Listener) -> Listener:
        def hear(event: HammerResult | Racing) -> None:
            if isinstance(event, HammerResult):
                self.results.append(event)
            listener(event)

        return hear

    def report(self, started: Sequence[Server], options: HammerOptions, why: str) -> HammerReport:
        count = sum(len(selection.cells) for selection in self.selections)
        warning = f"{why}: {len(self.results)} of {count} cells were hammered"
        return HammerReport(tuple(self.results), tuple(started), options, (warning,), time.monotonic() - self.began)


def _tell(report: HammerReport, witnesses: str, out: Console) -> None:
    out.print()
    out.print(hammered_text(report), end="", soft_wrap=True)
    for block in findings_text(report, witnesses):
        out.print()
        out.print(block, soft_wrap=True)
    out.print()
    for warning in report.warnings:
        out.print(f"warning: {warning}", soft_wrap=True)
    out.print(hammered_totals(report), soft_wrap=True)


def _exit_code(results: Sequence[HammerResult]) -> int:
    """As of `harness explore`."""
    worse = [result for result in results if not result.as_expected]
    if any(result.verdict is not Verdict.UNKNOWN for result in worse):
        return FOUND
    return UNABLE if worse or not results else 0


# ---- history


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--cell", metavar="TEXT", help="Only cells whose id contains this.")
@click.option("--round", "number", type=int, metavar="N", help="One round, in the order of time, with who met whom.")
@click.option("--session", type=click.IntRange(1), metavar="N", help="Only this session.")
@click.option("--key", type=int, metavar="N", help="Only rounds whose keys are numbered from here.")
@click.option("--answer", metavar="TEXT", help="Only answers that contain this: 23505, 'told True'.")
@click.option("--limit", type=click.IntRange(1), metavar="N", default=40, show_default=True, help="Calls to print.")
@no_color
@debug
def history(
    file: Path,
    cell: str | None,
    number: int | None,
    session: int | None,
    key: int | None,
    answer: str | None,
    limit: int,
    no_color: bool,
) -> int:
    """Show what 'harness hammer --history FILE' kept: which call began and ended when, and what it was told."""
    out, _ = consoles(no_color=no_color)

    def wanted(call: Recorded) -> bool:
        return (
            (cell is None or cell in call.cell)
            and (number is None or call.round == number)
            and (session is None or call.session == session - 1)
            and (key is None or call.key == key)
            and (answer is None or answer in call.answer)
        )

    found: list[Recorded] = []
    count = 0
    for call in read(file):
        if wanted(call):
            count += 1
            if len(found) < limit:
                found.append(call)
    for line in history_lines(found):
        out.print(line, soft_wrap=True)
    out.print(f"{count:,} calls{f', the first {limit} of them shown' if count > limit else ''}")
    return 0 if count else UNABLE


def history_lines(calls: Sequence[Recorded]) -> list[str]:
    """A heading for each round, its calls in the order in which they began; times in microseconds within the round."""
    lines: list[str] = []
    rounds: dict[tuple[str, int], list[Recorded]] = {}
    for call in calls:
        rounds.setdefault((call.cell, call.round), []).append(call)
    above = ""
    for (cell, number), mine in rounds.items():
        if cell != above:
            lines.append(cell)
            above = cell
        first = min(call.began_ns for call in mine)
        lines.append(f"  round {number}, keys from {mine[0].key}")
        for call in sorted(mine, key=lambda call: (call.began_ns, call.session)):
            times = f"{(call.began_ns - first) / 1000:9.0f} {(call.ended_ns - first) / 1000:9.0f} us"
            lines.append(f"    {times}  s{call.session + 1:<2} {call.call}: {call.answer}")
    return lines
