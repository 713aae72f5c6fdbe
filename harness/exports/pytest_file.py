"""`--format pytest`: a test that fails as long as the finding is there, and needs nothing but this package."""

import re
import textwrap
from pathlib import Path

from harness.campaign.record import Recorded
from harness.model.codec import encode
from harness.reports.witness import kind

LINES_MAX = 20
_WIDTH = 100
_FRAME = 13  # lines besides those of the schedule


def pytest_file(recorded: Recorded, source: str | None = None) -> str:
    """The text of the file. `source` is the path of the scenario's file, where its name alone would not find it.

    Raises CodecError for an argument that has no written form.
    """
    line = encode(recorded.schedule)
    width = max(_WIDTH, -(-len(line) // (LINES_MAX - _FRAME)))
    chunks = [line[start : start + width] for start in range(0, len(line), width)]
    schedule = "\n".join(f'    "{chunk}"' for chunk in chunks)
    where = "" if source is None else f', scenario_file="{Path(source).as_posix()}"'
    return f'''"""{_about(recorded)}"""

from harness.testing import replay

SCHEDULE = (
{schedule}
)


def test_{_name(recorded)}() -> None:
    replay(SCHEDULE{where})
'''


def _about(recorded: Recorded) -> str:
    what = kind(recorded.finding) if recorded.finding else "nothing is wrong"
    told = " ".join(recorded.violation.explanation.split()) if recorded.violation else ""
    shown = textwrap.shorten(told, 300, placeholder=" ...").replace("\\", "\\\\").replace('"', "'")
    return f"{recorded.schedule.cell.id}: {what}.\n\n{shown}\n"


def _name(recorded: Recorded) -> str:
    cell = recorded.schedule.cell
    what = recorded.violation.name if recorded.violation else "stays right"
    return re.sub(r"\W+", "_", f"{cell.scenario}_{cell.strategy}_{cell.layout}_{cell.state}_{what}").lower()
