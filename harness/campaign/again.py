"""A recorded schedule run again before the judge of its cell: what it shows now, and where it left the record."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from harness.campaign.judge import Before, Judge, cannot_be_retried
from harness.campaign.witness_file import happenings, sent
from harness.model.outcome import Outcome
from harness.model.schedule import Schedule
from harness.model.verdict import Finding, Violation
from harness.runners.explorer import Trial
from harness.runners.recorder import Recorder
from harness.schedulers.protocol import Departure
from harness.schedulers.replay import Following, Replay
from harness.sessions.steering import Tracker

Steps = Sequence[tuple[str, ...]]
"""What each step sent when it was recorded, as a witness file has it; a bare line has only fingerprints."""

_SHOWN_MAX = 160  # characters of a statement


@dataclass(frozen=True, slots=True)
class Again:
    """One more run of a schedule."""

    outcome: Outcome
    before: Before
    recorder: Recorder
    trial: Trial | None  # None: the operations ran one at a time
    departure: Departure | None = None  # past which it went on


def run_again(
    schedule: Schedule,
    judge: Judge,
    steps: Steps = (),
    *,
    go_on: bool = False,
    open_ended: bool = False,
    recorder: Recorder | None = None,
    tracker: Tracker | None = None,
) -> Again:
    """Run the schedule from truncated tables. `explorer.start` of the judge was called with its contest.

    `go_on`: follow it past a departure as near as that is possible. `open_ended`: only its beginning was recorded.
    Raises Departure, Uncontrolled, OutOfTime.
    """
    if schedule.alone:
        return _one_at_a_time(schedule, judge, steps, recorder or Recorder(), tracker, go_on=go_on)
    explorer, recorder = judge.explorer, recorder or Recorder()
    choices = [(c.session, c.options, c.event) for c in schedule.choices]
    following = Following(choices, open_ended=open_ended) if go_on or open_ended else None
    explorer.arena.gated = bool(schedule.gates)
    try:
        trial = explorer.run(
            schedule.contest,
            following or Replay(choices),
            recorder=recorder,
            retryable=judge.retryable,
            truncate=True,
            tracker=tracker,
            fault=schedule.fault,
        )
    except Departure as left:
        raise _other_statement(schedule, recorder, steps) or left from left
    finally:
        explorer.arena.gated = False
    departure = _other_statement(schedule, recorder, steps) or (following.departure if following else None)
    if departure and not following:
        raise departure
    return Again(trial.seen.outcome, trial.before, recorder, trial, departure)


def _one_at_a_time(
    schedule: Schedule, judge: Judge, steps: Steps, recorder: Recorder, tracker: Tracker | None, *, go_on: bool
) -> Again:
    explorer, order = judge.explorer, schedule.order
    explorer.aged = schedule.aged
    try:
        outcome = explorer.record_serial(schedule.contest, order, recorder, tracker)
    finally:
        explorer.aged = False
    departure = _other_statement(schedule, recorder, steps)
    if departure and not go_on:
        raise departure
    before = frozenset((a, b) for i, a in enumerate(order) for b in order[i + 1 :])
    return Again(outcome, before, recorder, None, departure)


def _other_statement(schedule: Schedule, recorder: Recorder, steps: Steps) -> Departure | None:
    """The first step that sent something else, or went another way, than when it was recorded.

    Fingerprints decide, where there are some; the recorded statements tell it in words. Of a trial that was cut short
    the steps it took are compared.
    """
    now = [sent(events) for events in happenings(schedule, recorder.trace)]
    expected = [choice.fingerprint for choice in schedule.choices if choice.event == "run"]
    if not schedule.alone:
        for step, (was, found) in enumerate(zip(expected, recorder.fingerprints, strict=False)):
            if was and was != found:
                recorded = _told(steps[step]) if step < len(steps) else f"the statement that was recorded ({was})"
                return Departure(step + 1, recorded, _told(now[step]) if step < len(now) else "nothing")
        return None
    for step, (then, found_now) in enumerate(zip_longest(map(_texts, steps), map(_texts, now))):
        if steps and then != found_now:
            parted = next((a, b) for a, b in zip_longest(then or (), found_now or ()) if a != b)
            return Departure(step + 1, *(_told((part,) if part else ()) for part in parted))
    return None


def _texts(statements: tuple[str, ...]) -> tuple[str, ...]:
    """Without parameters: ids that the server makes are no departure."""
    return tuple(statement.partition("  -- ")[0].partition(" -- ")[0] for statement in statements)


def _told(statements: tuple[str, ...]) -> str:
    shown = (text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..." for text in statements)
    return ", then ".join(shown) or "no statement"


def violation_of(schedule: Schedule, judge: Judge, again: Again) -> Violation | None:
    """What its oracles say of it; and, as in the exploration, a retryable failure has to succeed when called again."""
    found = judge.violation(schedule.contest, again.outcome, again.before, again.trial, schedule.fault)
    return found or (cannot_be_retried(again.trial) if again.trial else None)


def finding_of(schedule: Schedule, judge: Judge, again: Again, violation: Violation) -> Finding:
    """What it shows now as a finding, confirmed as any other. Raises DoesNotRepeat."""
    if again.trial is None:
        order = schedule.order
        return judge.finding_alone(schedule.contest, order, again.outcome, violation, aged=schedule.aged)
    arena = judge.explorer.arena
    arena.gated = bool(schedule.gates)
    try:
        return judge.finding(schedule.contest, again.trial, violation, schedule.fault)
    finally:
        arena.gated = False
