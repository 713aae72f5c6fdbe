"""Failures first: witnesses of earlier runs, replayed before a cell is explored; fixed is what, explored, is gone."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from harness.campaign.again import Again, Steps, finding_of, run_again, violation_of
from harness.campaign.cell import CellExplorer, Limits
from harness.campaign.judge import DoesNotRepeat, Judge, Undecided
from harness.model.cell import Cell
from harness.model.codec import AnyEnum, CodecError, cell_of, decode
from harness.model.contest import Contest
from harness.model.schedule import Gates, Schedule
from harness.model.verdict import CellResult, Finding, Verdict, Violation
from harness.runners.explorer import NotDeterministicAlone
from harness.scenario.discovery import digest, digests
from harness.scenario.language import Scenario
from harness.scenario.parameters import Key, Tried
from harness.schedulers.protocol import Departure
from harness.sessions.control import SqlRefused
from harness.sessions.steering import OutOfTime, Uncontrolled


@dataclass(frozen=True, slots=True)
class Known:
    """A witness of an earlier run."""

    file: str  # its name in the store
    line: str
    kind: str
    steps: Steps
    digests: Mapping[str, str]

    @property
    def cell(self) -> Cell:
        return cell_of(self.line)


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a known witness shows now. Told before its cell is explored."""

    cell: Cell
    file: str
    shows: bool  # its kind
    text: str


@dataclass(frozen=True, slots=True)
class Retired:
    """Its contest was explored, and its kind no longer met."""

    cell: Cell
    file: str
    text: str


@dataclass
class _Memory:
    known: Known
    schedule: Schedule | None = None  # None: it cannot be run here any more
    within: bool = True  # what this run explores has room for it
    again: Again | None = None
    violation: Violation | None = None


