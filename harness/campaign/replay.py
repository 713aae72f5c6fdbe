"""A schedule line run again: does the same thing happen, and how many times out of how many?"""

import multiprocessing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.campaign.again import Steps, run_again, violation_of
from harness.campaign.explaining import explain
from harness.campaign.job import Arenas, current_cpu, explorers_for, under_watch
from harness.campaign.judge import Judge
from harness.campaign.recall import changed, enums_of
from harness.campaign.workers import how_it_ended
from harness.model.codec import CodecError, cell_of, decode
from harness.model.outcome import Outcome
from harness.model.schedule import Schedule
from harness.model.trace import Explained, Trace
from harness.model.verdict import Violation
from harness.runners.journal import SUFFIX, Journal, Running, read_journal
from harness.scenario.discovery import digest, find
from harness.scenario.errors import ScenarioError, known_ones
from harness.scenario.features import lacking
from harness.scenario.language import Scenario
from harness.schedulers.protocol import Departure
from harness.servers.server import Server, ServerError, major_of
from harness.sessions.steering import OutOfTime, Uncontrolled


class ReplayError(ValueError):
    """The line cannot be replayed here: what it needs, what was found, what to do."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """`hits` of `times` came to one and the same outcome, that of the first; departures say where the others left."""

    hits: int
    times: int
    departures: tuple[str, ...]
    trace: Trace
    outcome: Outcome | None
    violation: Violation | None
    explained: Explained | None = None  # where it was asked for, and something is wrong


def schedule_of(line: str, source: str | None = None) -> Schedule:
    """The schedule of a line, its enums those of the scenario. Raises CodecError, ScenarioError."""
    cell = cell_of(line)
    return decode(line, enums_of(s for s in find(source or cell.scenario) if s.name == cell.scenario))


def replay(
    schedule: Schedule,
    server: Server,
    times: int = 1,
    *,
    source: str | None = None,
    steps: Steps = (),
    digests: Mapping[str, str] | None = None,
    go_on: bool = False,
    open_ended: bool = False,
    journal: Journal | None = None,
    explained: bool = False,
) -> Replayed:
    """Run the schedule `times` times, each from truncated tables; if it is to be explained, once more.

    `steps` and `digests` are what a witness file knows besides its line: the statements that a departure is told in,
    and what the scenario consisted of. `go_on` follows it past a departure; `open_ended` says that only its beginning
    was recorded.

    Raises ReplayError when the scenario's tables, layout or operations are no longer those of the line, ScenarioError
    when there is no such scenario, strategy, layout or state.
    """
    with opened(schedule, server, source=source, digests=digests, journal=journal) as judge:
        replayed = _replay(schedule, judge, times, steps, go_on=go_on, open_ended=open_ended)
        if explained and replayed.outcome is not None:
            kind = replayed.violation.kind if replayed.violation else ""
            seen = explain(judge.explorer, judge.specification, schedule, replayed.outcome, kind)
            replayed = replace(replayed, explained=seen)
        return replayed


@contextmanager
def opened(
    schedule: Schedule,
    server: Server,
    *,
    source: str | None = None,
    digests: Mapping[str, str] | None = None,
    journal: Journal | None = None,
    whatever_changed: bool = False,
) -> Iterator[Judge]:
    """The judge of the schedule's cell, with the start state of its contest seen. Raises as `replay` does.

    `whatever_changed`: also where tables, layout or operations are no longer those of the line.
    """
    cell = schedule.cell
    scenario = next((s for s in find(source or cell.scenario) if s.name == cell.scenario), None)
    if scenario is None:
        raise ScenarioError(f"no scenario {cell.scenario} in {source}")
    strategy = next((s for s in scenario.strategies if s.name == cell.strategy), None)
    if strategy is None:
        raise _gone(scenario, "strategy", cell.strategy, "strategies", [s.name for s in scenario.strategies])
    if cell.layout not in scenario.layouts:
        raise _gone(scenario, "layout", cell.layout, "layouts", scenario.layouts)
    if cell.state not in scenario.states:
        raise _gone(scenario, "state", cell.state, "states", scenario.states)
    now = digest(scenario, cell.layout)
    if now != schedule.digest and not whatever_changed:
        raise ReplayError(
            f"{changed(digests or {}, scenario, cell.layout)} since this line was written: "
            f"expected digest {schedule.digest}, found {now}; explore the cell again: harness explore '{cell.id}'"
        )
    _refuse_what_the_server_lacks(scenario, cell.layout, server)
    if journal is not None:
        journal.at(cell, now, "")
    arenas = Arenas(current_cpu(), journal)
    try:
        with under_watch(arenas, "the replay"):
            explorer, specification = explorers_for(arenas, server, scenario, strategy, cell, gates=schedule.gates)
            retryable = frozenset(strategy.retryable_at(cell.isolation))
            explorer.start(schedule.contest)
            yield Judge(cell, explorer, specification, retryable, now)
    finally:
        arenas.close()


def _refuse_what_the_server_lacks(scenario: Scenario, layout: str, server: Server) -> None:
    parts = {"the tables": scenario.tables, f"layout {layout}": scenario.layouts[layout]}
    for part, ddl in parts.items():
        for feature in lacking(ddl, major_of(server.version_num)):
            raise ReplayError(
                f"{server.id} has no {feature.name}, which stands in {part} of {scenario.name} and came with "
                f"PostgreSQL {feature.major}: replay on that version or a later one"
            )


def _gone(scenario: Scenario, what: str, name: str, whats: str, known: Iterable[str]) -> ScenarioError:
    return ScenarioError(
        f"scenario {scenario.name} has no {what} {name!r} any more{known_ones(whats, name, known)}", *scenario.place
    )


def _replay(schedule: Schedule, judge: Judge, times: int, steps: Steps, *, go_on: bool, open_ended: bool) -> Replayed:
    first: Outcome | None = None
    trace: Trace = ()
    violation: Violation | None = None
    hits = 0
    departures: list[str] = []
    for _ in range(times):
        try:
            again = run_again(schedule, judge, steps, go_on=go_on, open_ended=open_ended)
        except (Departure, Uncontrolled, OutOfTime) as departure:
            departures.append(str(departure))
            continue
        if again.departure is not None:
            departures.append(f"{again.departure}; went on")
        if first is None:
            first, trace = again.outcome, again.recorder.trace
            violation = violation_of(schedule, judge, again)
        if again.outcome == first:
            hits += 1
    return Replayed(hits, times, tuple(dict.fromkeys(departures)), trace, first, violation)


# Of a process that died.


def replay_apart(running: Running, server: Server, times: int = 1, *, source: str | None = None) -> Replayed:
    """What a process died in, run again in a process of its own, which it may take with it as it did then.

    Its steps are followed as far as they were taken; then the running session goes on. Raises what `replay` raises, and
    ReplayError where it dies again, with the step.
    """
    with TemporaryDirectory(prefix="harness-") as folder:
        notes = Path(folder) / f"again{SUFFIX}"
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_replay_here, args=(theirs, notes, running, server, times, source), daemon=True
        )
        process.start()
        theirs.close()
        try:
            came_to = ours.recv()
        except EOFError:
            process.join()
            again = read_journal(notes.read_bytes()) if notes.exists() else None
            raise ReplayError(f"the process that ran it {how_it_ended(process.exitcode)}, {again or running}") from None
        finally:
            ours.close()
            process.join()
    if isinstance(came_to, Exception):
        raise came_to
    assert isinstance(came_to, Replayed)
    return came_to


def _replay_here(
    pipe: Connection, notes: Path, running: Running, server: Server, times: int, source: str | None
) -> None:
    journal = Journal(notes)
    try:
        assert running.cell is not None
        scenarios = [s for s in find(source or running.cell.scenario) if s.name == running.cell.scenario]
        schedule = running.schedule(enums_of(scenarios))
        assert schedule is not None
        came_to: object = replay(schedule, server, times, source=source, open_ended=True, journal=journal)
    except (ReplayError, ScenarioError, ServerError, CodecError) as error:
        came_to = error
    pipe.send(came_to)
