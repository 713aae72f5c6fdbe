"""A finding as a file: JSON that a person can read and `harness replay` can run; docs/witness.schema.json describes it.

The schedule line in it is what is run; everything else says in words what the line stands for, and is compared with it
when the file is read. Equal findings make equal files, byte by byte: nothing in them says when.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from harness.model.cell import Cell
from harness.model.codec import AnyEnum, CodecError, cell_of, decode, encode, no_enums, to_plain
from harness.model.contest import Call, Contest
from harness.model.outcome import Outcome
from harness.model.schedule import Schedule
from harness.model.trace import Event, Happening, Trace
from harness.model.verdict import Finding
from harness.scenario.discovery import harness_version

FORMAT = 1
_NAME_MAX = 180  # characters of a file's name before its digest; file systems allow 255 bytes


class WitnessError(ValueError):
    """A file that is no witness, is damaged, or was written by a newer harness; the message says which."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness file, read."""

    line: str
    kind: str  # as `expect` rules name it: "duplicate", "23505"
    explanation: str
    steps: tuple[tuple[str, ...], ...]  # of each step that was chosen, what its session sent and how that began
    digests: Mapping[str, str]  # of the parts of the scenario, as `harness.scenario.discovery.digests` has them
    scenario_file: str | None  # relative to where the harness was run; None: found by the scenario's name
    members: Mapping[str, Any]  # the whole file

    @property
    def cell(self) -> Cell:
        return cell_of(self.line)

    @property
    def size(self) -> tuple[int, int, int]:
        """Sessions, calls, steps: what has less of them is the better witness."""
        contest = self.members["contest"]
        calls = (*contest["sessions"], contest["prelude"])
        return len(contest["sessions"]), sum(map(len, calls)), len(self.members["schedule"]["steps"])

    @property
    def stays(self) -> bool:
        """As of the contest itself (`harness.model.contest.Contest`)."""
        contest = self.members["contest"]
        return not contest["prelude"] and all(len(calls) <= 1 for calls in contest["sessions"])

    def schedule(self, enums: AnyEnum = no_enums) -> Schedule:
        """What the line stands for. Raises WitnessError where the words around it say something else."""
        try:
            schedule = decode(self.line, enums)
        except CodecError as error:
            raise WitnessError(str(error)) from error
        said, meant = self.members["contest"], _contest(schedule.contest)
        if said != meant or self.members["cell"] != _cell(schedule.cell):
            raise WitnessError(
                f"its words and its line speak of different things: the line has {schedule.cell.id}, "
                f"{schedule.contest}; a witness is not edited by hand, replay a line or explore again"
            )
        return schedule


# Written.


def witness_text(
    finding: Finding, *, digests: Mapping[str, str] | None = None, scenario_file: str | None = None
) -> str:
    """The text of the file. Raises CodecError for an argument that has no written form: no schedule can carry it."""
    schedule, violation = finding.schedule, finding.violation
    members = {
        "allowed": [_outcome(finding.contest, outcome) for outcome in finding.allowed],
        "alone": violation.alone,
        "anomaly": violation.anomaly,
        "cell": _cell(schedule.cell),
        "contest": _contest(finding.contest),
        "digests": dict(digests or {}),
        "explanation": violation.explanation,
        "format": FORMAT,
        "found": _outcome(finding.contest, finding.found),
        "harness": harness_version(),
        "kind": violation.kind,
        "line": encode(schedule),
        "replayed": finding.replayed,
        "replays": finding.replays,
        "scenario_file": scenario_file,
        "schedule": _schedule(schedule, finding.trace),
        "server_version": schedule.cell.version or None,
        "sqlstate": violation.sqlstate,
        "without_gates": finding.ungated and {"hits": finding.ungated.hits, "tries": finding.ungated.tries},
    }
    return json.dumps(members, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def witness_name(finding: Finding) -> str:
    """`purchases-ShippedFix-partial-owned-read_committed-pg18-duplicate-3f9a1c2d.json`"""
    front = f"{slug(finding.schedule.cell)}-{finding.violation.name}"
    return f"{front[:_NAME_MAX]}-{short_digest(encode(finding.schedule).encode())}.json"


def slug(cell: Cell) -> str:
    """A cell's id as a file may be called."""
    return "-".join((cell.scenario, cell.strategy, cell.layout, cell.state, cell.isolation, cell.server))


def short_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]


def _cell(cell: Cell) -> dict[str, str]:
    return {
        "id": cell.id,
        "isolation": cell.isolation.value,
        "layout": cell.layout,
        "scenario": cell.scenario,
        "server": cell.server,
        "state": cell.state,
        "strategy": cell.strategy,
    }


def _contest(contest: Contest) -> dict[str, Any]:
    return {
        "pattern": contest.pattern,
        "prelude": [_call(call) for call in contest.prelude],
        "sessions": [[_call(call) for call in calls] for calls in contest.sessions],
        "start_state": contest.state,
    }


def _call(call: Call) -> dict[str, Any]:
    """For a person, and for a program: the codec's spelling of each argument has its type."""
    arguments = {name: to_plain(value) for name, value in call.arguments}
    return {"arguments": arguments, "operation": call.operation, "text": str(call)}


def _outcome(contest: Contest, outcome: Outcome) -> dict[str, Any]:
    answers = [
        {"answer": str(answer), "call": str(contest.call(ref)), "session": _name(ref.session)}
        for ref, answer in outcome.answers
    ]
    tables = [
        {"columns": list(table.columns), "rows": [list(map(_value, row)) for row in table.rows], "table": table.name}
        for table in outcome.rows
    ]
    return {"answers": answers, "tables": tables}