@dataclass
class Recall:
    """The known witnesses of one cell, around its exploration: `replay`, explore, `settle`."""

    judge: Judge
    scenario: Scenario
    gates: Gates
    faults: bool
    _memories: list[_Memory] = field(default_factory=list)

    def replay(self, known: Iterable[Known]) -> Iterator[Recalled]:
        """Each witness once more, before anything else."""
        for one in known:
            memory = _Memory(one)
            self._memories.append(memory)
            text = self._replayed(memory)
            shows = memory.violation is not None and memory.violation.name == one.kind
            yield Recalled(self.judge.cell, one.file, shows, text)

    def _replayed(self, memory: _Memory) -> str:
        known, judge = memory.known, self.judge
        kind = f"a known {known.kind}"
        try:
            schedule = decode(known.line, enums_of([self.scenario]))
        except CodecError as error:
            return f"{kind} cannot be replayed: {error}"
        if not _is_possible(schedule.contest, self.scenario):
            return f"{kind} cannot be replayed: its calls are not those of {self.scenario.name} any more"
        memory.schedule = schedule = replace(schedule, cell=judge.cell)
        if digest(self.scenario, judge.cell.layout) != schedule.digest:
            return f"{kind} is explored again: {changed(known.digests, self.scenario, judge.cell.layout)}"
        memory.within = schedule.gates in (Gates.NONE, self.gates) and (schedule.fault is None or self.faults)
        if schedule.gates not in (Gates.NONE, self.gates):
            return f"{kind} is kept: it needs --gates {schedule.gates.name.lower()}"
        try:
            judge.explorer.start(schedule.contest)
            memory.again = run_again(schedule, judge, known.steps)
            memory.violation = violation_of(schedule, judge, memory.again)
        except Departure as departure:
            return f"{kind} is explored again: {departure}"
        except (SqlRefused, Uncontrolled, OutOfTime, Undecided, NotDeterministicAlone) as error:
            return f"{kind} cannot be replayed: {error}"
        if memory.violation is None:
            return f"{kind} no longer shows in its schedule; its contest is explored again"
        if memory.violation.name == known.kind:
            return f"{kind} still shows"
        return f"{kind} now shows {memory.violation.name}"

    def settle(self, result: CellResult, clean: frozenset[Contest], limits: Limits) -> tuple[CellResult, list[Retired]]:
        """The result with what only known witnesses show, and those that are fixed: their contest was found clean.

        Contests that the exploration did not come to are explored here, apart: what was covered is the same with a
        store and without.
        """
        beyond = self._beyond(result, clean)
        if beyond:
            exploring = CellExplorer(self.judge, replace(limits, examples=0), gates=bool(self.gates))
            for finding in exploring.result(beyond).findings:
                result = _with(result, finding)
            clean |= exploring.clean
        for memory in self._memories:
            if memory.violation is not None and memory.violation.name not in _kinds(result):
                result = self._with_shown(result, memory)
        return result, [fixed for memory in self._memories for fixed in self._fixed(result, memory, clean)]

    def _beyond(self, result: CellResult, clean: frozenset[Contest]) -> list[Contest]:
        """The contests of those that did not show, and whose kind was not met, as far as their start state exists."""
        beyond: list[Contest] = []
        for memory in self._memories:
            contest = memory.schedule.contest if memory.schedule and memory.within else None
            if contest is None or memory.violation or contest in clean or contest in beyond:
                continue
            if memory.known.kind in _kinds(result):
                continue
            try:
                self.judge.explorer.prepare(contest)
                self.judge.specification.prepare(contest)
            except SqlRefused:
                memory.within = False
                continue
            beyond.append(contest)
        return beyond

    def _fixed(self, result: CellResult, memory: _Memory, clean: frozenset[Contest]) -> Iterator[Retired]:
        known, schedule = memory.known, memory.schedule
        if known.kind in _kinds(result):
            return
        if schedule is None:
            yield Retired(result.cell, known.file, f"the known {known.kind} can no longer be run")
        elif memory.within and schedule.contest in clean:
            yield Retired(result.cell, known.file, f"fixed: the known {known.kind} no longer shows")

    def _with_shown(self, result: CellResult, memory: _Memory) -> CellResult:
        assert memory.schedule and memory.again and memory.violation
        try:
            return _with(result, finding_of(memory.schedule, self.judge, memory.again, memory.violation))
        except (DoesNotRepeat, Uncontrolled, OutOfTime):
            return result


def _kinds(result: CellResult) -> set[str]:
    return {finding.violation.name for finding in result.findings}


def _with(result: CellResult, finding: Finding) -> CellResult:
    if finding.violation.name in _kinds(result):
        return result
    reason = result.reason if result.findings else finding.violation.explanation
    return replace(result, verdict=Verdict.UNSAFE, reason=reason, findings=(*result.findings, finding))


def changed(then: Mapping[str, str], scenario: Scenario, layout: str) -> str:
    """`operation purchase of purchases changed`: by the digests of its parts, where they were noted."""
    now = digests(scenario, layout)
    parts = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)] if then else []
    if not parts:
        return f"the tables, the layout or the operations of {scenario.name} changed"
    return f"{', '.join(parts)} of {scenario.name} changed"


def enums_of(scenarios: Iterable[Scenario]) -> AnyEnum:
    """The enums that the scenarios' parameters speak of."""
    meanings = [m for scenario in scenarios for o in scenario.operations.values() for m in o.parameters.values()]
    values = [value for meaning in meanings if isinstance(meaning, Key | Tried) for value in meaning.values]
    known: dict[str, Mapping[str, object]] = {
        type(value).__name__: type(value).__members__ for value in values if isinstance(value, Enum)
    }
    return lambda name, member: known[name][member]


def _is_possible(contest: Contest, scenario: Scenario) -> bool:
    return contest.state in scenario.states and all(
        call.operation in scenario.operations
        and {name for name, _ in call.arguments} == set(scenario.operations[call.operation].parameters)
        for calls in (*contest.sessions, contest.prelude)
        for call in calls
    )
