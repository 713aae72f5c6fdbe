"""`harness compare`: the strategies of a scenario side by side, safe or not, with what each costs."""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from harness.campaign.campaign import Progress
from harness.campaign.compare import CompareOptions, Comparing, Servers, key_parts
from harness.campaign.hammer import hammer
from harness.campaign.kept import FOLDER, InUse, Kept, key
from harness.campaign.workers import WorkerExecutor
from harness.cli.explore import why
from harness.cli.options import consoles, debug, duration, isolation, no_color, report_file, servers
from harness.model.cell import Isolation, parse_pattern
from harness.model.comparison import Comparison, Judged
from harness.model.verdict import Verdict
from harness.reports.comparison import comparison_text
from harness.reports.comparison_files import comparison_json, comparison_markdown
from harness.reports.files import write_whole
from harness.reports.progress import progress
from harness.scenario.check import check
from harness.scenario.discovery import file_digest, find
from harness.scenario.errors import ScenarioError, listed
from harness.scenario.language import Scenario
from harness.servers.choose import running, settled
from harness.servers.server import SameVersion, told_apart

UNABLE, INTERRUPTED = 2, 130


@click.command()
@click.argument("scenario", metavar="SCENARIO")
@servers
@click.option(
    "--isolation",
    "isolations",
    multiple=True,
    type=isolation,
    metavar="LEVEL",
    help="Only this level, and what costs there. Repeatable. Default: every level, costs at read committed.",
)
@click.option("--layout", "layouts", multiple=True, metavar="NAME", help="Only this layout. Repeatable.")
@click.option("--state", "states", multiple=True, metavar="NAME", help="Only this start state. Repeatable.")
@click.option(
    "--budget", type=duration, metavar="TIME", default="3m", show_default=True, help="Time for everything together."
)
@click.option(
    "--clients", type=click.IntRange(1, 64), metavar="N", default=4, show_default=True, help="While costs are measured."
)
@click.option("--seed", type=int, metavar="N", default=0, show_default=True, help="Of workloads and orders.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Processes that explore. Default: one per CPU.")
@click.option("--resume", is_flag=True, help="Spend the budget on top of a comparison that came to its end, too.")
@click.option("--fresh", is_flag=True, help="Begin anew, whatever an earlier comparison has left.")
@click.option("--json", "json_file", type=report_file, metavar="FILE", help="Write everything for another program.")
@click.option("--markdown", "markdown_file", type=report_file, metavar="FILE", help="Write a page as GitHub shows it.")
@no_color
@debug
def compare(
    scenario: str,
    servers: tuple[str, ...],
    isolations: tuple[Isolation, ...],
    layouts: tuple[str, ...],
    states: tuple[str, ...],
    budget: float,
    clients: int,
    seed: int,
    workers: int | None,
    resume: bool,
    fresh: bool,
    json_file: Path | None,
    markdown_file: Path | None,
    no_color: bool,
) -> int:
    """Which strategy of SCENARIO is safe where, what each costs, and which to take.

    What is found out is kept in .harness/compare as it comes: a run that was stopped goes on where it was.
    """
    if resume and fresh:
        raise click.UsageError("--resume goes on and --fresh begins anew: take one of them")
    options = CompareOptions(
        budget_s=budget, isolations=isolations, layouts=layouts, states=states, clients=clients, seed=seed
    )
    began = time.time()
    out, aside = consoles(no_color=no_color)
    meant = _one(scenario)
    with ExitStack() as stack:
        both = _start(stack, servers or ("auto",), out)
        kept = Kept(FOLDER / f"{meant.name}-{key(key_parts(file_digest(meant), both, options))}.jsonl")
        try:
            stack.enter_context(kept)
        except InUse as used:
            raise ScenarioError(str(used)) from None
        _go_on_or_begin(kept, out, resume=resume, fresh=fresh)
        executor = WorkerExecutor(workers or _cpus())
        stack.callback(executor.shutdown, cancel_futures=True)
        with progress(aside) as listener:

            def listen(event: Judged | Progress) -> None:
                if isinstance(event, Progress):
                    listener(event)

            comparing = Comparing(scenario, both, options, kept, executor, listen, began=began, hammering=hammer)
            broken: BaseException | None = None
            try:
                compared = comparing.run()
            except (KeyboardInterrupt, Exception) as error:  # what is known so far is told all the same
                broken, compared = error, comparing.result()
                compared = replace(compared, warnings=(*compared.warnings, why(error)))
    _tell(compared, out)
    _write(compared, json_file, markdown_file)
    if isinstance(broken, Exception):
        raise broken
    if broken:
        return INTERRUPTED
    return UNABLE if all(one.verdict is Verdict.UNKNOWN for one in compared.judged) else 0


def _one(pattern: str) -> Scenario:
    """A mistake in a file or a name is told before any server is started."""
    found = find(parse_pattern(pattern).source)
    for scenario in found:
        check(scenario)
    if len(found) != 1:
        names = listed(scenario.name for scenario in found)
        raise click.UsageError(f"{pattern!r} has {len(found)} scenarios: compare one of {names}")
    return found[0]


def _start(stack: ExitStack, specs: Sequence[str], out: Console) -> list[Servers]:
    """Of each version two: one that gives up durability and is steered, one as it is in production."""
    measuring = [stack.enter_context(running(spec, purpose="hammer")) for spec in specs]
    exploring = []
    for spec, server in zip(specs, measuring, strict=True):
        parsed, _ = settled(spec)
        if parsed.provider == "dsn":
            exploring.append(server)
            continue
        # Where `auto` decides, the explorer alone would take another provider, and perhaps another version.
        same = f"container:{server.version}" if parsed.provider == "auto" and server.provider == "container" else spec
        exploring.append(stack.enter_context(running(same)))
    try:
        exploring, measuring = told_apart(exploring), told_apart(measuring)
    except SameVersion as same_version:
        raise click.UsageError(str(same_version)) from None
    for server in measuring:
        out.print(f"{server.id}: {server.describe()}", soft_wrap=True)
    return [
        Servers(explores, replace(measures, id=explores.id))
        for explores, measures in zip(exploring, measuring, strict=True)
    ]


def _go_on_or_begin(kept: Kept, out: Console, *, resume: bool, fresh: bool) -> None:
    if fresh or (kept.ended and not resume):
        kept.forget()
    elif not kept.empty:
        out.print(
            f"goes on with {len(kept.judged)} cells and {len(kept.measured)} blocks of {kept.path}; "
            "--fresh begins anew",
            soft_wrap=True,
        )


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tell(compared: Comparison, out: Console) -> None:
    out.print()
    out.print(comparison_text(compared), end="", soft_wrap=True)
    for warning in compared.warnings:
        out.print(f"warning: {warning}", soft_wrap=True)
    out.print(f"{len(compared.judged)} cells, {compared.elapsed_s:.0f} s, seed {compared.seed}", soft_wrap=True)


def _write(compared: Comparison, json_file: Path | None, markdown_file: Path | None) -> None:
    if json_file is not None:
        write_whole(json_file, comparison_json(compared))
    if markdown_file is not None:
        write_whole(markdown_file, comparison_markdown(compared))
