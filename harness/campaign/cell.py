"""One cell to its verdict: every contest, alone first, then interleaved; every violation confirmed before it counts."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from harness.campaign.search import PORTFOLIO, Search
from harness.model.cell import Cell
from harness.model.contest import Contest, OpRef, Order, orders
from harness.model.outcome import Failed, Outcome, change
from harness.model.schedule import Choice, Failing, Fault, Gates, Schedule
from harness.model.verdict import CellResult, Coverage, Finding, Rate, Verdict, Violation
from harness.oracles import Evidence, OracleCrashed, judge
from harness.oracles.allowed import outcomes as allowed_outcomes
from harness.runners.double_run import Heard, facts, parting
from harness.runners.explorer import Explorer, NotDeterministicAlone, Trial
from harness.runners.recorder import Recorder
from harness.runners.reduction import Reduction, TrackedPartialOrders
from harness.schedulers.double_run import Differs, DoubleRun
from harness.schedulers.preemptions import Preemptions
from harness.schedulers.protocol import Departure, Pruned, Scheduler
from harness.schedulers.replay import Replay
from harness.sessions.footprints import Irreducible
from harness.sessions.hub import OrderLost, OutOfTime, Uncontrolled
from harness.sessions.statement import Kind

CONFIRMATIONS = 3
OVERLAPS_ENOUGH = 10  # of one kind: its rate is known well enough
PREEMPTIONS_WITHOUT_GATES = 2
FAILS_WITH = frozenset({"57014", "57P01", "08006", "08003"})  # a client that fails; its caller may call again
PREEMPTIONS = 1


class Undecided(Exception):
    """Why a cell gets no verdict."""


class DoesNotRepeat(Undecided):
    """Equal schedules came to different outcomes."""


@dataclass(frozen=True, slots=True)
class Limits:
    orders_max: int = 4000  # of one contest
    faults: bool = False  # also let one client fail, at each of its commands
    overlaps_max: int = 1000  # runs without gates to confirm a finding that needed one
    deadline: float | None = None  # time.monotonic() at which the budget is spent
    scheduler: str = PORTFOLIO  # one of SCHEDULERS
    seed: int = 0  # of those that sample


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
    reduced: bool = False
    faults: int = 0  # ways in which one client failed, each in all orders with one preemption
    irreducible: set[str] = field(default_factory=set)  # why some contests were explored order by order
    sampled: int = 0  # orders of contests that were not explored to their end...
    sampled_of: float = 0.0  # ...and how many those contests have, about
    repeated: int = 0  # schedules that were run twice

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

    def __init__(
        self,
        cell: Cell,
        explorer: Explorer,
        specification: Explorer,
        retryable: frozenset[str],
        digest: str,
        limits: Limits,
        *,
        gates: bool = True,
    ) -> None:
        self.cell, self.explorer, self.specification = cell, explorer, specification
        self.retryable, self.digest, self.limits, self.gates = retryable, digest, limits, gates
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
        )
        findings = tuple(tally.findings.values())
        return CellResult(self.cell, verdict, reason, findings, coverage, time.monotonic() - began)

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
            for contest in contests:
                if contest not in self._settled:
                    self._interleaved(contest, gated)
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
        tally.met = tally.met or any(self._interact(contest) for contest in contests)
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
        if not self.tally.gates:
            return (
                "one statement, needs gates"
                if not self.gates
                else "no two sessions were ever inside operations on a common key at once"
            )
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
                violation = self.judge(contest, outcome, _in_order(order), None)
                aged = violation is None
                if violation is None:
                    outcome, violation = self._aged(contest, order, outcome)
                if violation is not None:
                    self._settled.add(contest)
                    self.tally.contests += 1
                    self._found_alone(contest, order, outcome, violation, aged=aged)
                    break
            if not writes and contest not in self._settled:
                self._settled.add(contest)
                self.tally.skipped += 1
        return self.gates and bool(explorer.gates_met)

    def _aged(self, contest: Contest, order: Order, fresh: Outcome) -> tuple[Outcome, Violation | None]:
        """Once more with prepared statements and generic plans: what passes ten times can fail from then on."""
        outcome = self.explorer.serial_aged(contest, order)
        self.tally.aged += 1
        violation = None if outcome == fresh else self.judge(contest, outcome, _in_order(order), None)
        if violation is not None:
            explanation = violation.explanation + "; only once its plan is generic (aged)"
            violation = replace(violation, alone=True, explanation=explanation)
        return outcome, violation

    def _found_alone(
        self, contest: Contest, order: Order, outcome: Outcome, violation: Violation, *, aged: bool
    ) -> None:
        if violation.name in self.tally.findings:
            known = self.tally.findings[violation.name]
            self.tally.findings[violation.name] = replace(known, count=known.count + 1)
            return
        recorder = self._confirmed_alone(contest, order, outcome, violation, aged)
        choices = tuple(Choice(ref.session, (ref.session,), "alone", "") for ref in order)
        schedule = Schedule(self.cell, contest, choices, Gates.NONE, aged, self.digest, alone=True)
        allowed = (self.specification.serial(contest, order),) if violation.kind == "wrong-alone" else ()
        self.tally.findings[violation.name] = Finding(
            violation,
            contest,
            schedule,
            recorder.trace,
            outcome,
            allowed,
            replayed=CONFIRMATIONS,
            replays=CONFIRMATIONS,
        )

    def _confirmed_alone(
        self, contest: Contest, order: Order, outcome: Outcome, violation: Violation, aged: bool
    ) -> Recorder:
        """The trace of the last of as many runs, each from truncated tables, as any other finding has to stand."""
        self.explorer.aged = aged
        try:
            for _ in range(CONFIRMATIONS):
                came_to, recorder = self.explorer.record_serial(contest, order)
                if came_to != outcome:
                    raise DoesNotRepeat(
                        f"a violation ({violation.name}) does not repeat: the same order had another outcome"
                    )
        finally:
            self.explorer.aged = False
        return recorder

    # ---- interleaved ----------------------------------------------------------------------------------------------

    def _interleaved(self, contest: Contest, gated: bool) -> None:
        explorer, tally, limits = self.explorer, self.tally, self.limits
        explorer.arena.gated = gated
        tally.contests += 1
        search = Search(contest, _common_key(contest, explorer), limits.orders_max, limits.seed)
        try:
            self._explore(search)
            if limits.faults:
                self._failing(contest)
        except _Spent:
            tally.exhaustive = False
            tally.sampled += len(search.orders)
            tally.sampled_of += search.orders_about
        finally:
            tally.orders += len(search.orders)
            tally.classes += len(search.orders) if search.classes is None else search.classes
            tally.pruned += search.pruned
            explorer.arena.gated = False

    def _failing(self, contest: Contest) -> None:
        """One client fails at each of its commands: what was acknowledged is there, nobody is told what is not true.

        Nothing is asked of the one that failed but this: what was cancelled, or cut off before it was sent, has left
        nothing; what was done while the answer got lost is done wholly or not at all.
        """
        explorer, gated = self.explorer, self.explorer.arena.gated
        explorer.arena.gated = False
        try:
            for fault in self._faults(contest):
                few, happened = Preemptions(bound=PREEMPTIONS), False
                while few.new_trial():
                    try:
                        trial = explorer.run(contest, few, retryable=self.retryable, fault=fault)
                    except OrderLost:
                        continue
                    if trial.ended.failed is None:
                        continue  # it did not come that far
                    happened = True
                    if self._condemned(contest, trial, fault):
                        break
                self.tally.faults += happened
        finally:
            explorer.arena.gated = gated

    def _faults(self, contest: Contest) -> list[Fault]:
        """All that can happen in the orders that nobody interrupts."""
        serial, commands = Preemptions(bound=0), dict[int, list[Kind]]()
        while serial.new_trial():
            for session, kinds in self.explorer.run(contest, serial).ended.commands.items():
                commands[session] = max(commands.get(session, []), kinds, key=len)
        return [
            Fault(session, number, failing)
            for session, kinds in sorted(commands.items())
            for number, kind in enumerate(kinds)
            for failing in Failing
            if kind is Kind.STATEMENT or failing is not Failing.CANCEL
        ]

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
        if self.limits.deadline is not None and time.monotonic() > self.limits.deadline:
            raise Undecided("the budget was spent before every contest was explored")
        search.left -= 1

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
            tally.overlapped = _overlapped(contest, trial.before)
        key = (id(trial.seen), trial.before)
        if trial.ended.hang is None and key in search.judged:
            return False
        search.judged.add(key)
        return self._condemned(contest, trial)

    def _condemned(self, contest: Contest, trial: Trial, fault: Fault | None = None) -> bool:
        violation = self.judge(contest, trial.seen.outcome, trial.before, trial, fault)
        if violation is None:
            violation = self._cannot_be_retried(trial)
        if violation is None:
            return False
        if violation.name in self.tally.findings:
            known = self.tally.findings[violation.name]
            self.tally.findings[violation.name] = replace(known, count=known.count + 1)
            return True
        if fault is not None:
            violation = replace(violation, explanation=f"{violation.explanation}; {fault}")
        self.tally.findings[violation.name] = self._confirmed(contest, trial, violation, fault)
        return True

    def _cannot_be_retried(self, trial: Trial) -> Violation | None:
        """A retryable failure is one only if the operation, called again when all is over, succeeds."""
        for ref, answer in trial.retried.items():
            if isinstance(answer, Failed):
                return Violation(
                    "error",
                    f"s{ref.session + 1} failed, was called again when all others had ended, and failed with {answer}",
                    answer.sqlstate,
                )
        if trial.retried:
            self.tally.retried = self.tally.met = True
        return None

    def _confirmed(self, contest: Contest, trial: Trial, violation: Violation, fault: Fault | None) -> Finding:
        """The finding that the report is to show: one that needs no gate, if there is one."""
        finding = self._replayed(contest, trial, violation, fault)
        arena = self.explorer.arena
        if not arena.gated or not trial.ended.gates:
            return finding
        arena.gated = False
        try:
            between = self._between_statements(contest, violation)
            return between or replace(finding, ungated=self._overlaps(contest, violation))
        finally:
            arena.gated = True

    def _between_statements(self, contest: Contest, violation: Violation) -> Finding | None:
        """The same kind with few preemptions and no gates."""
        few = Preemptions(bound=PREEMPTIONS_WITHOUT_GATES)
        while few.new_trial():
            try:
                trial = self.explorer.run(contest, few)
            except Uncontrolled:
                continue
            found = self.judge(contest, trial.seen.outcome, trial.before, trial)
            if found is not None and found.name == violation.name:
                return self._replayed(contest, trial, found)
        return None

    def _overlaps(self, contest: Contest, violation: Violation) -> Rate:
        """How often sessions that run at once come to the same kind by luck, which nobody can call an artefact."""
        judged: dict[int, bool] = {}
        hits = tries = 0
        with suppress(Uncontrolled, OutOfTime):
            for seen in self.explorer.overlap(contest, self.limits.overlaps_max):
                tries += 1
                if id(seen) not in judged:
                    found = self.judge(contest, seen.outcome, frozenset(), None)
                    judged[id(seen)] = found is not None and found.name == violation.name
                hits += judged[id(seen)]
                if hits == OVERLAPS_ENOUGH:
                    break
        return Rate(hits, max(tries, 1))

    def _replayed(self, contest: Contest, trial: Trial, violation: Violation, fault: Fault | None = None) -> Finding:
        """Replay it, each time from truncated tables: what does not repeat is a fault of ours, not a finding."""
        explorer = self.explorer
        for _ in range(CONFIRMATIONS):
            recorder = Recorder()
            try:
                replay = Replay(trial.ended.choices)
                again = explorer.run(contest, replay, recorder=recorder, truncate=True, fault=fault)
            except Departure as departure:
                raise DoesNotRepeat(f"a violation ({violation.name}) does not replay: {departure}") from departure
            if again.seen.outcome != trial.seen.outcome:
                raise DoesNotRepeat(
                    f"a violation ({violation.name}) does not replay: the same schedule came to another outcome"
                )
        evidence = self._evidence(contest, trial.seen.outcome, trial.before, trial, fault)
        allowed = tuple(dict.fromkeys(outcome for _, outcome in allowed_outcomes(evidence)))
        gates = explorer.arena.gates.gates if explorer.arena.gated else Gates.NONE
        schedule = Schedule(self.cell, contest, choices_of(trial, recorder), gates, False, self.digest, fault=fault)
        return Finding(
            violation, contest, schedule, recorder.trace, trial.seen.outcome, allowed, 1, CONFIRMATIONS, CONFIRMATIONS
        )

    # ---- judging --------------------------------------------------------------------------------------------------

    def judge(
        self,
        contest: Contest,
        outcome: Outcome,
        before: frozenset[tuple[OpRef, OpRef]],
        trial: Trial | None,
        fault: Fault | None = None,
    ) -> Violation | None:
        verdict = judge(self._evidence(contest, outcome, before, trial, fault))
        if isinstance(verdict, OracleCrashed):
            if isinstance(verdict.exception, NotDeterministicAlone):  # of an order that the oracle asked for
                raise verdict.exception
            raise Undecided(f"the oracle {verdict.oracle} broke: {verdict.reason}") from verdict.exception
        return verdict

    def _evidence(
        self,
        contest: Contest,
        outcome: Outcome,
        before: frozenset[tuple[OpRef, OpRef]],
        trial: Trial | None,
        fault: Fault | None = None,
    ) -> Evidence:
        explorer, specification = self.explorer, self.specification
        start = explorer.start_of(contest)

        def specified(order: Order) -> Outcome:
            return specification.serial(contest, order)

        def live_rows(of: Outcome) -> tuple[object, ...]:
            return (explorer.find(of) or specification.live(of)).live_rows

        return Evidence(
            contest=contest,
            outcome=outcome,
            before=before,
            start=start.outcome.rows,
            serial=self._plainly(lambda order: explorer.serial(contest, order)),
            specification=specified,
            retryable=self.retryable if fault is None else self.retryable | FAILS_WITH,
            live=lambda of: (explorer.find(of) or specification.live(of)).live,
            live_at_start=start.live,
            live_rows=live_rows,  # type: ignore[arg-type]
            hang=trial.ended.hang if trial else None,
            invariants=trial.seen.broken if trial else (explorer.find(outcome) or start).broken,
        )

    def _plainly(self, run: Callable[[Order], Outcome]) -> Callable[[Order], Outcome]:
        """Serial orders asked for in the middle of a gated exploration are run without gates, as the others were."""

        def ungated(order: Order) -> Outcome:
            arena = self.explorer.arena
            gated, arena.gated = arena.gated, False
            try:
                return run(order)
            finally:
                arena.gated = gated

        return ungated


def _expected(scheduler: Scheduler) -> float:
    """How many trials it takes to its end, as far as is known; a sampler has none."""
    return scheduler.expected if isinstance(scheduler, Reduction | Preemptions) else 0.0


def choices_of(trial: Trial, recorder: Recorder) -> tuple[Choice, ...]:
    """The choices of a recorded trial with the fingerprint of each step."""
    prints = iter(recorder.fingerprints)
    return tuple(
        Choice(chosen, options, event, next(prints, "") if event == "run" else "")
        for chosen, options, event in trial.ended.choices
    )


def _in_order(order: Order) -> frozenset[tuple[OpRef, OpRef]]:
    return frozenset((a, b) for i, a in enumerate(order) for b in order[i + 1 :])


def _overlapped(contest: Contest, before: frozenset[tuple[OpRef, OpRef]]) -> bool:
    refs = contest.operations
    return any(
        a.session != b.session and (a, b) not in before and (b, a) not in before for a in refs for b in refs if a < b
    )


def _common_key(contest: Contest, explorer: Explorer) -> bool:
    """Whether two sessions of the contest work on an equal key; operations without keys always do."""
    seen: list[set[tuple[str, object]]] = []
    for calls in contest.sessions:
        mine: set[tuple[str, object]] = set()
        for call in calls:
            keys: Mapping[str, str] = explorer.scenario.operations[call.operation].keys
            mine |= {(keys[name], repr(value)) for name, value in call.arguments if name in keys}
        seen.append(mine)
    return any(not a or not b or a & b for i, a in enumerate(seen) for b in seen[i + 1 :])