def _value(value: object) -> str | int | bool | None:
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _name(session: int) -> str:
    return f"s{session + 1}"


# Its steps.


def _schedule(schedule: Schedule, trace: Trace) -> dict[str, Any]:
    steps = []
    numbers = count(1)
    happened = iter(list(happenings(schedule, _without_times(trace, schedule.contest))))
    for choice in schedule.choices:
        step: dict[str, Any] = {"event": choice.event, "session": _name(choice.session)}
        step["among"] = [_name(option) for option in choice.options]
        if choice.event in ("run", "alone"):
            step["step"] = next(numbers)
            step["fingerprint"] = choice.fingerprint or None
            step["happens"] = [_happens(event) for event in next(happened, ())]
        steps.append(step)
    return {
        "age": "aged" if schedule.aged else "fresh",
        "digest": schedule.digest,
        "fault": None if schedule.fault is None else str(schedule.fault),
        "gates": schedule.gates.name.lower(),
        "one_at_a_time": schedule.alone,
        "steps": steps,
    }


def _happens(event: Event) -> dict[str, str]:
    return {
        "event": event.happening.value,
        "result": event.result,
        "session": _name(event.session),
        "statement": event.statement,
    }


def happenings(schedule: Schedule, trace: Trace) -> Iterator[tuple[Event, ...]]:
    """The events of each step that was chosen; of a serial order, those of each operation, up to its answer."""
    if not schedule.alone:
        runs = sum(choice.event == "run" for choice in schedule.choices)
        yield from (tuple(event for event in trace if event.step == step) for step in range(runs))
        return
    mine: list[Event] = []
    for event in trace:
        mine.append(event)
        if event.happening is Happening.ANSWERED:
            yield tuple(mine)
            mine = []
    if mine:
        yield tuple(mine)


def sent(events: Sequence[Event]) -> tuple[str, ...]:
    """What a step's session sent, and whether it had to wait: what a departure is told in."""
    return tuple(
        f"{_collapsed(event.statement)}{f' ({event.result})' if event.happening is Happening.WAITING else ''}"
        for event in events
        if event.happening is not Happening.ANSWERED
    )


def _collapsed(statement: str) -> str:
    return " ".join(statement.split())


# A time with a fraction of a second, as a server writes it and as Python does: now(), in all likelihood. A date that
# somebody wrote down has none.
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.\d+(?:[+-]\d\d(?::?\d\d)?|Z)?"
    r"|datetime\.datetime\((?:\d+, ){6}\d+(?:, \w+=[\w.]+(?:\([^()]*\))?)*\)"
)
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def _without_times(trace: Trace, contest: Contest) -> Trace:
    """The trace without what is another each time: times, and uuids that no call was given."""
    given = repr(contest)
    names: dict[str, str] = {}

    def uuid(found: re.Match[str]) -> str:
        return found[0] if found[0] in given else names.setdefault(found[0], f"<uuid {len(names) + 1}>")

    def time(found: re.Match[str]) -> str:
        return found[0] if found[0] in given else "<time>"

    def steady(text: str) -> str:
        return _UUID.sub(uuid, _TIME.sub(time, text))

    return tuple(
        Event(event.step, event.session, event.happening, steady(event.statement), steady(event.result))
        for event in trace
    )


# Read.


def read_witness(text: str) -> Witness:
    """What a witness file says. Raises WitnessError."""
    try:
        members = json.loads(text)
    except ValueError as error:
        raise WitnessError(f"this is no witness file, or a part of one: {error}") from error
    if not isinstance(members, dict) or "format" not in members or "line" not in members:
        raise WitnessError("this is JSON, and no witness file: expected members such as format, line and contest")
    if members["format"] != FORMAT:
        raise WitnessError(
            f"this witness was written by another harness ({members.get('harness', 'unknown')}): expected format "
            f"{FORMAT}, found {members['format']!r}; install that version, or explore the cell again"
        )
    try:
        sqlstate = members["sqlstate"]
        witness = Witness(
            line=members["line"],
            kind=(sqlstate if members["kind"] == "error" else None) or members["kind"],
            explanation=members["explanation"],
            steps=tuple(_steps_of(members)),
            digests=members["digests"],
            scenario_file=members["scenario_file"],
            members=members,
        )
        _ = (
            witness.cell,
            witness.size,
            members["cell"]["id"],
            members["schedule"]["gates"],
            members["found"]["tables"],
        )
    except CodecError as error:
        raise WitnessError(str(error)) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise WitnessError(
            f"this witness file is damaged ({type(error).__name__}: {error}); explore the cell again"
        ) from error
    return witness


def _steps_of(members: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for step in members["schedule"]["steps"]:
        if step["event"] in ("run", "alone"):
            number = step["step"] - 1
            yield sent(
                [
                    Event(number, int(e["session"][1:]) - 1, Happening(e["event"]), e["statement"], e["result"])
                    for e in step["happens"]
                ]
            )


def is_witness(text: str) -> bool:
    """Whether the text is meant to be a witness file, whole or not: not a report, or a log with lines in it."""
    if text.startswith('{\n  "allowed": ['):  # as we write them
        return True
    try:
        members = json.loads(text)
    except ValueError:
        return False
    return isinstance(members, dict) and {"line", "schedule"} <= members.keys()
