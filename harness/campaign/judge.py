"""A trial before its judge: what the oracles say of it, whether it happens again, and whether it takes a gate."""

from contextlib import suppress
from dataclasses import replace

from harness.model.cell import Cell
from harness.model.contest import Contest, OpRef, Order
from harness.model.outcome import Crashed, Failed, Outcome
from harness.model.schedule import Choice, Fault, Gates, Schedule
from harness.model.verdict import Finding, Rate, Violation
from harness.oracles import Evidence, OracleCrashed, judge
from harness.oracles.allowed import outcomes as allowed_outcomes
from harness.oracles.suspicion import suspect
from harness.runners.explorer import Explorer, NotDeterministicAlone, Trial
from harness.runners.recorder import Recorder
from harness.schedulers.preemptions import Preemptions
from harness.schedulers.protocol import Departure
from harness.schedulers.replay import Replay
from harness.sessions.steering import OutOfTime, Uncontrolled

CONFIRMATIONS = 3
OVERLAPS_ENOUGH = 10  # of one kind: its rate is known well enough
PREEMPTIONS_WITHOUT_GATES, TRIALS_WITHOUT_GATES = 2, 200  # of five sessions there are thousands
FAILS_WITH = frozenset({"57014", "57P01", "08006", "08003"})  # a client that fails; its caller may call again

Before = frozenset[tuple[OpRef, OpRef]]


class Undecided(Exception):
    """Why a cell gets no verdict."""


class DoesNotRepeat(Undecided):
    """Equal schedules came to different outcomes."""


class Judge:
    """Of the trials of one cell."""

    def __init__(
        self,
        cell: Cell,
        explorer: Explorer,
        specification: Explorer,
        retryable: frozenset[str],
        digest: str,
        *,
        overlaps_max: int = 1000,  # runs without gates to confirm a finding that needed one
    ) -> None:
        self.cell, self.explorer, self.specification = cell, explorer, specification
        self.retryable, self.digest, self.overlaps_max = retryable, digest, overlaps_max

    def violation(
        self,
        contest: Contest,
        outcome: Outcome,
        before: Before,
        trial: Trial | None,
        fault: Fault | None = None,
    ) -> Violation | None:
        return self._judged(self._evidence(contest, outcome, before, trial, fault))

    def _judged(self, evidence: Evidence) -> Violation | None:
        verdict = judge(evidence)
        if isinstance(verdict, OracleCrashed):
            if isinstance(verdict.exception, NotDeterministicAlone):  # of an order that the oracle asked for
                raise verdict.exception
            raise Undecided(f"the oracle {verdict.oracle} broke: {verdict.reason}") from verdict.exception
        return verdict

    def suspected(self, contest: Contest, trial: Trial, fault: Fault | None = None) -> Violation | None:
        """As `violation`, but cheaply, for contests of which many are run and few asked for again.

        Serial orders are run once instead of twice, and only until one explains the trial. The name is settled by
        `violation`, on the smallest contest.
        """
        evidence = self._evidence(contest, trial.seen.outcome, trial.before, trial, fault, once=True)
        return suspect(evidence, _by_end(trial)) or cannot_be_retried(trial)

    def refuses(self, contest: Contest, trial: Trial) -> bool:
        """Whether an operation's own body fails, alone, with these arguments: they are none that it is meant for."""
        meant = self.specification.serial_once(contest, _by_end(trial))
        return any(isinstance(told, Failed | Crashed) for _, told in meant.answers)

    def _evidence(
        self,
        contest: Contest,
        outcome: Outcome,
        before: Before,
        trial: Trial | None,
        fault: Fault | None = None,
        *,
        once: bool = False,
    ) -> Evidence:
        explorer, specification = self.explorer, self.specification
        start = explorer.start_of(contest)
        mine, meant = (e.serial_once if once else e.serial for e in (explorer, specification))

        def specified(order: Order) -> Outcome:
            return meant(contest, order)

        def live_rows(of: Outcome) -> tuple[object, ...]:
            return (explorer.find(of) or specification.live(of)).live_rows

        return Evidence(
            contest=contest,
            outcome=outcome,
            before=before,
            start=start.outcome.rows,
            serial=lambda order: mine(contest, order),
            specification=specified,
            retryable=self.retryable if fault is None else self.retryable | FAILS_WITH,
            live=lambda of: (explorer.find(of) or specification.live(of)).live,
            live_at_start=start.live,
            live_rows=live_rows,  # type: ignore[arg-type]
            hang=trial.ended.hang if trial else None,
            invariants=trial.seen.broken if trial else (explorer.find(outcome) or start).broken,
        )

    # ---- happens again --------------------------------------------------------------------------------------------

    def finding_alone(
        self, contest: Contest, order: Order, outcome: Outcome, violation: Violation, *, aged: bool
    ) -> Finding:
        """Of a serial order. Raises DoesNotRepeat."""
        recorder = self._confirmed_alone(contest, order, outcome, violation, aged)
        choices = tuple(Choice(ref.session, (ref.session,), "alone", "") for ref in order)
        schedule = Schedule(self.cell, contest, choices, Gates.NONE, aged, self.digest, alone=True)
        allowed = (self.specification.serial(contest, order),) if violation.kind == "wrong-alone" else ()
        return Finding(
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

    def finding(self, contest: Contest, trial: Trial, violation: Violation, fault: Fault | None) -> Finding:
        """The one that the report is to show: one that needs no gate, if there is one. Raises DoesNotRepeat."""
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
        for _ in range(TRIALS_WITHOUT_GATES):
            if not few.new_trial():
                break
            try:
                trial = self.explorer.run(contest, few)
            except Uncontrolled:
                continue
            found = self.violation(contest, trial.seen.outcome, trial.before, trial)
            if found is not None and found.name == violation.name:
                return self._replayed(contest, trial, found)
        return None

    def _overlaps(self, contest: Contest, violation: Violation) -> Rate:
        """How often sessions that run at once come to the same kind by luck, which nobody can call an artefact."""
        judged: dict[int, bool] = {}
        hits = tries = 0
        with suppress(Uncontrolled, OutOfTime):
            for seen in self.explorer.overlap(contest, self.overlaps_max):
                tries += 1
                if id(seen) not in judged:
                    found = self.violation(contest, seen.outcome, frozenset(), None)
                    judged[id(seen)] = found is not None and found.name == violation.name
                hits += judged[id(seen)]
                if hits == OVERLAPS_ENOUGH:
                    break
        return Rate(hits, tries)

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


def cannot_be_retried(trial: Trial) -> Violation | None:
    """A retryable failure is one only if the operation, called again when all is over, succeeds."""
    for ref, answer in trial.retried.items():
        if isinstance(answer, Failed):
            words = f"s{ref.session + 1} failed, was called again when all others had ended, and failed with {answer}"
            return Violation("error", words, answer.sqlstate)
    return None


def _by_end(trial: Trial) -> Order:
    """The operations in the order in which they ended: mostly one that explains the trial."""
    spans = trial.ended.spans
    return tuple(sorted((OpRef(*key) for key in spans), key=lambda ref: (spans[ref][-1], ref)))


def choices_of(trial: Trial, recorder: Recorder) -> tuple[Choice, ...]:
    """The choices of a recorded trial with the fingerprint of each step."""
    prints = iter(recorder.fingerprints)
    return tuple(
        Choice(chosen, options, event, next(prints, "") if event == "run" else "")
        for chosen, options, event in trial.ended.choices
    )
