"""Every cell hammered: alone first, then all sessions at once; what goes wrong by luck is handed to the explorer."""

import random
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace

from harness.campaign.campaign import Options, Selection, jobs_of
from harness.campaign.faults import Faults, kinds_for
from harness.campaign.hammered import (
    ByLuck,
    Failures,
    HammerOptions,
    HammerReport,
    HammerResult,
    Historian,
    Listener,
    Racing,
)
from harness.campaign.job import Arenas, Job
from harness.campaign.referee import Luck, Referee, Tally
from harness.campaign.workers import Workers
from harness.generators.contests import contests
from harness.generators.faults import FaultPlan
from harness.generators.rounds import spread
from harness.model.cell import Cell
from harness.model.contest import Contest
from harness.model.history import Batch
from harness.model.verdict import CellResult, Finding, Rate, Verdict
from harness.runners.canonical import Canonicaliser
from harness.runners.explorer import Explorer, NotDeterministicAlone, queries_of
from harness.runners.ground import Ground, NotSeparate
from harness.runners.hammer import Hammer, Setup, WorkerLost
from harness.runners.hammer_worker import ServerAway
from harness.runners.learned import Learned, Patience
from harness.runners.virtual import virtual
from harness.scenario.expectations import expected, is_as_expected
from harness.scenario.language import Scenario
from harness.scenario.strategy import Strategy
from harness.servers.server import Server
from harness.sessions.control import SqlRefused
from harness.sessions.racing import Stuck
from harness.sessions.steering import Steering

BATCH_S = 0.3  # as many rounds as take about so long: then tables are read, and made ready for the next
ROUNDS_AT_FIRST, ROUNDS_MAX = 16, 2_000
ENOUGH = 10  # rounds of a kind: its rate is known well enough
_ONCE_FOUND_S = 1.0  # spent on a cell that is condemned already
_LEARNS_S = 5.0  # at least, what calls do one at a time, however short the race is
_LOST_MAX = 3  # processes of one cell that ended
_DEADLOCK_TIMEOUT = ("deadlock_timeout", "20ms")  # a second for each deadlock would leave no time for anything else
_HANDED_OVER_S = 20.0  # for the explorer to find a witness of one kind


def hammer(
    selections: Sequence[Selection],
    servers: Sequence[Server],
    options: HammerOptions,
    listen: Listener = lambda event: None,
    historian: Historian | None = None,
) -> HammerReport:
    """Hammer every selected cell, one after the other. Interrupted, it tells of the cell it was at, and goes."""
    began = time.monotonic()
    jobs = list(jobs_of(selections, servers, _explored(options), None))
    cells = [(job, cell) for job in jobs for cell in job.cells]
    scenarios = {selection.scenario.name: selection.scenario for selection in selections}
    results: list[HammerResult] = []
    with _Shop(options, historian) as shop:
        for number, (job, cell) in enumerate(cells, 1):
            seconds = _share(options, began, len(cells) - number + 1)
            bout = Bout(shop, job, cell, scenarios[job.scenario], seconds, _told_to(listen, cell, number, len(cells)))
            result = bout.result()
            if result is not None:
                results.append(_judged(result, scenarios[job.scenario]))
                listen(results[-1])
            if bout.interrupted:
                raise KeyboardInterrupt
    order = {cell.id: n for n, cell in enumerate(cell for s in selections for cell in s.cells)}
    results.sort(key=lambda result: order[result.cell.id])
    return HammerReport(tuple(results), tuple(servers), options, (), time.monotonic() - began)


def _explored(options: HammerOptions) -> Options:
    """How the explorer runs what it is handed."""
    return Options(seed=options.seed, orders_max=1000, examples=0)


def _share(options: HammerOptions, began: float, cells_left: int) -> float:
    if options.budget_s is None:
        return options.seconds
    return min(options.seconds, max(0.0, options.budget_s - (time.monotonic() - began)) / cells_left)


