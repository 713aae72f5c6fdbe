"""`make soak`: safe cells hammered in turn, none of which may be condemned; broken ones, each of which is to be found.

What a broken strategy needs that is not found within its seconds is rare: the rounds that it passed say how rare.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator

from harness.campaign.campaign import Options, Selection, select
from harness.campaign.hammer import hammer
from harness.campaign.hammered import HammerOptions, HammerResult, Racing
from harness.model.cell import Isolation
from harness.model.verdict import Verdict
from harness.scenario.expectations import Expected, expected
from harness.servers.choose import running
from harness.servers.server import Server

INCIDENTS = ("purchases", "oauth_installations", "waba_accounts", "qbo_tokens", "platform_connections")
RARE = 0.001  # of the rounds: what happens less often need not be found


def chosen(server: Server, patterns: tuple[str, ...], wanted: Callable[[Expected], bool]) -> Iterator[Selection]:
    """Of the cells at READ COMMITTED, those of which this is expected."""
    for selection in select(patterns, Options(isolations=(Isolation.READ_COMMITTED,)), [server.id]):
        strategies = {strategy.name: strategy for strategy in selection.scenario.strategies}
        cells = tuple(cell for cell in selection.cells if wanted(expected(strategies[cell.strategy], cell)))
        if cells:
            yield Selection(selection.scenario, cells)


def soak(server: Server, patterns: tuple[str, ...], minutes: float) -> int:
    """Safe cells: how many were condemned."""
    selections = list(chosen(server, patterns, lambda rule: rule.verdict is not Verdict.UNSAFE))
    cells = sum(len(selection.cells) for selection in selections)
    seconds = 60 * minutes / max(cells, 1)
    report = hammer(selections, [server], HammerOptions(seconds=seconds, hand_over=False), _say)
    condemned = [result for result in report.cells if not result.as_expected]
    rounds, calls = (sum(getattr(result, name) for result in report.cells) for name in ("rounds", "calls"))
    print(
        f"safe: {cells} cells, {report.elapsed_s:.0f} s, {calls:,} calls in {rounds:,} rounds: "
        f"{len(condemned)} worse than expected"
    )
    for result in condemned:
        print(f"  {result.cell.id}: {result.verdict} {result.names} {result.reason}")
    return len(condemned)


def find(server: Server, patterns: tuple[str, ...], seconds: float) -> int:
    """Broken cells: how many were not found although what they show is not rare."""
    selections = list(chosen(server, patterns, lambda rule: rule.verdict is Verdict.UNSAFE))
    options = HammerOptions(seconds=seconds, hand_over=False)
    report = hammer(selections, [server], options, _say)
    missed = [result for result in report.cells if not result.names]
    often = [result for result in missed if result.rounds * RARE < 3]  # else 19 of 20 would have shown it
    wrong = [result for result in report.cells if not result.as_expected]
    print(
        f"broken: {len(report.cells)} cells, {report.elapsed_s:.0f} s: {len(report.cells) - len(missed)} condemned, "
        f"{len(missed)} not found, {len(wrong)} found with kinds that no rule names"
    )
    for result in missed:
        print(f"  {result.cell.id}: none of {result.rounds:,} rounds, {result.overlap}; {result.reason}")
    for result in wrong:
        print(f"  {result.cell.id}: {result.names}, expected {result.expected}")
    return len(often) + len(wrong)


def _say(event: HammerResult | Racing) -> None:
    if isinstance(event, HammerResult) and not event.as_expected:
        print(f"worse than expected: {event.cell.id}: {event.verdict} {event.names}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.quality.soak", description=__doc__)
    parser.add_argument("cells", nargs="*", default=INCIDENTS, help="patterns, as for harness hammer")
    parser.add_argument("--server", default="embedded:18", help="as for harness hammer")
    parser.add_argument("--minutes", type=float, default=10, help="for all safe cells together")
    parser.add_argument("--seconds", type=float, default=10, help="for each broken cell, at most")
    arguments = parser.parse_args()
    began = time.monotonic()
    with running(arguments.server, purpose="hammer") as server:
        faults = find(server, tuple(arguments.cells), arguments.seconds) if arguments.seconds else 0
        faults += soak(server, tuple(arguments.cells), arguments.minutes) if arguments.minutes else 0
    print(f"{time.monotonic() - began:.0f} s")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
