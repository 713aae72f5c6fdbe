"""Every finding of a report, exported and run by the real tools: `make exports`, or with a report of your own.

harness explore ... --json FILE; python -m tests.exports.sweep FILE [SERVER] [FIRST:LAST]
"""

import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from harness.campaign.record import Recorded, record
from harness.campaign.replay import schedule_of
from harness.exports.psql import runner
from harness.exports.pytest_file import LINES_MAX, pytest_file
from harness.exports.spec import spec
from harness.runners.script import Unwritable
from harness.servers.choose import running
from harness.servers.databases import own_database
from harness.servers.server import Server

from .tools import missing_in, run_pytest, run_script, run_spec


def main(report: str, spec_of_server: str = "embedded:18", part: str = ":") -> int:
    first, _, last = part.partition(":")
    lines = list(lines_of(json.loads(Path(report).read_text())))[int(first or 0) : int(last) if last else None]
    tally: Counter[tuple[str, str]] = Counter()
    with running(spec_of_server) as server, tempfile.TemporaryDirectory() as folder:
        for number, (kind, line) in enumerate(lines):
            recorded = record(schedule_of(line), server)
            for form, wrong in (("spec", shown_by_spec), ("psql", shown_by_psql)):
                try:
                    why = wrong(recorded, server)
                except Unwritable as refused:
                    tally[form, f"refused: {refused}"] += 1
                    continue
                tally[form, "not shown" if why else "shown"] += 1
                if why:
                    print(f"{form}: {kind}: {line}\n{why}", flush=True)
            text = pytest_file(recorded)
            assert len(text.splitlines()) <= LINES_MAX, text
            Path(folder, f"test_{number}.py").write_text(text)
        ran = run_pytest(Path(folder), "--tb=line", "-rN")
        print(ran.stdout[-300:])
        tally["pytest", "shown"] = len(re.findall(r"^\S+:\d+: harness\.testing\.StillWrong", ran.stdout, re.MULTILINE))
    print(f"{len(lines)} findings on {spec_of_server}")
    for (form, what), count in sorted(tally.items()):
        print(f"{form:7} {what}: {count}")
    return int(any(what == "not shown" for _, what in tally))


def lines_of(report: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[tuple[str, str]]:
    return [(f["kind"], f["schedule"]) for cell in report["cells"] for f in cell["findings"] if f["schedule"]]


def shown_by_spec(recorded: Recorded, server: Server) -> str:
    with own_database(server, label="spec") as database:
        output = run_spec(spec(recorded), server, database)
    missing = missing_in(output, recorded)
    return "\n".join([*missing, output]) if missing else ""


def shown_by_psql(recorded: Recorded, server: Server) -> str:
    ran = run_script(runner(recorded), server)
    return "" if ran.returncode == 0 else f"exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
