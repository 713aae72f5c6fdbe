"""One finding run once more under a recorder that sees more, and the serial orders that it is to be held against."""

from itertools import islice

from harness.model.contest import Contest, OpRef, Order, orders
from harness.model.outcome import Crashed, Failed, Outcome
from harness.model.schedule import Schedule
from harness.model.trace import Explained, Serial
from harness.runners.explorer import Explorer
from harness.runners.observed import Watcher
from harness.schedulers.protocol import Departure
from harness.schedulers.replay import Replay
from harness.sessions.steering import Uncontrolled

ORDERS_MAX = 24  # held against a finding: four sessions with a call each have as many, two with three calls have 20


def explain(
    explorer: Explorer, specification: Explorer, schedule: Schedule, outcome: Outcome, kind: str
) -> Explained | None:
    """What was seen inside of the trial; None if it does not come to this outcome while it is watched.

    Takes one trial and one run of each serial order, 2 to 5 ms each.
    """
    watcher = explorer.watcher(schedule.contest)
    try:
        came_to, before = _again(explorer, schedule, watcher)
    except (Departure, Uncontrolled):
        return None
    if came_to != outcome:
        return None
    if schedule.alone:
        order = schedule.order
        return Explained(watcher.observed, (_serial(specification, schedule.contest, order),), every_order=False)
    with explorer.arena.gates_open(False):
        first = list(islice(orders(_to_be_explained(outcome, kind), before), ORDERS_MAX + 1))
        serial = tuple(_serial(explorer, schedule.contest, order) for order in first[:ORDERS_MAX])
    return Explained(watcher.observed, serial, every_order=len(first) <= ORDERS_MAX)


def _to_be_explained(outcome: Outcome, kind: str) -> tuple[OpRef, ...]:
    """Who failed is to be left out, as the oracles leave it out; unless it is the failure that is to be explained."""
    failures_too = kind in ("error", "deadlock", "crash", "hang")
    return tuple(ref for ref, told in outcome.answers if failures_too or not isinstance(told, Failed | Crashed))


def _again(explorer: Explorer, schedule: Schedule, watcher: Watcher) -> tuple[Outcome, frozenset[tuple[OpRef, OpRef]]]:
    if schedule.alone:
        order = schedule.order
        explorer.aged = schedule.aged
        try:
            return explorer.record_serial(schedule.contest, order, watcher), frozenset()
        finally:
            explorer.aged = False
    with explorer.arena.gates_open(bool(schedule.gates)):
        choices = [(choice.session, choice.options, choice.event) for choice in schedule.choices]
        trial = explorer.run(schedule.contest, Replay(choices), recorder=watcher, truncate=True, fault=schedule.fault)
    return trial.seen.outcome, trial.before


def _serial(explorer: Explorer, contest: Contest, order: Order) -> Serial:
    watcher = explorer.watcher(contest)
    outcome = explorer.record_serial(contest, order, watcher)
    return Serial(order, watcher.observed, outcome)
