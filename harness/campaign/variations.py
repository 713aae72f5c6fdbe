"""Which parts of a witness do not matter: one of them changed at a time, and whether the same kind is shown still.

The recorded schedule is replayed first. Where the changed contest departs from it (another layout has other waits), or
comes to something else, its orders are explored, those with few preemptions first, within a number of trials: as the
witness was found, and where that was between statements, once more with gates.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from harness.campaign.job import Arenas, Packed, explorers_for, loaded, under_watch
from harness.campaign.judge import Judge, Undecided, cannot_be_retried
from harness.generators.variations import argument_variations
from harness.model.advice import Came, Variation
from harness.model.cell import Cell
from harness.model.contest import Contest, orders
from harness.model.schedule import Gates, Schedule
from harness.model.verdict import Violation
from harness.runners.explorer import NotDeterministicAlone
from harness.scenario.discovery import digest
from harness.scenario.language import Scenario
from harness.scenario.strategy import Strategy
from harness.schedulers.preemptions import Preemptions
from harness.schedulers.protocol import Departure, Scheduler
from harness.schedulers.replay import Replay
from harness.servers.server import Server
from harness.sessions.arena import ResetFailed
from harness.sessions.control import SqlRefused
from harness.sessions.steering import OrderLost, OutOfTime, Uncontrolled

TRIALS_EACH = 100  # of one variation
TRIALS_MAX = 600  # of one witness


@dataclass(frozen=True, slots=True)
class Varying:
    """The variations of one witness, as a worker's task: one event, a tuple of them."""

    servers: tuple[Server, ...]  # of the run; the witness's own is among them
    path: str  # of the scenario's file
    schedule: Schedule  # without its contest, which is packed
    contest: Packed
    kind: str  # of the violation, as `expect` names it
    gates: Gates  # of the run

    @property
    def cells(self) -> tuple[Cell, ...]:
        return (self.schedule.cell,)

    def only(self, cells: tuple[Cell, ...]) -> "Varying":
        return self

    def run(self, arenas: Arenas, *, by_force: bool) -> Iterator["Varied"]:
        scenario = loaded(self.path, self.schedule.cell.scenario)
        schedule = replace(self.schedule, contest=self.contest.contests()[0])
        varier = _Varier(scenario, schedule, self.kind, self.servers, self.gates, arenas)
        with under_watch(arenas, f"the variations of {scenario.name}", by_force=by_force):
            yield Varied(schedule.cell, self.kind, varier.variations())


@dataclass(frozen=True, slots=True)
class Varied:
    """What came of a witness's variations. None where it does not show its kind any more: then nothing can be said."""

    cell: Cell
    kind: str
    variations: tuple[Variation, ...]


def varying(schedule: Schedule, kind: str, path: str, servers: Sequence[Server], gates: Gates) -> Varying:
    """The task of a witness that shows this kind."""
    bare = replace(schedule, contest=Contest(schedule.contest.state, (), schedule.contest.pattern))
    return Varying(tuple(servers), path, bare, Packed((schedule.contest,)), kind, max(gates, schedule.gates))


class _Proposal(NamedTuple):
    part: str
    value: str
    cell: Cell
    contest: Contest
    server: Server
    argument: bool = False


