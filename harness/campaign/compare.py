"""Strategies side by side: explore first, then measure where the budget still decides something, then advise.

Every piece of work is an independent job on a `concurrent.futures.Executor`: one cell to explore, or some rounds of
cost blocks with databases of their own. Results are kept as they come (`kept.py`).
"""

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, replace

from harness.campaign.campaign import Options, Progress, Selection, select
from harness.campaign.costing import MIXES, Costing
from harness.campaign.hammered import HammerOptions, HammerReport, HammerResult, Racing
from harness.campaign.job import Impossible, Job, explored
from harness.campaign.kept import Kept
from harness.campaign.recommend import PASSES, advise, own_level, verdicts
from harness.campaign.workers import WorkerDied
from harness.generators.workload import subject
from harness.model.cell import Cell, Isolation
from harness.model.codec import CodecError, encode
from harness.model.comparison import Comparison, Group, Hammered, Judged, OnServer, Recommendation
from harness.model.cost import Contestant, Measured, card
from harness.model.schedule import Gates
from harness.model.verdict import CellResult, Rate, Verdict
from harness.scenario.language import Scenario
from harness.scenario.strategy import Strategy
from harness.servers.server import Server

_USED_AT_MOST = 0.6  # of the budget, to explore the levels used...
_EXPLORING_AT_MOST = 0.4  # ...and to begin others: costs are to be told, however long it takes to know what is safe
_HAMMERING_AT_MOST = 0.1  # of the budget
_HAMMERED_S = 1.0  # of one cell
_AFTERWARDS_S = 6.0  # to drop databases, end servers and write reports; of the budget
_ORDERS_MAX = 1000
_OVERLAPS = 50
AHEAD = max(8, 2 * (os.cpu_count() or 1))  # cells given out and not heard of: no worker is to wait for work
_SPENT = "the budget was spent"  # how a cell begins to say so


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    budget_s: float = 180.0
    isolations: tuple[Isolation, ...] = ()  # none: verdicts at all, costs at READ COMMITTED
    layouts: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    clients: int = 4
    calls: int = 30  # of each client in each block
    seed: int = 0

    @property
    def used(self) -> tuple[Isolation, ...]:
        """The levels that applications are taken to run at, strategies with a level of their own aside."""
        return self.isolations or (Isolation.READ_COMMITTED,)


@dataclass(frozen=True, slots=True)
class Servers:
    """One version of PostgreSQL twice: steered with durability off where we can, and as it is for what costs."""

    exploring: Server
    measuring: Server

    @property
    def facts(self) -> OnServer:
        first, second = self.exploring, self.measuring
        return OnServer(first.id, second.version, second.provider, first.durability, second.durability)


Listener = Callable[[Judged | Progress], None]
Hammering = Callable[
    [Sequence[Selection], Sequence[Server], HammerOptions, Callable[[HammerResult | Racing], None]], HammerReport
]
"""`campaign.hammer.hammer`: it has processes of its own, which no executor's process could start."""


