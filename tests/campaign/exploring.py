"""One cell, explored in this process: what the tests of verdicts share."""

from pathlib import Path
from typing import Any

from harness.campaign.campaign import Options, explore, select
from harness.model.verdict import CellResult
from harness.servers.server import Server

WAYS = Path(__file__).with_name("ways.py")


def explored(server: Server, pattern: str, **options: Any) -> CellResult:
    """Of the only cell that the pattern means."""
    wanted = Options(workers=0, **options)
    (result,) = explore(select([pattern], wanted, [server.id]), [server], wanted).cells
    return result


def written(server: Server, folder: Path, scenario: str, strategy: str = "", **options: Any) -> CellResult:
    """Of a scenario that is written into the folder first, as `scenario.py`."""
    path = folder / "scenario.py"
    path.write_text(scenario)
    return explored(server, f"{path}::{strategy}" if strategy else str(path), **options)