class _Varier:
    def __init__(
        self,
        scenario: Scenario,
        schedule: Schedule,
        kind: str,
        servers: Sequence[Server],
        gates: Gates,
        arenas: Arenas,
    ) -> None:
        self.scenario, self.schedule, self.kind = scenario, schedule, kind
        self.servers, self.gates, self.arenas = servers, gates, arenas
        self.strategy: Strategy = next(s for s in scenario.strategies if s.name == schedule.cell.strategy)
        self.left = TRIALS_MAX
        self._last: Judge | None = None

    def variations(self) -> tuple[Variation, ...]:
        cell, contest = self.schedule.cell, self.schedule.contest
        (here,) = (server for server in self.servers if server.id == cell.server)
        if self._varied(_Proposal("", "", cell, contest, here)).came is not Came.SAME:
            return ()
        return tuple(self._varied(proposal) for proposal in self._proposals(here))

    def _proposals(self, here: Server) -> Iterator[_Proposal]:
        """Those on the witness's own database first: another layout is another database."""
        cell, contest = self.schedule.cell, self.schedule.contest
        for parameter, values, changed in argument_variations(self.scenario, contest):
            yield _Proposal(parameter, ", ".join(map(repr, values)), cell, changed, here, argument=True)
        for level in self.strategy.levels:
            if level is not cell.isolation:
                yield _Proposal("isolation", level.sql, replace(cell, isolation=level), contest, here)
        for state in self.scenario.states:
            if state != cell.state:
                changed = replace(contest, state=state)
                yield _Proposal("state", state, replace(cell, state=state), changed, here)
        for layout in self.scenario.layouts:
            if layout != cell.layout:
                yield _Proposal("layout", layout, replace(cell, layout=layout), contest, here)
        for server in self.servers:
            if server is not here:
                there = replace(cell, server=server.id, version=server.version)
                yield _Proposal("server", server.id, there, contest, server)

    def _varied(self, proposal: _Proposal) -> Variation:
        came, kind = self._came(proposal)
        return Variation(proposal.part, proposal.value, came, kind, proposal.argument)

    def _came(self, proposal: _Proposal) -> tuple[Came, str]:
        contest = proposal.contest
        try:
            judge = self._judge(proposal)
            judge.explorer.prepare(contest)
            judge.specification.prepare(contest)
            judge.explorer.start(contest)
        except SqlRefused:
            return Came.IMPOSSIBLE, ""
        kinds: list[str] = []
        try:
            for violation in self._met(judge, contest):
                if violation.name == self.kind:
                    return Came.SAME, self.kind
                kinds.append(violation.name)
        except (_Spent, Undecided, NotDeterministicAlone, Departure, Uncontrolled, OutOfTime, ResetFailed):
            return Came.OPEN, kinds[0] if kinds else ""
        return (Came.OTHER, kinds[0]) if kinds else (Came.NOTHING, "")

    def _judge(self, proposal: _Proposal) -> Judge:
        """One for all contests of a cell, since its explorer remembers serial orders."""
        cell = proposal.cell
        if self._last is not None and self._last.cell == cell:
            return self._last
        explorer, specification = explorers_for(
            self.arenas, proposal.server, self.scenario, self.strategy, cell, gates=self.gates
        )
        retryable = frozenset(self.strategy.retryable_at(cell.isolation))
        self._last = Judge(cell, explorer, specification, retryable, digest(self.scenario, cell.layout))
        return self._last

    def _met(self, judge: Judge, contest: Contest) -> Iterator[Violation]:
        """What is met in the orders of a contest, the likeliest first. Raises _Spent where orders are left."""
        alone = list(self._alone(judge, contest))
        yield from alone
        if alone or self.schedule.alone:  # interleaved it can only get worse, and what of that is which cannot be told
            return
        arena = judge.explorer.arena
        recorded = bool(self.schedule.gates)
        try:
            for arena.gated in dict.fromkeys((recorded, recorded or bool(self.gates))):
                yield from self._interleaved(judge, contest)
        finally:
            arena.gated = False

    def _alone(self, judge: Judge, contest: Contest) -> Iterator[Violation]:
        for order in orders(contest.operations):
            explorer = judge.explorer
            outcome = explorer.serial_aged(contest, order) if self.schedule.aged else explorer.serial(contest, order)
            before = frozenset((a, b) for i, a in enumerate(order) for b in order[i + 1 :])
            if (violation := judge.violation(contest, outcome, before, None)) is not None:
                yield violation

    def _interleaved(self, judge: Judge, contest: Contest) -> Iterator[Violation]:
        recorded = Replay([(choice.session, choice.options, choice.event) for choice in self.schedule.choices])
        with suppress(Departure, OrderLost):
            yield from self._trial(judge, contest, recorded)
        every, whole = Preemptions(), True
        for _ in range(TRIALS_EACH):
            if not every.new_trial():
                break
            try:
                yield from self._trial(judge, contest, every)
            except (Departure, OrderLost):
                whole = False
        if not whole or every.new_trial():
            raise _Spent

    def _trial(self, judge: Judge, contest: Contest, scheduler: Scheduler) -> Iterator[Violation]:
        """One trial, and its violation if it is one."""
        if not self.left:
            raise _Spent
        self.left -= 1
        fault = self.schedule.fault
        trial = judge.explorer.run(contest, scheduler, retryable=judge.retryable, fault=fault)
        if fault is None or trial.ended.failed is not None:  # else it did not come that far
            violation = judge.violation(contest, trial.seen.outcome, trial.before, trial, fault)
            violation = violation or cannot_be_retried(trial)
            if violation is not None:
                yield violation


class _Spent(Exception):
    """As many trials as are allowed were run, and orders are left."""
