"""One cell to its verdict: every contest, alone first, then interleaved; every violation confirmed before it counts."""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from harness.campaign.drawing import Drawing, Found, seed_of
from harness.campaign.judge import DoesNotRepeat, Judge, Undecided, cannot_be_retried
from harness.campaign.minimal import Minimiser
from harness.campaign.search import PORTFOLIO, Search
from harness.generators.contests import common_key
from harness.generators.drawn import drawn_contests
from harness.model.contest import Contest, OpRef, Order, orders
from harness.model.outcome import Outcome, change
from harness.model.schedule import Failing, Fault
from harness.model.verdict import CellResult, Coverage, Finding, Shrunk, Verdict, Violation
from harness.runners.double_run import Heard, facts, parting
from harness.runners.explorer import NotDeterministicAlone, Trial
from harness.runners.reduction import Reduction, TrackedPartialOrders
from harness.schedulers.double_run import Differs, DoubleRun
from harness.schedulers.preemptions import Preemptions
from harness.schedulers.protocol import Departure, Pruned, Scheduler
from harness.sessions.footprints import Irreducible
from harness.sessions.statement import Kind
from harness.sessions.steering import OrderLost, OutOfTime, Uncontrolled

PREEMPTIONS = 1  # most races need no more; the others are met on the way to certainty


@dataclass(frozen=True, slots=True)
class Limits:
    orders_max: int = 4000  # of one contest
    faults: bool = False  # also let one client fail, at each of its commands
    deadline: float | None = None  # time.monotonic() at which the budget is spent
    scheduler: str = PORTFOLIO  # one of SCHEDULERS
    seed: int = 0  # of those that sample
    alone: bool = False  # serial orders, and nothing else
    first_finding: bool = False  # is enough: what is unsafe is not explored on for further kinds
    examples: int = 0  # contests to draw, beyond the small scope


@dataclass
class _Tally:
    """What the contests of a cell have come to so far."""

    orders: int = 0  # different ones, run to their end
    classes: int = 0
    pruned: int = 0
    contests: int = 0
    skipped: int = 0
    aged: int = 0
    not_explored: int = 0
    exhaustive: bool = True
    overlapped: bool = False  # two sessions were inside operations on a common key at once
    met: bool = False  # something was met: a wait, a retryable failure, another outcome than alone
    retried: bool = False
    gates: set[str] = field(default_factory=set)
    findings: dict[str, Finding] = field(default_factory=dict)
    explored: set[Contest] = field(default_factory=set)  # to their end, or as far as samples go
    condemned: set[Contest] = field(default_factory=set)  # until their first violation
    reduced: bool = False
    faults: int = 0  # ways in which one client failed, each in all orders with one preemption
    irreducible: set[str] = field(default_factory=set)  # why some contests were explored order by order
    sampled: int = 0  # orders of contests that were not explored to their end...
    sampled_of: float = 0.0  # ...and how many those contests have, about
    repeated: int = 0  # schedules that were run twice
    drawn: int = 0
    drawn_met: int = 0
    drawn_refused: int = 0

    def reduction(self, unknown: int) -> str:
        parts = ["table-level sleep sets" if self.reduced else "none"]
        if unknown:
            parts.append(f"{unknown} statements conflict with everything")
        reasons = sorted(self.irreducible)
        if reasons and not self.reduced:
            return f"none: {'; '.join(reasons)}"
        return "; ".join([*parts, *(f"not where {reason}" for reason in reasons)])


class _Spent(Exception):
    """As many trials of a contest as are allowed were run."""


class _Hopeless(Exception):
    """The search would not come to its end with the trials that are left: they are worth more as samples."""


