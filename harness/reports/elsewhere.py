"""A line replayed on another server than it was recorded on: whether it shows the same there, or why precisely not."""

from collections.abc import Iterator, Sequence

from harness.campaign.replay import Replayed
from harness.model.schedule import Schedule
from harness.model.sqlstate import describe, is_sqlstate
from harness.model.trace import Trace
from harness.scenario.features import lacking
from harness.servers.server import Server, major_of


def recorded_there(schedule: Schedule, server: Server) -> bool:
    return schedule.cell.server in (server.id, f"pg{server.version}")


def elsewhere(schedule: Schedule, server: Server, replayed: Replayed) -> Iterator[str]:
    """Nothing where it was recorded on a server of this version."""
    if recorded_there(schedule, server):
        return
    yield f"warning: recorded on {schedule.cell.server}, replayed on {server.id}"
    missing = list(dict.fromkeys([*_missing(replayed.trace, server), *_departing(replayed.departures, server)]))
    yield from missing
    if missing:
        return
    if replayed.departures:
        yield (
            f"not the same on {server.id}: it has another wait, another gate or another statement at the step that "
            "departs; 'harness explore' shows what that server comes to"
        )
    elif replayed.outcome is not None and replayed.violation is None:
        yield f"not shown on {server.id}: the same steps were taken there, and come to an allowed outcome"


def _departing(departures: Sequence[str], server: Server) -> Iterator[str]:
    """A statement that the server refused where it had run is another step: the departure quotes it."""
    for departure in departures:
        found = departure.partition(", found another ")[2].partition(": ")[2] or departure.partition(", found ")[2]
        for feature in lacking(found, major_of(server.version_num)):
            where = departure.partition(": ")[0]  # the schedule departs at step 1
            yield f"{server.id} has no {feature.name}, which came with PostgreSQL {feature.major}: hence {where}"


def _missing(trace: Trace, server: Server) -> Iterator[str]:
    """What was refused as no SQL (class 42) and is some, on a later server."""
    for event in trace:
        state = event.result.partition(" ")[0]
        if is_sqlstate(state) and state.startswith("42"):
            for feature in lacking(event.statement, major_of(server.version_num)):
                yield (
                    f"{server.id} has no {feature.name}, which came with PostgreSQL {feature.major}: "
                    f"s{event.session + 1} met {describe(state)} at step {event.step + 1}"
                )
