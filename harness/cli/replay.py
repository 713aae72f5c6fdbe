"""`harness replay`: a schedule line, or a file that holds one, run again."""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness.campaign.replay import Replayed
from harness.campaign.replay import replay as run_again
from harness.cli.advising import advised_replay
from harness.cli.options import consoles, debug, no_color, server_spec
from harness.model.codec import AnyEnum, cell_of, decode
from harness.model.schedule import Schedule
from harness.reports.differences import told
from harness.reports.elsewhere import elsewhere
from harness.reports.witness import interleaving, named
from harness.scenario.discovery import find
from harness.scenario.language import Scenario
from harness.scenario.parameters import Key, Tried
from harness.servers.choose import FORMS, running, settled
from harness.servers.embedded import WHEEL_MAJORS
from harness.servers.server import Server

UNABLE = 2
_LINE = re.compile(r"h\d+:\w+::\w+\[[\w,.-]+\]:[\w-]+")


@click.command()
@click.argument("witness", metavar="WITNESS_OR_LINE")
@click.option("--times", type=click.IntRange(1), default=1, show_default=True, help="How often.")
@click.option("--server", type=server_spec, metavar="SERVER", help=f"{FORMS}. Default: the version of the line.")
@click.option("--from", "source", type=click.Path(exists=True, dir_okay=False), help="The scenario's file.")
@click.option(
    "--try-repairs",
    is_flag=True,
    help="Run the scenario's other strategies and layouts on the same contest, and say which survive.",
)
@no_color
@debug
def replay(witness: str, times: int, server: str | None, source: str | None, try_repairs: bool, no_color: bool) -> int:
    """Run a schedule again, step by step: the line a finding ends with, or a file that holds such lines.

    Exit code 0 if every run took the recorded steps and came to one outcome, 2 if one departed from them.
    """
    out, _ = consoles(no_color=no_color)
    lines = lines_of(witness)
    code = 0
    for number, line in enumerate(lines):
        if number:
            out.print()
        code = max(code, _replay(line, times, server, source, out, try_repairs=try_repairs))
    return code


def lines_of(witness: str) -> list[str]:
    """The line itself, or every line that stands in the file of that name, each once."""
    path = Path(witness)
    if re.match(r"\s*['\"]?h\d+:", witness) or not _is_file(path):
        cell_of(witness)  # raises CodecError, which says what is wrong with it
        return [witness]
    found = list(dict.fromkeys(_LINE.findall(path.read_text(encoding="utf-8", errors="replace"))))
    if not found:
        raise click.UsageError(f"{witness}: no schedule line (h1:...) in this file")
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for a file
        return False


def _replay(line: str, times: int, spec: str | None, source: str | None, out: Console, *, try_repairs: bool) -> int:
    cell = cell_of(line)
    scenarios = [scenario for scenario in find(source or cell.scenario) if scenario.name == cell.scenario]
    schedule = decode(line, _enums(scenarios))
    with running(spec or _recorded_on(cell.server)) as server:
        out.print(f"{server.id}: {server.describe()}", soft_wrap=True)
        replayed = run_again(schedule, server, times, source=source)
        advice = advised_replay(schedule, replayed, scenarios[0], server, try_repairs=try_repairs)
    for text in describe(schedule, server, replayed, advice):
        out.print(text, soft_wrap=True)
    return 0 if replayed.hits == times else UNABLE


def _recorded_on(server: str) -> str:
    """The embedded server of the line's major version, where nothing else was asked for and there is one."""
    major = server.removeprefix("pg").partition(".")[0]
    return f"embedded:{major}" if settled("auto")[0].provider == "auto" and major in WHEEL_MAJORS else "auto"


def describe(schedule: Schedule, server: Server, replayed: Replayed, advice: Sequence[str] = ()) -> list[str]:
    lines = [f"{schedule.cell.id}, start state '{schedule.contest.state}', {schedule.contest.pattern}"]
    if replayed.outcome is not None:
        lines.append(interleaving(named(replayed.trace, replayed.outcome), len(schedule.contest.sessions)))
        lines += told(schedule.contest, replayed.outcome)
        violation = replayed.violation
        lines.append(
            f"{violation.name}: {violation.explanation}" if violation else "no violation: the outcome is allowed"
        )
    lines += [f"departure: {departure}" for departure in replayed.departures]
    lines += elsewhere(schedule, server, replayed)
    return [*lines, *advice, f"replayed to the same outcome: {replayed.hits}/{replayed.times}"]


def _enums(scenarios: list[Scenario]) -> AnyEnum:
    """The enums that the scenario's parameters speak of."""
    known: dict[str, Mapping[str, object]] = {
        type(value).__name__: type(value).__members__ for value in _values(scenarios) if isinstance(value, Enum)
    }
    return lambda name, member: known[name][member]


def _values(scenarios: list[Scenario]) -> list[Any]:
    meanings = [m for scenario in scenarios for o in scenario.operations.values() for m in o.parameters.values()]
    return [value for meaning in meanings if isinstance(meaning, Key | Tried) for value in meaning.values]
