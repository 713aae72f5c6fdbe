"""Every witness of a store, replayed many times: `python -m tests.bench.replays .harness --times 100 [--server SPEC]`.

Says how many came to one outcome in every run, and to the kind of violation that was recorded; the others by name, with
the reason. The five incidents are explored first with
`harness explore purchases oauth_installations waba_accounts qbo_tokens platform_connections`.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from harness.campaign.recall import enums_of
from harness.campaign.replay import ReplayError, replay
from harness.campaign.store import scenario_of
from harness.campaign.witness_file import read_witness
from harness.scenario.discovery import find
from harness.servers.choose import running
from harness.servers.server import Server


def came_to(path: Path, server: Server, times: int) -> tuple[str, str]:
    """The kind of a witness file's finding, and what is wrong with its replay: nothing, for nearly all."""
    witness = read_witness(path.read_text())
    source = scenario_of(path, witness.scenario_file)
    schedule = witness.schedule(enums_of(find(source or witness.cell.scenario)))
    try:
        again = replay(schedule, server, times, source=source, steps=witness.steps, digests=witness.digests)
    except ReplayError as error:
        return witness.kind, str(error)
    if again.hits != times:
        return witness.kind, f"{again.hits}/{times} {'; '.join(again.departures)}"
    now = again.violation.name if again.violation else "nothing"
    return witness.kind, "" if now == witness.kind else f"shows {now}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--server", default="embedded")
    given = parser.parse_args()
    kinds: Counter[str] = Counter()
    wrong = 0
    with running(given.server) as server:
        print(server.describe())
        paths = sorted(given.store.glob("witnesses/*.json"))
        for number, path in enumerate(paths, 1):
            kind, trouble = came_to(path, server, given.times)
            kinds[kind] += 1
            print(f"\r{number}/{len(paths)}", end="", file=sys.stderr, flush=True)
            if trouble:
                wrong += 1
                print(f"{path.name}: {trouble}", flush=True)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    print(
        f"{kinds.total() - wrong} of {kinds.total()} witnesses replayed {given.times} times of {given.times} ({told})"
    )


if __name__ == "__main__":
    main()
