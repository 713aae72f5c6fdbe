"""Traces written down as a person reads them, and findings made of them: what the tests of causes are told in."""

import re
from collections.abc import Mapping
from dataclasses import replace

from harness.doctor.catalogue import Index, Key
from harness.model.cell import Isolation
from harness.model.contest import Call, Contest, OpRef
from harness.model.outcome import Answer, Failed, Ok, Outcome
from harness.model.trace import Event, Happening, Trace
from harness.model.verdict import Finding, Violation
from harness.reports.ground import Ground
from harness.scenario.parameters import Identity
from tests.reports.made import finding as made_finding

_LINE = re.compile(r"s(?P<session>\d)\s+(?P<statement>.*?)\s+=>\s+(?P<result>.*)")


def trace(text: str) -> Trace:
    """`s1 SELECT ... -- 'a' => SELECT 0`; `=> waits for s1` and `=> at gate ...` leave it open; `s1 -> True`."""
    events: list[Event] = []
    opened: set[int] = set()
    for step, line in enumerate(filter(None, map(str.strip, text.splitlines()))):
        if answer := re.fullmatch(r"s(\d) -> (.*)", line):
            events.append(Event(step, int(answer[1]) - 1, Happening.ANSWERED, "call()", answer[2]))
            continue
        match = _LINE.fullmatch(line)
        assert match is not None, line
        session = int(match["session"]) - 1
        statement = re.sub(r" +-- ", "  -- ", match["statement"])
        waits = match["result"].startswith(("waits for", "at gate"))
        happening = Happening.WAITING if waits else Happening.COMPLETED if session in opened else Happening.SENT
        opened = opened | {session} if waits else opened - {session}
        events.append(Event(step, session, happening, statement, match["result"]))
    return tuple(events)


def found(
    text: str,
    kind: str,
    *,
    isolation: Isolation = Isolation.READ_COMMITTED,
    told: tuple[Answer, ...] = (),
    alone: bool = False,
    arguments: Mapping[str, object] | None = None,
) -> Finding:
    """A finding of that kind (or SQLSTATE); each session made one call, which was told so, or what the kind says."""
    error = kind[:2].isdigit()
    violation = Violation("error" if error else kind, "made", kind if error else None, alone=alone)
    happened = trace(text)
    sessions = 1 + max(event.session for event in happened)
    met = {event.session for event in happened if event.result.startswith(kind)} if error else set()
    answers = told or tuple(Failed(kind) if session in met else Ok(True) for session in range(sessions))
    calls = tuple((Call("put", tuple((arguments or {"key": "a"}).items())),) for _ in range(sessions))
    base = made_finding(violation=violation)
    schedule = replace(base.schedule, cell=replace(base.schedule.cell, isolation=isolation), alone=alone)
    outcome = Outcome((), tuple((OpRef(session, 0), answer) for session, answer in enumerate(answers)))
    return Finding(violation, Contest("new", calls, "same key"), schedule, happened, outcome, ())


def index(*columns: str, predicate: str | None = None) -> Index:
    keys = tuple(Key(column, column, None, None, False) for column in columns)
    return Index(
        1, "item_key", True, False, False, True, True, True, predicate, keys, None, None, "CREATE UNIQUE INDEX", False
    )


def on(
    *indexes: Index,
    functions: Mapping[str, str] | None = None,
    layouts: Mapping[str, str] | None = None,
    live: str | None = None,
) -> Ground:
    """A table `item (key, amount)` with these unique indexes, of which one row for each key is the identity."""
    return Ground({"item": indexes}, functions or {}, (Identity("item", by="key", live=live),), layouts or {})
