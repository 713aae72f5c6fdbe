"""A witness as a regression test: gone is the finding only if no schedule of its contest shows any."""

from dataclasses import dataclass

from harness.campaign.again import run_again, violation_of
from harness.campaign.cell import CellExplorer, Limits
from harness.campaign.judge import Judge
from harness.campaign.replay import opened
from harness.model.contest import OpRef, orders
from harness.model.schedule import Gates, Schedule
from harness.model.verdict import Finding, Verdict
from harness.schedulers.protocol import Departure
from harness.servers.server import Server
from harness.sessions.steering import OutOfTime, Uncontrolled


@dataclass(frozen=True, slots=True)
class Regression:
    """What a witness comes to now. Neither a finding nor a reason: it is mended."""

    finding: Finding | None = None
    undecided: str = ""  # why nobody can say


def regression(schedule: Schedule, server: Server, *, source: str | None = None) -> Regression:
    """Replay the schedule; where it shows nothing any more, or the code departs from it, explore its contest whole.

    All kinds count, not only the one that was found: a repair that trades duplicates for 23505 is none. Tables, layout
    and operations may have changed. Raises ScenarioError where the cell is gone, SqlRefused where its state is.
    """
    with opened(schedule, server, source=source, whatever_changed=True) as judge:
        finding = _again(schedule, judge)
        return Regression(finding) if finding is not None else _explored(schedule, judge)


def _again(schedule: Schedule, judge: Judge) -> Finding | None:
    contest = schedule.contest
    try:
        again = run_again(schedule, judge)
    except (Departure, Uncontrolled, OutOfTime):
        return None
    violation = violation_of(schedule, judge, again)
    if violation is None:
        return None
    allowed = judge.allowed(contest, again.outcome, again.before, again.trial, schedule.fault)
    return Finding(violation, contest, schedule, again.recorder.trace, again.outcome, allowed, replayed=1, replays=1)


def _explored(schedule: Schedule, judge: Judge) -> Regression:
    # What was found between statements may be one statement by now, and that takes gates to look into.
    judge.explorer.arena.install_gates(schedule.gates or Gates.USUAL)
    limits = Limits(faults=schedule.fault is not None)
    result = CellExplorer(judge, limits).result([schedule.contest])
    if result.findings:
        return Regression(result.findings[0])
    if result.verdict is not Verdict.UNKNOWN or (schedule.alone and _right_alone(schedule, judge)):
        return Regression()
    return Regression(undecided=result.reason)


def _right_alone(schedule: Schedule, judge: Judge) -> bool:
    """What needed no concurrency to go wrong is mended where no order does, though nobody meets anybody in it."""
    contest = schedule.contest
    return not any(
        judge.violation(contest, outcome, frozenset(_in_order(order)), None)
        for order in orders(contest.operations)
        for outcome in (judge.explorer.serial(contest, order), judge.explorer.serial_aged(contest, order))
    )


def _in_order(order: tuple[OpRef, ...]) -> set[tuple[OpRef, OpRef]]:
    return {(a, b) for place, a in enumerate(order) for b in order[place + 1 :]}