def _told_to(listen: Listener, cell: Cell, number: int, cells: int) -> Callable[[Tally, float, float], None]:
    def tell(tally: Tally, raced_s: float, left_s: float) -> None:
        rate = tally.calls / raced_s if raced_s else 0.0
        failures, violations = tuple(tally.failures.most_common()), tuple(tally.violations.most_common())
        listen(Racing(cell, number, cells, left_s, tally.calls, rate, failures, violations))

    return tell


def _judged(result: HammerResult, scenario: Scenario) -> HammerResult:
    strategy = next(s for s in scenario.strategies if s.name == result.cell.strategy)
    rule = expected(strategy, result.cell, larger=result.sessions > 2 and not result.alone)
    as_expected = is_as_expected(rule, result.verdict, _held_against(result, rule.kinds))
    return replace(result, expected=rule.text, as_expected=as_expected, source=scenario.path)


def _held_against(result: HammerResult, covered: Collection[str]) -> list[str]:
    """The kinds that a rule has to cover. Rules speak of two sessions, as the explorer runs them.

    Among eight sessions one and the same race shows as several kinds: a course sold twice and then refunded once is no
    duplicate any more. What two sessions cannot show is told, and held against the strategy only if nothing else is.
    """
    kinds = [finding.violation.name for finding in result.alone]
    kinds += [luck.name for luck in result.by_luck if luck.finding and len(luck.finding.contest.sessions) == 2]
    kinds += [luck.name for luck in result.by_luck if luck.name in covered]
    return kinds or [luck.name for luck in result.by_luck]


class _Shop:
    """What all cells share: processes that carry sessions, one that explores, databases to race and to learn in."""

    def __init__(self, options: HammerOptions, historian: Historian | None) -> None:
        self.options, self.historian = options, historian

    def __enter__(self) -> "_Shop":
        with ExitStack() as stack:
            stack.enter_context(virtual())  # for what is learned here; processes that race have the real time
            self.racing, self.learning = Arenas(None), Arenas(None)
            stack.callback(self.racing.close)
            stack.callback(self.learning.close)
            self.workers = Workers(1)
            stack.callback(lambda: self.workers.close())
            self.hammer = stack.enter_context(Hammer(self.options.processes))
            self.single = stack.enter_context(Hammer(1))  # for strategies whose sessions share one process
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def renew(self) -> None:
        """After the server was restarted: whoever had a connection of ours gets another."""
        self.racing.renew()
        self.learning.renew()
        self.workers.close()
        self.workers = Workers(1)

    def explored(self, job: Job) -> CellResult | None:
        """None: there is no such cell, the layout forbids its state."""
        return next((event for event in list(self.workers.run([job])) if isinstance(event, CellResult)), None)


