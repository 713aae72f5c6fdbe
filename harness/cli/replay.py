"""`harness replay`: a witness file, a schedule line, or what a process died in, run again."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from harness.campaign.recall import enums_of
from harness.campaign.replay import Replayed, ReplayError, replay_apart
from harness.campaign.replay import replay as run_again
from harness.campaign.store import scenario_of
from harness.campaign.witness_file import Witness, WitnessError, is_witness, read_witness
from harness.cli.advising import advised_replay
from harness.cli.options import consoles, debug, no_color, server_spec
from harness.model.codec import cell_of, decode
from harness.model.schedule import Schedule
from harness.model.verdict import Finding
from harness.reports.details import details
from harness.reports.differences import told
from harness.reports.elsewhere import elsewhere
from harness.reports.story import paragraph
from harness.reports.witness import WIDTH, interleaving, named
from harness.runners.journal import Running, is_journal, read_journal
from harness.scenario.discovery import find
from harness.servers.choose import FORMS, recorded_on, running
from harness.servers.server import Server

FOUND, UNABLE = 1, 2
_LINE = re.compile(r"h\d+:\w+::\w+\[[\w,.-]+\]:[\w-]+")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One schedule to be run again, and what is known besides its line."""

    line: str | None  # None: that of a process that died, which may be without one
    source: str | None = None  # the scenario's file
    witness: Witness | None = None
    died: Running | None = None  # what a process was at when it died

    def schedule(self, source: str | None = None) -> Schedule:
        """Raises ReplayError where a process died in what cannot be written down, CodecError, ScenarioError."""
        if self.line is None:
            raise ReplayError(
                "this cannot be run again: the journal has no schedule line, for an argument without a form"
            )
        cell = cell_of(self.line)
        scenarios = [s for s in find(source or self.source or cell.scenario) if s.name == cell.scenario]
        enums = enums_of(scenarios)
        if self.died is None:
            return self.witness.schedule(enums) if self.witness else decode(self.line, enums)
        schedule = self.died.schedule(enums)
        if schedule is None:
            raise ReplayError(
                f"what ran has no order that could be run again; explore the cell: harness explore '{cell.id}'"
            )
        return schedule


@dataclass(frozen=True, slots=True)
class Wanted:
    """How it is to be run again, and what is to be told."""

    times: int
    server: str | None
    source: str | None
    go_on: bool
    explain: bool
    try_repairs: bool


@click.command()
@click.argument("witness", metavar="WITNESS")
@click.option("--times", type=click.IntRange(1), default=1, show_default=True, help="How often.")
@click.option(
    "--go-on", is_flag=True, help="Past a departure: recorded choices where possible; judge what comes of it."
)
@click.option("--server", type=server_spec, metavar="SERVER", help=f"{FORMS}. Default: the version of the line.")
@click.option("--from", "source", type=click.Path(exists=True, dir_okay=False), help="The scenario's file.")
@click.option("--explain", is_flag=True, help="What each statement saw, waited for and left, and what went wrong.")
@click.option(
    "--try-repairs",
    is_flag=True,
    help="Run the scenario's other strategies and layouts on the same contest, and say which survive.",
)
@no_color
@debug
def replay(
    witness: str,
    times: int,
    go_on: bool,
    server: str | None,
    source: str | None,
    explain: bool,
    try_repairs: bool,
    no_color: bool,
) -> int:
    """Run a schedule again, step by step.

    WITNESS is a witness file, the line a finding ends with, a file that holds such lines, or the journal of a process
    that died (.harness/running/).

    Exit code 0 if every run took the recorded steps and came to one outcome, for a witness file the kind it tells of; 2
    if not. With --go-on a run that departs is judged instead: 1 if it shows a violation, 0 if it does not.
    """
    out, _ = consoles(no_color=no_color)
    code = 0
    for number, recorded in enumerate(recorded_in(witness)):
        if number:
            out.print()
        wanted = Wanted(times, server, source or recorded.source, go_on, explain, try_repairs)
        code = max(code, _replay(recorded, wanted, out))
    return code