class Comparing:
    """One comparison, from what is kept of it to what can be said in the end; `result` can be asked at any time."""

    def __init__(
        self,
        pattern: str,
        servers: Sequence[Servers],
        options: CompareOptions,
        kept: Kept,
        executor: Executor,
        listen: Listener = lambda event: None,
        *,
        began: float | None = None,
        hammering: Hammering | None = None,
    ) -> None:
        """`began`: time.time() from which the budget runs; now. `hammering`: None does without. Raises as `select`."""
        self.hammering = hammering
        self.servers, self.options, self.kept, self.executor, self.listen = servers, options, kept, executor, listen
        wanted = Options(layouts=options.layouts, states=options.states, isolations=options.isolations)
        (selection,) = select([pattern], wanted, [both.exploring.id for both in servers])
        self.scenario: Scenario = selection.scenario
        versions = {both.exploring.id: both.exploring.version for both in servers}
        self.cells = tuple(replace(cell, version=versions[cell.server]) for cell in selection.cells)
        self.began = time.time() if began is None else began
        self.warnings: list[str] = []

    def run(self) -> Comparison:
        """Spend the budget. What a KeyboardInterrupt leaves is kept; `result` tells it."""
        budget_s, deadline = self.options.budget_s, self.began + self.options.budget_s - _AFTERWARDS_S
        self._explore(self.began + _USED_AT_MOST * budget_s, used_only=True)
        self._explore(self.began + _EXPLORING_AT_MOST * budget_s)
        self._hammer(min(deadline, time.time() + _HAMMERING_AT_MOST * budget_s))
        measuring = [both.measuring for both in self.servers]
        options = self.options
        Costing(self, measuring, clients=options.clients, calls=options.calls, seed=options.seed).spend(deadline)
        self._explore(deadline)
        self.kept.end()
        return self.result()

    # ---- verdicts -------------------------------------------------------------------------------------------------

    @property
    def existing(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell not in self.kept.impossible)

    @property
    def judged(self) -> tuple[Judged, ...]:
        """In the order of the cells. A strategy that met nobody at a level has shown nothing there.

        What the explorer passed and the hammer broke is unsafe: eight sessions met what two do not.
        """
        known = [self._after_hammering(self.kept.judged[cell]) for cell in self.cells if cell in self.kept.judged]
        met = {_where(one.cell) for one in known if one.contended or one.kinds}
        return tuple(
            one
            if one.verdict not in PASSES or _where(one.cell) in met
            else replace(one, verdict=Verdict.UNKNOWN, reason="never contended")
            for one in known
        )

    def _explore(self, deadline: float, *, used_only: bool = False) -> None:
        """The cells that are not judged yet, the most urgent first, until time.time() has come to the deadline."""
        open_cells = [cell for cell in self.existing if cell not in self.kept.judged]
        open_cells = [cell for cell in open_cells if self._is_used(cell) or not used_only]
        running: dict[Future[tuple[CellResult | Impossible, ...]], Cell] = {}
        try:
            while running or (open_cells and time.time() < deadline):
                condemned = {_who(one) for one in self.kept.judged.values() if one.verdict is Verdict.UNSAFE}
                open_cells.sort(key=lambda cell: self._urgency(cell, condemned))
                # Few ahead of the workers: what comes of them decides what is urgent.
                while open_cells and len(running) < AHEAD and time.time() < deadline:
                    cell = open_cells.pop(0)
                    running[self.executor.submit(explored, self._job(cell, deadline))] = cell
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    self._take(future, running.pop(future))
        except BaseException:
            for future in running:
                future.cancel()
            raise

    def _urgency(self, cell: Cell, condemned: Collection[tuple[str, str, Isolation]]) -> tuple[object, ...]:
        """Levels used before others; what is unsafe in another state already last of them; layout by layout.

        A worker keeps the databases of one layout open: the next cell of it begins at once. All servers have had a
        layout before the next is begun: with half of them nothing can be recommended.
        """
        where = (cell.strategy, cell.layout, cell.isolation)
        return not self._is_used(cell), where in condemned, list(self.scenario.layouts).index(cell.layout), cell.server

    def _job(self, cell: Cell, deadline: float) -> Job:
        server = next(both.exploring for both in self.servers if both.exploring.id == cell.server)
        return Job(
            server, self.scenario.path, self.scenario.name, cell.layout, (cell,), 2, Gates.USUAL, _ORDERS_MAX, False,
            deadline, seed=self.options.seed, overlaps=_OVERLAPS, first_finding=True,
        )  # fmt: skip

    def _is_used(self, cell: Cell) -> bool:
        own = self._strategy(cell.strategy).isolation
        return cell.isolation is own if own is not None else cell.isolation in self.options.used

    def _strategy(self, name: str) -> Strategy:
        return next(strategy for strategy in self.scenario.strategies if strategy.name == name)

    def _take(self, future: Future[tuple[CellResult | Impossible, ...]], cell: Cell) -> None:
        try:
            (event,) = future.result()
        except (WorkerDied, BrokenExecutor) as died:
            event = CellResult(cell, Verdict.UNKNOWN, str(died))
        if isinstance(event, Impossible):
            self.kept.rule_out(cell)
        elif not event.reason.startswith(_SPENT):  # that one is open still, for whoever goes on
            self.kept.judge(_judged(event))
            self.listen(self.kept.judged[cell])
        done = len(self.kept.judged) + len(self.kept.impossible)
        self.listen(Progress(done, len(self.cells), f"explored {cell.id}"))

    # ---- confirmation ---------------------------------------------------------------------------------------------

    def _after_hammering(self, one: Judged) -> Judged:
        met = self.kept.hammered.get(one.cell.id)
        if met is None or not met.kinds or one.verdict not in PASSES:
            return one
        return replace(one, verdict=Verdict.UNSAFE, reason="met by the hammer, not by the explorer", kinds=met.kinds)

    def _hammer(self, deadline: float) -> None:
        """A short run of one cell of each contestant, that which the explorer condemned if it did."""
        cells = [cell for cell in self._worth_hammering() if cell.id not in self.kept.hammered]
        left_s = deadline - time.time()
        if self.hammering is None or not cells or left_s <= 0:
            return

        def hear(event: HammerResult | Racing) -> None:
            if isinstance(event, HammerResult) and event.rounds:
                hits = max((luck.rate.hits for luck in event.by_luck), default=0)
                self.kept.hammer(event.cell.id, Hammered(Rate(hits, event.rounds), event.names))
                self.listen(Progress(len(self.kept.hammered), len(cells), f"hammered {event.cell.id}"))

        options = HammerOptions(
            seconds=_HAMMERED_S, budget_s=left_s, seed=self.options.seed, hand_over=False, processes=1
        )
        self.hammering(
            [Selection(self.scenario, tuple(cells))], [both.measuring for both in self.servers], options, hear
        )

    def _worth_hammering(self) -> list[Cell]:
        """Of what needs concurrency to go wrong; cells of the levels used, on the server named first."""
        first = self.servers[0].exploring.id
        found: dict[tuple[str, str], Cell] = {}
        judged = [one for one in self.kept.judged.values() if one.cell.server == first and self._is_used(one.cell)]
        condemned = [one for one in judged if one.verdict is Verdict.UNSAFE and not one.alone]
        alone = {(one.cell.strategy, one.cell.layout) for one in judged if one.alone}
        for one in (*condemned, *(one for one in judged if one.verdict in PASSES)):
            where = (one.cell.strategy, one.cell.layout)
            if where not in alone or one in condemned:
                found.setdefault(where, one.cell)
        return list(found.values())

    # ---- costs ----------------------------------------------------------------------------------------------------

    @property
    def groups(self) -> tuple[Group, ...]:
        """Strategies by the operation that they are measured by, where there are any."""
        found: dict[str, list[Contestant]] = {}
        strategies = [strategy for strategy in self.scenario.strategies if strategy.replaces]
        known = {(cell.strategy, cell.layout, cell.isolation) for cell in self.existing}
        for strategy in strategies:
            levels = self.options.used if strategy.isolation is None else (strategy.isolation,)
            found.setdefault(subject(strategy), []).extend(
                Contestant(strategy.name, layout, level)
                for layout in self.scenario.layouts
                for level in levels
                if (strategy.name, layout, level) in known
            )
        return tuple(
            Group(operation, tuple(contestants), self._reference(operation, contestants))
            for operation, contestants in found.items()
            if contestants
        )

    def _reference(self, operation: str, contestants: Sequence[Contestant]) -> Contestant:
        """The scenario's own, else the first that is safe; in the first layout in which it is."""
        told = verdicts(self.judged, Group(operation, tuple(contestants), contestants[0]), self.existing)
        dropped = {who for _, who in self.kept.dropped}
        contestants = [who for who in contestants if who not in dropped] or contestants
        named = [who for who in contestants if who.strategy == self.scenario.reference]
        for among in (named, contestants):
            for wanted in (Verdict.SAFE, Verdict.RETRY):
                found = next((who for who in among if told[who] is wanted), None)
                if found is not None:
                    return found
        return (named or list(contestants))[0]

    # ---- result ---------------------------------------------------------------------------------------------------

    def result(self) -> Comparison:
        groups, measured = self.groups, self.kept.measured
        cards = []
        for both in self.servers:
            blocks = [m for m in measured if m.server == both.measuring.id]
            for group in groups:
                for who in group.contestants:
                    made = card(blocks, who, group.reference, MIXES)
                    failing = self.kept.dropped.get((both.measuring.id, who), "")
                    if made.mixes or failing:
                        cards.append(replace(made, server=both.measuring.id, failing=failing))
        open_cells = sum(cell not in self.kept.judged for cell in self.existing)
        told = [*self.warnings]
        if open_cells:
            told.append(f"{open_cells} of {len(self.existing)} cells were not explored before the budget was spent")
        return Comparison(
            self.scenario.name, tuple(both.facts for both in self.servers), self.judged, groups, tuple(cards),
            tuple(one for group in groups for one in self.advice(group, measured)), MIXES, self.options.clients,
            self.options.calls, self.options.seed, time.time() - self.began, self.kept.hammered, tuple(told),
        )  # fmt: skip

    def advice(self, group: Group, measured: Sequence[Measured]) -> list[Recommendation]:
        levels = [
            level
            for level in self.options.used
            if any(who.isolation is level for who in group.contestants) or own_level(group, self.existing, level)
        ]
        return [advise(group, level, self.judged, self.existing, measured, MIXES) for level in levels]


def key_parts(scenario_digest: str, servers: Sequence[Servers], options: CompareOptions) -> Mapping[str, object]:
    """All that results depend on. The budget is not among it: what it buys is more of the same."""
    return {
        "scenario": scenario_digest,
        "servers": [(both.facts.id, both.facts.version, both.facts.provider) for both in servers],
        "options": [
            [str(level) for level in options.isolations], options.layouts, options.states, options.clients,
            options.calls, options.seed,
        ],
    }  # fmt: skip


def _judged(result: CellResult) -> Judged:
    replay = None
    if result.findings:
        try:
            replay = encode(result.findings[0].schedule)
        except CodecError:
            replay = None  # an argument without a written form
    return Judged(
        result.cell,
        result.verdict,
        result.reason,
        tuple(dict.fromkeys(finding.violation.name for finding in result.findings)),
        result.coverage.contended,
        result.coverage.exhaustive,
        result.coverage.orders,
        replay,
        any(finding.violation.alone for finding in result.findings),
    )


def _who(one: Judged) -> tuple[str, str, Isolation]:
    return one.cell.strategy, one.cell.layout, one.cell.isolation


def _where(cell: Cell) -> tuple[str, Isolation, str]:
    return cell.strategy, cell.isolation, cell.server