class Bout:
    """One cell."""

    def __init__(
        self,
        shop: _Shop,
        job: Job,
        cell: Cell,
        scenario: Scenario,
        seconds: float,
        tell: Callable[[Tally, float, float], None],
    ) -> None:
        self.shop, self.options, self.cell, self.scenario, self.seconds = shop, shop.options, cell, scenario, seconds
        self.job = replace(job, cells=(cell,))
        self.strategy: Strategy = next(s for s in scenario.strategies if s.name == cell.strategy)
        self.retryable = frozenset(self.strategy.retryable_at(cell.isolation))
        self.tell = tell
        self.tally = Tally()
        self.raced_s = 0.0
        self.one_at_a_time = False
        self.interrupted = False
        self.damage: str | None = None  # of indexes, by amcheck
        self.notes: list[str] = []
        self._chance = random.Random(f"{self.options.seed} {cell.id}")
        self._lost = 0
        self._contests: list[Contest] = []  # of the templates
        self._units: list[int] = []
        self.faults: Faults | None = None

    def result(self) -> HammerResult | None:
        """None: the layout forbids the state. Raises as `run_job` does."""
        if self.seconds <= 0:
            return HammerResult(self.cell, Verdict.UNKNOWN, "the budget was spent before this cell was begun")
        models = contests(self.scenario, self.strategy, self.cell.state)
        try:
            alone = self.shop.explored(replace(self.job, alone=True))
        except KeyboardInterrupt:
            self.interrupted = True
            return None
        if alone is None:
            return None
        findings = tuple(finding for finding in alone.findings if finding.violation.alone)
        self.faults = self._planned()
        try:
            undecided = self._race(models)
        except SqlRefused as refused:
            # The explorer would have said so, had it not been lost at this cell.
            if refused.sqlstate.startswith("23") and not self.tally.rounds:
                return None
            raise
        finally:
            if self.faults is not None:
                self.faults.close()
        return self._told(findings, models, undecided)

    def _planned(self) -> Faults | None:
        options = self.options.faults
        if options is None:
            return None
        kinds, left_out = kinds_for(self.job.server, options.kinds)
        if left_out:
            self.notes.append(left_out)
        plan = FaultPlan(f"{self.options.seed} {self.cell.id}", kinds, self.options.sessions, options.each)
        return Faults(self.job.server, plan, self.shop.renew)

    # ---- racing ---------------------------------------------------------------------------------------------------

    def _race(self, models: Sequence[Contest]) -> str:
        """Race until the time is up; why nothing can be said, if so."""
        try:
            while True:
                try:
                    self._batches(_that_meet(models))
                    return ""
                except NotSeparate as why:
                    if self.one_at_a_time:
                        return f"rounds cannot be told apart: {why}"
                    self.one_at_a_time = True
                    self.notes.append(f"rounds were run one at a time: {why}")
                    self.tally = Tally()
        except KeyboardInterrupt:
            self.interrupted = True
            for one in (self.shop.hammer, self.shop.single):
                one.kill()
        except (NotDeterministicAlone, WorkerLost, Stuck, ServerAway) as why:
            return str(why)
        return ""

    def _batches(self, models: Sequence[Contest]) -> None:
        referee, ground = self._referee(models)
        templates = [template.contest for template in ground.templates]
        self._contests, self._units = templates, [len(template.units) for template in ground.templates]
        racers = self._racers()
        self._set_up(racers, templates)
        self.one_at_a_time = self.one_at_a_time or not ground.separate
        number, size = 0, 1 if self.one_at_a_time else ROUNDS_AT_FIRST
        began, pending = time.monotonic(), None
        while (left := self._left(began)) > 0 and (self.options.rounds is None or number < self.options.rounds):
            if self.options.rounds is not None:
                size = min(size, self.options.rounds - number)
            batch = ground.batch(number, self._drawn(len(templates), size))
            if self.faults is not None:
                if self.faults.plan.spent:
                    break
                self._with_faults(batch, self.faults, racers, ground, referee, templates)
                number += size
                self.tell(self.tally, self.raced_s, left)
                continue
            ground.prepare(batch)
            started = time.monotonic()
            racers.begin(batch)
            if pending is not None:
                referee.check(*pending)  # while the next are racing
                pending = None
                self.tell(self.tally, self.raced_s, left)
            try:
                calls = racers.end()
            except (WorkerLost, Stuck) as lost:
                self._another(lost, racers, templates)
                continue
            took = time.monotonic() - started
            self.raced_s += took
            number += size
            reading, remains = ground.read()
            pending = (batch, calls, reading, remains)
            if self.shop.historian is not None:
                self.shop.historian.note(self.cell, templates, batch, calls)
            if not self.one_at_a_time:
                size = _next_size(size, took)
        if pending is not None:
            referee.check(*pending)
            self.tell(self.tally, self.raced_s, 0.0)
        self.damage = ground.damage()

    def _with_faults(
        self,
        batch: Batch,
        faults: Faults,
        racers: Hammer,
        ground: Ground,
        referee: Referee,
        templates: Sequence[Contest],
    ) -> None:
        """A batch that is hurt. The referee waits for its end: what it asks the server for would be lost as well."""
        ground.arena.durable()
        ground.prepare(batch)
        started = time.monotonic()
        racers.begin(batch, faults.drawn(batch))
        try:
            calls = racers.end(lambda injection: faults.strike(injection, racers))
        except (WorkerLost, Stuck) as lost:
            racers.kill()  # those that are left as well
            if not faults.killed:
                faults.given_up(batch, ground.arena)
                self._another(lost, racers, templates)
                return
            calls = faults.rescued(batch, templates)
        self.raced_s += time.monotonic() - started
        faults.settled(calls, ground.arena)
        reading, remains = ground.read()
        referee.check(batch, calls, reading, remains)
        if self.shop.historian is not None:
            self.shop.historian.note(self.cell, templates, batch, calls)
        if faults.killed:
            racers.kill()  # it may have been killed when it was done, and not be missed yet
            self._set_up(racers, templates)

    def _left(self, began: float) -> float:
        seconds = self.seconds
        if self.tally.violations and min(self.tally.violations.values()) >= ENOUGH:
            seconds = min(seconds, _ONCE_FOUND_S)
        return began + seconds - time.monotonic()

    def _drawn(self, templates: int, rounds: int) -> list[int]:
        return [self._chance.randrange(templates) for _ in range(rounds)]

    def _referee(self, models: Sequence[Contest]) -> tuple[Referee, Ground]:
        job, scenario, strategy = self.job, self.scenario, self.strategy
        arena = self.shop.learning.get(job.server, scenario, self.cell.layout)
        steering = Steering(job.server.wake_order)
        explorer = Explorer(
            arena, scenario, strategy.bind_sessions, self.cell.isolation, steering, autocommit=strategy.autocommit
        )

        def seed_of(contest: Contest) -> bytes:
            explorer.prepare(contest)
            return arena.seeds[contest]

        field = self.shop.racing.get(job.server, scenario, self.cell.layout)
        ground = Ground(field, scenario, models, self.options.sessions, seed_of, one_at_a_time=self.one_at_a_time)
        patience = Patience(max(_LEARNS_S, self.seconds))
        apart = strategy.processes == "each"
        contests_of = [[unit.contest for unit in template.units] for template in ground.templates]
        known = {
            contest: Learned(explorer, contest, patience, apart=apart)
            for contest in dict.fromkeys(contest for some in contests_of for contest in some)
        }
        learned = [[known[contest] for contest in some] for some in contests_of]
        canonical = Canonicaliser(arena.tables, arena.sequence_bases, queries_of(scenario)[1](arena))
        return Referee(ground, scenario, learned, canonical, self.retryable, self.tally), ground

    def _racers(self) -> Hammer:
        # Sessions that share one process object share one process.
        shares = self.strategy.process is not None and self.strategy.processes == "one"
        return self.shop.single if shares else self.shop.hammer

    def _set_up(self, racers: Hammer, templates: Sequence[Contest]) -> None:
        with nullcontext("") if self.faults is None else self.faults.diaries() as diary:
            racers.setup(self._setup(templates, diary))

    def _setup(self, templates: Sequence[Contest], diary: str) -> Setup:
        server = self.job.server
        return Setup(
            server=server,
            database=self.shop.racing.get(server, self.scenario, self.cell.layout).database,
            path=self.scenario.path,
            scenario=self.scenario.name,
            strategy=self.strategy.name,
            isolation=self.cell.isolation,
            templates=tuple(templates),
            window=1 if self.one_at_a_time else self.options.window,
            settings=(_DEADLOCK_TIMEOUT,) if server.superuser else (),
            diary=diary,
            held=self._held(),
        )

    def _held(self) -> str:
        """The table that matters: of the first identity, else the first there is."""
        tables = self.shop.racing.get(self.job.server, self.scenario, self.cell.layout).tables
        return self.scenario.identity[0].table if self.scenario.identity else tables[0].name

    def _another(self, lost: Exception, racers: Hammer, templates: Sequence[Contest]) -> None:
        """Processes in the place of those that ended; the batch they were at is given up."""
        self._lost += 1
        self.notes.append(f"{lost}; its batch was given up, and others went on")
        if self._lost >= _LOST_MAX:
            raise lost
        racers.kill()
        self._set_up(racers, templates)

    # ---- handing over ---------------------------------------------------------------------------------------------

    def _told(self, alone: tuple[Finding, ...], models: Sequence[Contest], undecided: str) -> HammerResult:
        tally = self.tally
        by_luck = []
        meeting = _that_meet(models)
        for name, luck in tally.examples.items():
            known = next((finding for finding in alone if finding.violation.name == name), None)
            finding, how = (known, "") if known else self._handed_over(luck, meeting[luck.template])
            whole = self._contests[luck.template]
            by_luck.append(ByLuck(luck, whole, Rate(tally.violations[name], tally.rounds), finding, how))
        verdict, reason = self._verdict(alone, by_luck, undecided)
        failures = tuple(
            Failures(sqlstate, Rate(count, tally.calls), sqlstate in self.retryable)
            for sqlstate, count in tally.failures.most_common()
        )
        return HammerResult(
            self.cell,
            verdict,
            reason,
            alone,
            tuple(by_luck),
            failures,
            Rate(tally.overlapped, tally.rounds),
            self.options.sessions,
            tally.calls,
            tally.unjudged,
            tally.summed,
            tally.incomplete,
            self.raced_s,
            self.one_at_a_time,
            self.damage == "",
            tuple(self.notes),
            faults=() if self.faults is None else tuple(sorted(self.faults.counts.items())),
            plan=() if self.faults is None else tuple(self.faults.planned),
        )

    def _verdict(self, alone: Sequence[Finding], by_luck: Sequence[ByLuck], undecided: str) -> tuple[Verdict, str]:
        tally = self.tally
        if alone or by_luck:
            first = alone[0].violation if alone else (by_luck[0].finding or by_luck[0].luck).violation
            return Verdict.UNSAFE, first.explanation
        if self.interrupted:
            return Verdict.UNKNOWN, "interrupted"
        if self.damage:
            return Verdict.UNKNOWN, f"an index does not match its table, which is the server's fault: {self.damage}"
        if undecided:
            return Verdict.UNKNOWN, undecided
        if not tally.overlapped:
            return Verdict.UNKNOWN, "no two sessions were ever inside one key at once"
        if tally.unjudged - tally.summed == tally.rounds:
            return Verdict.UNKNOWN, "every round has more orders than can be searched, and no sum is kept"
        if set(tally.failures) & self.retryable:
            return Verdict.RETRY, "every failure may be retried, and left nothing"
        return Verdict.SAFE, ""

    def _handed_over(self, luck: Luck, model: Contest) -> tuple[Finding | None, str]:
        """The deterministic witness, of as few sessions as show it; or why there is none."""
        if not self.options.hand_over or self.interrupted:
            return None, "not handed to the explorer"
        orders = 0
        few = len(model.sessions)
        alike = self._units[luck.template] == 1  # all had the same keys, so that it may take more of them
        for sessions in (few, few + 1) if alike else (few,):
            contest = spread(self.scenario, model, sessions)
            deadline = time.time() + _HANDED_OVER_S
            try:
                explored = self.shop.explored(replace(self.job, deadline=deadline).about(contest))
            except KeyboardInterrupt:
                self.interrupted = True
                return None, "interrupted while it was handed to the explorer"
            if explored is not None:
                orders += explored.coverage.orders
                same = [f for f in explored.findings if f.violation.name == luck.violation.name]
                if same or explored.findings:
                    return (same or list(explored.findings))[0], ""
        return None, f"the explorer found no witness in {orders:,} orders of {few}{' and 3' * alike} sessions"


def _next_size(size: int, took: float) -> int:
    if took < BATCH_S / 2:
        return min(ROUNDS_MAX, size * 2)
    return max(ROUNDS_AT_FIRST, size // 2) if took > BATCH_S * 2 else size


def _that_meet(models: Sequence[Contest]) -> list[Contest]:
    """The contests in which sessions share a key."""
    return [model for model in models if model.pattern != "no common key"] or list(models)