def recorded_in(argument: str) -> list[Recorded]:
    """What an argument names: a line, or what stands in the file of that name.

    Raises CodecError, UsageError, WitnessError, JournalError.
    """
    path = Path(argument)
    if re.match(r"\s*['\"]?h\d+:", argument) or not _is_file(path):
        cell_of(argument)  # raises CodecError, which says what is wrong with it
        return [Recorded(argument)]
    data = path.read_bytes()
    if is_journal(data):
        died = read_journal(data)
        if died is None:
            raise click.UsageError(f"{path}: nothing had begun to run when this journal was left")
        return [Recorded(died.line, scenario_of(path, died.scenario_file), died=died)]
    text = data.decode(errors="replace")
    if is_witness(text):
        try:
            witness = read_witness(text)
        except WitnessError as error:
            raise WitnessError(f"{path}: {error}") from error
        return [Recorded(witness.line, scenario_of(path, witness.scenario_file), witness)]
    lines = list(dict.fromkeys(_LINE.findall(text)))
    if not lines:
        raise click.UsageError(f"{argument}: no schedule line (h1:...) in this file")
    return [Recorded(line) for line in lines]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for a file
        return False


def _replay(recorded: Recorded, wanted: Wanted, out: Console) -> int:
    died, witness, source = recorded.died, recorded.witness, wanted.source
    if died is not None:
        out.print(f"{died.cell_id}: the process died {died}", soft_wrap=True)
    schedule = recorded.schedule(source)
    with running(wanted.server or recorded_on(schedule.cell.server)) as server:
        out.print(f"{server.id}: {server.describe()}", soft_wrap=True)
        if died is not None:
            replayed = replay_apart(died, server, wanted.times, source=source)
        else:
            steps, digests = (witness.steps, witness.digests) if witness else ((), None)
            replayed = run_again(
                schedule, server, wanted.times,
                source=source, steps=steps, digests=digests, go_on=wanted.go_on, explained=wanted.explain,
            )  # fmt: skip
        # What a process died in is not run once more in this one.
        tries = wanted.try_repairs and died is None
        advice = advised_replay(schedule, replayed, source or recorded.source, server, try_repairs=tries)
    lines = describe(schedule, server, replayed, witness, advice)
    if wanted.explain:
        lines += explanation(schedule, replayed)
    for text in lines:
        out.print(text, soft_wrap=True)
    return _code(replayed, wanted.times, witness, go_on=wanted.go_on or died is not None)


def _code(replayed: Replayed, times: int, witness: Witness | None, *, go_on: bool) -> int:
    if replayed.hits != times:
        return UNABLE
    if go_on and replayed.departures:
        return FOUND if replayed.violation else 0
    return UNABLE if witness and _no_longer(replayed, witness) else 0


def _no_longer(replayed: Replayed, witness: Witness) -> bool:
    return replayed.violation is None or replayed.violation.name != witness.kind


def describe(
    schedule: Schedule, server: Server, replayed: Replayed, witness: Witness | None = None, advice: Sequence[str] = ()
) -> list[str]:
    lines = [f"{schedule.cell.id}, start state '{schedule.contest.state}', {schedule.contest.pattern}"]
    if replayed.outcome is not None:
        lines.append(interleaving(named(replayed.trace, replayed.outcome), len(schedule.contest.sessions)))
        lines += told(schedule.contest, replayed.outcome)
        violation = replayed.violation
        lines.append(
            f"{violation.name}: {violation.explanation}" if violation else "no violation: the outcome is allowed"
        )
        if witness and _no_longer(replayed, witness):
            lines.append(f"recorded was {witness.kind}: {witness.explanation}")
    lines += [*advice, *(f"departure: {departure}" for departure in replayed.departures)]
    lines += elsewhere(schedule, server, replayed)
    return [*lines, f"replayed to the same outcome: {replayed.hits}/{replayed.times}"]


def explanation(schedule: Schedule, replayed: Replayed) -> list[str]:
    """The story, and each statement in full."""
    if replayed.explained is None or replayed.outcome is None:
        return ["", "not explained: it did not come to the same outcome while it was watched"]
    violation, seen = replayed.violation, replayed.explained
    told: list[str] = []
    if violation is not None:
        finding = Finding(violation, schedule.contest, schedule, (), replayed.outcome, (), explained=seen)
        told = paragraph(finding, WIDTH)
    return ["", *told, *([""] if told else []), *details(seen.observed)]
