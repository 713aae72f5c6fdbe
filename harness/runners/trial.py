"""One contest under one schedule: programs in, what happened out. Knows sessions and tables, no scenario."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.model.cell import Isolation
from harness.schedulers.protocol import Scheduler
from harness.sessions.arena import Arena, Reading
from harness.sessions.hub import Hub
from harness.sessions.session import Operation
from harness.sessions.steering import Ended, Steering, Tracker


@dataclass(frozen=True, slots=True)
class Ran:
    ended: Ended
    reading: Reading


def run_trial(
    arena: Arena,
    programs: Sequence[Sequence[Operation]],
    scheduler: Scheduler,
    isolation: Isolation,
    steering: Steering,
    *,
    aged: bool = False,
    observer: object = None,
    tracker: Tracker | None = None,
) -> Ran:
    """Run the programs from the arena's prepared start. The tables are ready for the next trial afterwards, whatever
    happened. Raises what the scheduler raises, Uncontrolled, OutOfTime, ControlLost."""
    arena.begin(isolation, aged=aged)
    hub = Hub(arena.control, steering, arena.owners, observer, tracker)  # type: ignore[arg-type]
    try:
        ended = hub.run(programs, scheduler)
    except BaseException:
        arena.discard()
        raise
    scheduler.finished(ended.choices)
    return Ran(ended, arena.finish())
