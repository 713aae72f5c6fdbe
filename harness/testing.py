"""For tests of your own: a finding that must not come back. `harness export --format pytest` writes such a test."""

import atexit
from contextlib import ExitStack
from pathlib import Path

from harness.campaign.regression import regression
from harness.campaign.replay import schedule_of
from harness.reports.witness import witness
from harness.servers.choose import recorded_on, running
from harness.servers.server import Server

__all__ = ["StillWrong", "Undecided", "replay"]


class StillWrong(AssertionError):
    """The interleaving, or another one of the same calls, still comes to something wrong; the text is its table."""


class Undecided(AssertionError):
    """Nobody can say whether it is mended: that is no pass."""


def replay(line: str, *, scenario_file: str | Path | None = None, server: str | None = None) -> None:
    """Pass if what this schedule line shows is mended.

    The schedule is run again. Where it shows nothing any more, or the code no longer goes its way, every order of the
    same calls is explored, and any finding counts. `server` is as for `harness --server`; without it HARNESS_SERVER
    decides, then [tool.harness] in pyproject.toml, then the version of the line.

    Raises StillWrong; Undecided; ScenarioError when the scenario, strategy, layout or state is gone; CodecError for a
    line that cannot be read; ServerError.
    """
    __tracebackhide__ = True  # of pytest: the text says it all
    source = None if scenario_file is None else str(scenario_file)
    schedule = schedule_of(line, source)
    came_to = regression(schedule, _started(server or recorded_on(schedule.cell.server)), source=source)
    if came_to.finding is not None:
        raise StillWrong("\n" + witness(came_to.finding, source or ""))
    if came_to.undecided:
        raise Undecided(f"{schedule.cell.id}: {came_to.undecided}")


_servers: dict[str, Server] = {}  # one for all tests of a process: to start one takes longer than a test
_running = ExitStack()
atexit.register(_running.close)


def _started(spec: str) -> Server:
    if spec not in _servers:
        _servers[spec] = _running.enter_context(running(spec))
    return _servers[spec]