class CellExplorer:
    """Explores the contests of one cell with its strategy's explorer and the specification's."""

    def __init__(self, judge: Judge, limits: Limits, *, gates: bool = True) -> None:
        self.judge, self.limits, self.gates = judge, limits, gates
        self.cell, self.retryable = judge.cell, judge.retryable
        self.explorer, self.specification = judge.explorer, judge.specification
        self.tally = _Tally()

    def result(self, contests: Iterable[Contest]) -> CellResult:
        """Explore every contest. Never raises for what the code under test did; that is the verdict."""
        began = time.monotonic()
        chosen = tuple(contests)
        verdict, reason = self._from_clean_heaps_if_need_be(chosen)
        tally = self.tally
        coverage = Coverage(
            orders=tally.orders,
            classes=tally.classes,
            pruned=tally.pruned,
            reduction=tally.reduction(len(self.explorer.texts.unknown) if tally.reduced else 0),
            not_explored=tally.not_explored,
            exhaustive=tally.exhaustive and not tally.not_explored and tally.contests > 0,
            granularity="gates" if tally.gates else "statements",
            gates=tuple(sorted(tally.gates)),
            gates_missing=self.explorer.arena.gates.missing,
            sessions=max((len(contest.sessions) for contest in chosen), default=2),
            contests=tally.contests,
            skipped=tally.skipped,
            aged=tally.aged,
            contended=tally.met,
            faults=tally.faults,
            sampled=tally.sampled,
            sampled_of=tally.sampled_of,
            repeated=tally.repeated,
            drawn=tally.drawn,
            drawn_met=tally.drawn_met,
            drawn_refused=tally.drawn_refused,
        )
        findings = tuple(tally.findings.values())
        return CellResult(self.cell, verdict, reason, findings, coverage, time.monotonic() - began)

    @property
    def clean(self) -> frozenset[Contest]:
        """The contests that were explored as far as the limits allow and showed nothing, whatever others did."""
        return frozenset(self.tally.explored - self.tally.condemned)

    def _from_clean_heaps_if_need_be(self, contests: Sequence[Contest]) -> tuple[Verdict, str]:
        """DELETE between trials leaves room where the next rows go: code that sees their order may see a difference.

        A statement that returns the first of two rows does, and only then every trial is worth a TRUNCATE.
        """
        try:
            return self._verdict(contests)
        except (DoesNotRepeat, NotDeterministicAlone, Differs):
            self.tally = _Tally()
        both = (self.explorer, self.specification)
        try:
            for explorer in both:
                explorer.begin_again(truncates=True)
            return self._verdict(contests)
        finally:
            for explorer in both:
                explorer.begin_again(truncates=False)

    def _verdict(self, contests: Sequence[Contest]) -> tuple[Verdict, str]:
        undecided = ""
        try:
            gated = self._alone(contests)
            for contest in () if self.limits.alone else contests:
                if self.limits.first_finding and self.tally.findings:
                    self.tally.exhaustive = False
                    break
                if contest not in self._settled:
                    self._interleaved(contest, gated)
                self.tally.explored.add(contest)
            if self.tally.overlapped and not self.tally.findings:
                self.tally.met = self.tally.met or any(map(self._interact, contests))
            if self.limits.examples and not self.limits.alone and not self.tally.findings:
                self._draw(contests, gated)
        except (DoesNotRepeat, NotDeterministicAlone, Differs) as why:
            if not self.explorer.arena.truncates:
                raise
            if isinstance(why, Differs):  # what was found on the way is no more under control than this
                return Verdict.UNKNOWN, str(why)
            undecided = str(why)
        except (Undecided, OutOfTime) as why:
            undecided = str(why)
        except (Uncontrolled, Departure) as why:
            undecided = f"not under control: {why}"
        tally = self.tally
        if tally.findings:
            return Verdict.UNSAFE, next(iter(tally.findings.values())).violation.explanation
        if undecided:
            return Verdict.UNKNOWN, undecided
        if not tally.contests:
            return Verdict.UNKNOWN, "nothing explored: no order of any contest writes anything"
        if not tally.overlapped:
            return Verdict.UNKNOWN, self._why_never_overlapped()
        if tally.retried:
            return Verdict.RETRY, "every failure may be retried, left nothing, and the operation run again succeeds"
        return Verdict.SAFE, ""

    def _interact(self, contest: Contest) -> bool:
        """Whether an operation does something else after another session's than alone: it met what that one had left.

        Two increments commute and, one statement each, never wait for each other: only this shows that they meet.
        """
        serial, start = self.explorer.serial, self.explorer.start_of(contest).outcome.rows
        refs = contest.operations
        return any(
            change(serial(contest, (a,)).rows, serial(contest, (a, b)).rows)
            != change(start, serial(contest, (b,)).rows)
            for a in refs
            for b in refs
            if a.session != b.session and a.position == b.position == 0
        )

    def _why_never_overlapped(self) -> str:
        if not self.gates and not self.tally.gates:
            return "one statement, needs gates"
        return "no two sessions were ever inside operations on a common key at once"

    # ---- alone ----------------------------------------------------------------------------------------------------

    def _alone(self, contests: Sequence[Contest]) -> bool:
        """Serial orders: they are the oracle, and some strategies fail in them already. Says if gates are needed."""
        self._settled: set[Contest] = set()
        explorer = self.explorer
        for contest in contests:
            start = explorer.start(contest)
            writes = False
            came_to: set[Outcome] = set()
            for order in orders(contest.operations):
                outcome = explorer.serial(contest, order)
                writes = writes or outcome.rows != start.outcome.rows
                came_to.add(outcome)
                # Operations that do not commute do meet, whether or not anybody is ever seen to wait.
                self.tally.met = self.tally.met or len(came_to) > 1
                violation = self.judge.violation(contest, outcome, _in_order(order), None)
                aged = violation is None
                if violation is None:
                    outcome, violation = self._aged(contest, order, outcome)
                if violation is not None:
                    self._settled.add(contest)
                    self.tally.contests += 1
                    self._found_alone(contest, order, outcome, violation, aged=aged)
                    break
            # Two transfers of the same amount, crossed, cancel each other out: they write all the same.
            alone = ((ref,) for ref in contest.operations)
            writes = writes or any(explorer.serial(contest, one).rows != start.outcome.rows for one in alone)
            if not writes and contest not in self._settled:
                self._settled.add(contest)
                self.tally.skipped += 1
        return self.gates and bool(explorer.gates_met)

    def _aged(self, contest: Contest, order: Order, fresh: Outcome) -> tuple[Outcome, Violation | None]:
        """Once more with prepared statements and generic plans: what passes ten times can fail from then on."""
        outcome = self.explorer.serial_aged(contest, order)
        self.tally.aged += 1
        violation = None if outcome == fresh else self.judge.violation(contest, outcome, _in_order(order), None)
        if violation is not None:
            explanation = violation.explanation + "; only once its plan is generic (aged)"
            violation = replace(violation, alone=True, explanation=explanation)
        return outcome, violation

    def _found_alone(
        self, contest: Contest, order: Order, outcome: Outcome, violation: Violation, *, aged: bool
    ) -> None:
        self.tally.condemned.add(contest)
        if violation.name in self.tally.findings:
            known = self.tally.findings[violation.name]
            self.tally.findings[violation.name] = replace(known, count=known.count + 1)
            return
        self.tally.findings[violation.name] = self.judge.finding_alone(contest, order, outcome, violation, aged=aged)

    # ---- interleaved ----------------------------------------------------------------------------------------------

    def _interleaved(self, contest: Contest, gated: bool) -> None:
        explorer, tally, limits = self.explorer, self.tally, self.limits
        explorer.arena.gated = gated
        tally.contests += 1
        search = Search(contest, common_key(contest, explorer.scenario), limits.orders_max, limits.seed)
        try:
            self._explore(search)
        except _Spent:
            tally.exhaustive = False
            tally.sampled += len(search.orders)
            tally.sampled_of += search.orders_about
        finally:
            tally.orders += len(search.orders)
            tally.classes += len(search.orders) if search.classes is None else search.classes
            tally.pruned += search.pruned
            explorer.arena.gated = False
        if limits.faults:
            self._failing(contest)

    def _failing(self, contest: Contest) -> None:
        """One client fails at each of its commands: what was acknowledged is there, nobody is told what is not true.

        Nothing is asked of the one that failed but this: what was cancelled, or cut off before it was sent, has left
        nothing; what was done while the answer got lost is done wholly or not at all.
        """
        for fault in self._faults(contest):
            few, happened = Preemptions(bound=PREEMPTIONS), False
            while few.new_trial():
                self._check_budget()
                try:
                    trial = self.explorer.run(contest, few, retryable=self.retryable, fault=fault)
                except OrderLost:
                    self.tally.not_explored += 1
                    continue
                if trial.ended.failed is None:
                    continue  # it did not come that far
                happened = True
                if self._condemned(contest, trial, fault):
                    break
            self.tally.faults += happened

    def _faults(self, contest: Contest) -> list[Fault]:
        """All that can happen in the orders that nobody interrupts."""
        serial, commands = Preemptions(bound=0), dict[int, list[Kind]]()
        while serial.new_trial():
            self._check_budget()
            for session, kinds in self.explorer.run(contest, serial).ended.commands.items():
                commands[session] = max(commands.get(session, []), kinds, key=len)
        return [
            Fault(session, number, failing)
            for session, kinds in sorted(commands.items())
            for number, kind in enumerate(kinds)
            for failing in Failing
            if kind is Kind.STATEMENT or failing is not Failing.CANCEL
        ]

    # ---- drawn ----------------------------------------------------------------------------------------------------

    def _draw(self, contests: Sequence[Contest], gated: bool) -> None:
        """What the small scope does not have: more calls, sessions and keys, other values, other start states."""
        explorer, tally, cell = self.explorer, self.tally, self.cell
        strategy = next(s for s in explorer.scenario.strategies if s.name == cell.strategy)
        drawing = Drawing(
            self.judge,
            drawn_contests(explorer.scenario, strategy, cell.state),
            lambda contest: common_key(contest, explorer.scenario),
            self._check_budget,
            faults=self.limits.faults,
        )
        explorer.arena.gated = gated
        try:
            for found in drawing.search(self.limits.examples, seed_of(cell, self.limits.seed)):
                self._shrink(found, contests)
        finally:
            explorer.arena.gated = False
            tally.drawn, tally.drawn_met = drawing.drawn, drawing.met
            tally.drawn_refused = drawing.refused
            tally.not_explored += drawing.not_explored

    def _shrink(self, found: Found, small: Sequence[Contest]) -> None:
        """The smallest contest, judged as any other: its serial orders are run anew, and twice."""
        began, judge, first, least = time.monotonic(), self.judge, found.first, found.least
        assert least.violation is not None
        name = least.violation.name
        minimal = Minimiser(judge, name, small, passed=True).smallest(
            least.contest, least.trial.ended.choices, least.fault
        )
        if minimal is None:
            raise DoesNotRepeat(f"a violation ({name}) of a drawn contest does not repeat; {least.contest}")
        before = set(self.tally.findings)
        if not self._condemned(minimal.contest, minimal.trial, least.fault):
            raise DoesNotRepeat(f"a violation ({name}) is none on a second look; {minimal.contest}")
        shrunk = Shrunk(
            len(first.contest.sessions), len(first.contest.operations), len(first.trial.order), minimal.candidates,
            minimal.smaller, time.monotonic() - began,
        )  # fmt: skip
        for name in set(self.tally.findings) - before:
            self.tally.findings[name] = replace(self.tally.findings[name], shrunk=shrunk)

    def _explore(self, search: Search) -> None:
        """Raises _Spent where orders are left that were not run and that no other is known to be equivalent to."""
        match self.limits.scheduler:
            case "portfolio":
                # First to find, with few preemptions, so that the first failure is short; then to certify. Samples as
                # soon as either will not end: with 20 orders each that found 57 of 57 races of 3 sessions, without 54.
                few = Preemptions(bound=PREEMPTIONS)
                try:
                    if not self._condemns(search, few, search.left // 2) and few.cut_off:
                        self._certify(search, search.left // 2)
                except _Hopeless:
                    self._sample(search, PORTFOLIO)
            case "exhaustive":
                self._certify(search)
            case "preemptions":
                self._condemns(search, Preemptions())
            case "nondeterminism":
                self._run_twice(search)
            case sampler:
                self._sample(search, sampler)

    def _certify(self, search: Search, reserved: int = 0) -> None:
        """One order of each class of equivalent orders; all orders where it cannot be known which are equivalent."""
        reduction = self._reduction(search)
        try:
            self._learn(search, reduction)
            if not self._condemns(search, reduction, reserved):
                search.classes, search.pruned = reduction.classes, reduction.pruned
                self.tally.reduced = True
        except Irreducible as why:
            self.tally.irreducible.add(str(why))
            self._condemns(search, Preemptions(), reserved)

    def _reduction(self, search: Search) -> Reduction:
        explorer, sessions = self.explorer, len(search.contest.sessions)
        return Reduction(explorer.texts, explorer.isolation, sessions, shared_pool=explorer.shares_pool)

    def _learn(self, search: Search, reduction: Reduction) -> None:
        for scheduler, tracker in reduction.learning():
            with suppress(Uncontrolled):  # every statement is a transaction of its own here: code may stumble
                self.explorer.run(search.contest, scheduler, tracker=tracker)

    def _sample(self, search: Search, name: str) -> None:
        if name == "pos":
            explorer = self.explorer
            try:
                self._learn(search, self._reduction(search))
                pos = TrackedPartialOrders(
                    search.seed, search.left, explorer.texts, explorer.isolation, shared_pool=explorer.shares_pool
                )
                if self._condemns(search, pos) or search.complete:
                    return
            except Irreducible as why:
                self.tally.irreducible.add(str(why))
        if not self._condemns(search, search.sampler(name)) and not search.complete:
            raise _Spent

    def _run_twice(self, search: Search) -> None:
        """Every schedule twice, judged as any other, but to the last of them, whatever was found."""
        explorer, contest = self.explorer, search.contest
        twice, heard = DoubleRun(Preemptions()), Heard()
        while twice.new_trial():
            self._takes_one(search)
            before, heard = heard, Heard()
            try:
                trial = explorer.run(contest, twice, retryable=self.retryable, recorder=heard)
                twice.compare(facts(trial, heard))
            except (OrderLost, Differs) as why:
                if twice.again:
                    raise Differs(f"{why}{parting(before, heard)}; {contest}") from why
                self.tally.not_explored += 1
                continue
            if twice.again:
                self.tally.repeated += 1
            else:
                self._take(search, trial)

    def _takes_one(self, search: Search) -> None:
        if not search.left:
            raise _Spent
        self._check_budget()
        search.left -= 1

    def _check_budget(self) -> None:
        if self.limits.deadline is not None and time.monotonic() > self.limits.deadline:
            raise Undecided("the budget was spent before every contest was explored")

    def _condemns(self, search: Search, scheduler: Scheduler, reserved: int = 0) -> bool:
        """Run what the scheduler proposes until it has no more (False), or a trial is a violation (True).

        Raises _Hopeless once no more than the reserved trials are left, and it is expected to take more than those.
        """
        explorer, tally, contest = self.explorer, self.tally, search.contest
        allowed = search.left
        while scheduler.new_trial():
            if 0 < search.left <= reserved and _expected(scheduler) > allowed:
                raise _Hopeless
            self._takes_one(search)
            tracker = scheduler.tracker if isinstance(scheduler, Reduction | TrackedPartialOrders) else None
            try:
                trial = explorer.run(contest, scheduler, retryable=self.retryable, tracker=tracker)
            except Pruned:
                continue
            except OrderLost:
                tally.not_explored += 1
                continue
            if tracker is not None and explorer.remembers:
                raise Irreducible("the sessions share a process object")
            if self._take(search, trial):
                return True
            if search.complete and not isinstance(scheduler, Reduction):
                return False
        return False

    def _take(self, search: Search, trial: Trial) -> bool:
        """What a trial shows; whether it is a violation."""
        tally, contest = self.tally, search.contest
        search.note(trial.ended.choices)
        tally.gates.update(trial.ended.gates)
        tally.met = tally.met or trial.ended.waits > 0
        if search.common_key and not tally.overlapped:
            tally.overlapped = trial.overlapped
        key = (id(trial.seen), trial.before)
        if trial.ended.hang is None and key in search.judged:
            return False
        search.judged.add(key)
        return self._condemned(contest, trial)

    def _condemned(self, contest: Contest, trial: Trial, fault: Fault | None = None) -> bool:
        violation = self.judge.violation(contest, trial.seen.outcome, trial.before, trial, fault)
        if violation is None:
            violation = cannot_be_retried(trial)
            if trial.retried and violation is None:
                self.tally.retried = self.tally.met = True
        if violation is None:
            return False
        self.tally.condemned.add(contest)
        if violation.name in self.tally.findings:
            known = self.tally.findings[violation.name]
            self.tally.findings[violation.name] = replace(known, count=known.count + 1)
            return True
        if fault is not None:
            violation = replace(violation, explanation=f"{violation.explanation}; {fault}")
        self.tally.findings[violation.name] = self.judge.finding(contest, trial, violation, fault)
        return True


def _expected(scheduler: Scheduler) -> float:
    """How many trials it takes to its end, as far as is known; a sampler has none."""
    return scheduler.expected if isinstance(scheduler, Reduction | Preemptions) else 0.0


def _in_order(order: Order) -> frozenset[tuple[OpRef, OpRef]]:
    return frozenset((a, b) for i, a in enumerate(order) for b in order[i + 1 :])
