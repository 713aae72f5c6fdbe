"""A schedule line run again: does the same thing happen, and how many times out of how many?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.campaign.job import Arenas, current_cpu, explorers_for, under_watch
from harness.campaign.judge import Before, Judge
from harness.model.contest import OpRef
from harness.model.outcome import Outcome
from harness.model.schedule import Schedule
from harness.model.trace import Trace
from harness.model.verdict import Violation
from harness.runners.explorer import Trial
from harness.runners.recorder import Recorder
from harness.scenario.discovery import digest, find
from harness.scenario.errors import ScenarioError, known_ones
from harness.scenario.features import lacking
from harness.scenario.language import Scenario
from harness.schedulers.protocol import Departure
from harness.schedulers.replay import Replay
from harness.servers.server import Server, major_of
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


def replay(schedule: Schedule, server: Server, times: int = 1, *, source: str | None = None) -> Replayed:
    """Run the schedule `times` times, each from truncated tables.

    Raises ReplayError when the scenario's tables, layout or operations are no longer those of the line, ScenarioError
    when there is no such scenario, strategy, layout or state.
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
    if now != schedule.digest:
        raise ReplayError(
            f"the tables, the layout or the operations of {cell.scenario} have changed since this line was written: "
            f"expected digest {schedule.digest}, found {now}; explore the cell again: harness explore '{cell.id}'"
        )
    _refuse_what_the_server_lacks(scenario, cell.layout, server)
    arenas = Arenas(current_cpu())
    try:
        with under_watch(arenas, "the replay"):
            explorer, specification = explorers_for(arenas, server, scenario, strategy, cell, gates=schedule.gates)
            retryable = frozenset(strategy.retryable_at(cell.isolation))
            judge = Judge(cell, explorer, specification, retryable, now)
            explorer.start(schedule.contest)
            return _replay(schedule, judge, times)
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


def _replay(schedule: Schedule, judge: Judge, times: int) -> Replayed:
    first: Outcome | None = None
    trace: Trace = ()
    violation: Violation | None = None
    hits = 0
    departures: list[str] = []
    for _ in range(times):
        try:
            outcome, before, recorder, trial = _once(schedule, judge)
        except (Departure, Uncontrolled, OutOfTime) as departure:
            departures.append(str(departure))
            continue
        if first is None:
            first, trace = outcome, recorder.trace
            violation = judge.violation(schedule.contest, outcome, before, trial, schedule.fault)
        if outcome == first:
            hits += 1
    return Replayed(hits, times, tuple(dict.fromkeys(departures)), trace, first, violation)


def _once(schedule: Schedule, judge: Judge) -> tuple[Outcome, Before, Recorder, Trial | None]:
    explorer, contest = judge.explorer, schedule.contest
    recorder = Recorder()
    if schedule.alone:
        order = _order([choice.session for choice in schedule.choices])
        explorer.aged = schedule.aged
        try:
            outcome, recorder = explorer.record_serial(contest, order)
        finally:
            explorer.aged = False
        return outcome, frozenset((a, b) for i, a in enumerate(order) for b in order[i + 1 :]), recorder, None
    explorer.arena.gated = bool(schedule.gates)
    try:
        choices = [(c.session, c.options, c.event) for c in schedule.choices]
        trial = explorer.run(contest, Replay(choices), recorder=recorder, truncate=True, fault=schedule.fault)
    finally:
        explorer.arena.gated = False
    expected = [c.fingerprint for c in schedule.choices if c.event == "run"]
    for step, (was, now) in enumerate(zip(expected, recorder.fingerprints, strict=False), 1):
        if was and was != now:
            sent = next((e.statement for e in recorder.trace if e.step == step - 1), "")
            raise Departure(step, f"the statement that was recorded ({was})", f"another ({now}): {sent}")
    return trial.seen.outcome, trial.before, recorder, trial


def _order(sessions: Sequence[int]) -> tuple[OpRef, ...]:
    """The operations of a serial order from the sessions that ran them."""
    taken: dict[int, int] = {}
    order = []
    for session in sessions:
        order.append(OpRef(session, taken.get(session, 0)))
        taken[session] = taken.get(session, 0) + 1
    return tuple(order)
