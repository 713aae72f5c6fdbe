"""How fast it is, against the floor and the peer: `python -m tests.bench`. A report: a mark missed is no failure."""

import argparse
import json
import os
import platform
from pathlib import Path
from time import perf_counter

from harness.servers.choose import running

from . import hammer, inside  # noqa: F401 - more rows
from .report import ROWS, Measured, NotMeasured, Row, heading
from .rows import Bench
from .workload import pin


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="memory over 100,000 schedules too; a minute or two more")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name contains this")
    parser.add_argument("--server", default="auto", help="as for harness explore")
    parser.add_argument("--json", default="bench.json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    began = perf_counter()
    with running(arguments.server) as server:
        bench = Bench(server, cpus, full=arguments.full)
        pin(bench.cpu)
        print(f"PostgreSQL {server.version} ({server.provider}), Python {platform.python_version()}")
        pinned = f"pinned to CPU {bench.cpu}" if bench.cpu is not None else "not pinned"
        print(f"{len(cpus) or os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; client and backends {pinned}\n")
        if os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1):
            print("The machine is busy with other work: what is measured in its own time will be too slow.\n")
        print(heading())
        measured = {}
        for one in ROWS:
            if arguments.only in one.name:
                told = measure(one, bench)
                print(told.line(), flush=True)
                measured[one.name] = told.json()
    arguments.json.write_text(json.dumps(measured, indent=2) + "\n")
    missed = sum(one["met"] is False for one in measured.values())
    print(f"\nmarks missed: {missed}; took {perf_counter() - began:.0f} s; see {arguments.json}")


def measure(one: Row, bench: Bench) -> Measured:
    try:
        return Measured(one, one.measure(bench))
    except NotMeasured as why:
        return Measured(one, None, str(why))


if __name__ == "__main__":
    main()
