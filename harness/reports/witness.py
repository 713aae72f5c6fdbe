"""The interleaving table: one column per session, time downwards, then what went wrong, was expected and was found.

Waits are written as PostgreSQL's isolation tester writes them.
"""

import re
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.model.codec import CodecError, encode
from harness.model.contest import OpRef
from harness.model.outcome import Ok, Outcome
from harness.model.schedule import Schedule
from harness.model.trace import Event, Happening, Trace
from harness.model.verdict import Finding, Rate, Shrunk
from harness.reports.advice import advice_lines
from harness.reports.differences import expected_and_found, is_made_name
from harness.reports.story import paragraph
from harness.scenario.discovery import shipped

WIDTH = 100
_NARROWEST = 22  # of a column: with more sessions than fit, the table grows wider rather than unreadable
_LINES_MAX = 12  # of one cell: a function's text is in the scenario, not here


def witness(finding: Finding, source: str = "") -> str:
    """All that a person needs to see and replay a finding; 100 columns for two sessions, and no colours.

    `source` is the path of the scenario's file: the replay line tells it where the name alone would not find it.
    """
    return "\n".join(
        [
            f"{finding.schedule.cell.id}: {kind(finding)}",
            *textwrap.wrap(
                collapsed(finding.violation.explanation), WIDTH, initial_indent="  ", subsequent_indent="  "
            ),
            "",
            f"start state '{finding.contest.state}', {finding.contest.pattern}",
            interleaving(named(finding.trace, finding.found), len(finding.contest.sessions)),
            "",
            *told_as_story(finding),
            *expected_and_found(finding),
            how_sure(finding),
            *advice_lines(finding.advice, finding.schedule.cell),
            replay_line(finding.schedule, source),
        ]
    )


def told_as_story(finding: Finding) -> list[str]:
    """What went wrong, a paragraph; nothing where it is not known."""
    lines = paragraph(finding, WIDTH)
    return [*lines, ""] if lines else []


def kind(finding: Finding) -> str:
    """`23505 unique_violation, alone`, `lost-update (P4)`"""
    violation = finding.violation
    anomaly = f" ({violation.anomaly})" if violation.anomaly else ""
    return f"{violation.name}{anomaly}{', needs no concurrency' if violation.alone else ''}"


def how_sure(finding: Finding) -> str:
    """How it was reached and how often it came again."""
    schedule = finding.schedule
    where = "alone" if schedule.alone else "between statements and at gates" if schedule.gates else "between statements"
    aged = ", statements prepared with generic plans" if schedule.aged else ""
    contests = "1 contest" if finding.count == 1 else f"{finding.count} contests"
    replayed = f"replayed {finding.replayed} of {finding.replays} times"
    shown = f"run {where}{aged}; {replayed}{without_gates(finding.ungated)}; shown by {contests} of this cell"
    return f"{shown}; {drawn(finding.shrunk)}" if finding.shrunk else shown


def drawn(shrunk: Shrunk) -> str:
    """`drawn, and shrunk from 4 sessions, 9 calls, 31 steps; all 6 simpler contests of the small scope pass`"""
    size = f"{shrunk.sessions} sessions, {shrunk.calls} calls, {shrunk.steps} steps"
    pass_ = f"; all {shrunk.smaller} simpler contests of the small scope pass" if shrunk.smaller else ""
    return f"drawn, and shrunk from {size}{pass_}"


def without_gates(rate: Rate | None) -> str:
    """`; without gates in 39 of 1,000 overlapping runs, 3.9 % (2.9-5.3 %)`"""
    if rate is None:
        return ""
    if not rate.tries:
        return "; unconfirmed without gates: no overlapping run came to its end"
    if not rate.hits:
        most = 100 * rate.interval[1]
        return f"; unconfirmed without gates: in none of {rate.tries:,} overlapping runs (below {most:.2g} %)"
    low, high = (100 * end for end in rate.interval)
    percent = f"{100 * rate.hits / rate.tries:.2g} % ({low:.2g}-{high:.2g} %)"
    return f"; without gates in {rate.hits:,} of {rate.tries:,} overlapping runs, {percent}"


def replay_line(schedule: Schedule, source: str = "") -> str:
    try:
        line = encode(schedule)
    except CodecError as error:
        return f"cannot be written as a schedule line: {error}"
    return f"replay with: harness replay '{line}'{_from(source)}"


def _from(source: str) -> str:
    if not source or Path(source).resolve().parent in (Path("scenarios").resolve(), shipped().resolve()):
        return ""
    path = Path(source).resolve()
    return f" --from {shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))}"


# The table.


def interleaving(trace: Trace, sessions: int) -> str:
    """The table itself: `|   | s1 | s2 |`, steps numbered from 1."""
    columns = max(sessions, *(event.session + 1 for event in trace)) if trace else sessions
    number = len(str(max((event.step + 1 for event in trace), default=1)))
    most = max(_NARROWEST, (WIDTH - 4 - number) // columns - 3)
    rows = [(step, session, textwrap_all(lines, most)) for step, session, lines in _rows(trace)]
    widths = [
        max([_NARROWEST, *(len(line) for _, session, lines in rows if session == column for line in lines)])
        for column in range(columns)
    ]
    widths = [number, *widths]
    head = ["", *(f"s{column + 1}" for column in range(columns))]
    table = [_line(head, widths), _line(["-" * w for w in widths], widths)]
    for step, session, lines in rows:
        numbers = [step, *[""] * (len(lines) - 1)]
        for shown, line in zip(numbers, lines, strict=True):
            table.append(_line([shown.rjust(number), *(line if c == session else "" for c in range(columns))], widths))
    return "\n".join(table)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _rows(trace: Trace) -> Iterable[tuple[str, int, list[str]]]:
    """The step where one begins, and what each event adds to its session's column, as yet unwrapped."""
    last: dict[int, Event] = {}  # of each session: a statement that waits is written out once
    numbered = -1
    for event in _without_idle_gates(trace):
        known = last.get(event.session)
        open_before = known is not None and known.happening is Happening.WAITING and known.statement == event.statement
        begins = event.step > numbered and event.happening is not Happening.ANSWERED
        numbered = max(numbered, event.step)
        yield str(event.step + 1) if begins else "", event.session, _cell(event, open_before)
        last[event.session] = event


def _cell(event: Event, open_before: bool) -> list[str]:
    statement = [] if open_before else [collapsed(event.statement)]
    result = [f"  => {collapsed(event.result)}"] if event.result else []
    match event.happening:
        case Happening.ANSWERED:
            return [f"{collapsed(event.statement)} -> {collapsed(event.result)}"]
        case Happening.WAITING:
            return [*statement, _waiting(event.result)]
        case Happening.COMPLETED if open_before:
            return ["<... completed>", *result]
    return [*statement, *result]


def _waiting(why: str) -> str:
    """`<waiting ...> for s1`, `<at gate BEFORE INSERT ON purchase>`"""
    if why.startswith("at gate "):
        return f"<{without_public(why)}>"
    return f"<waiting ...>{why.removeprefix('waits')}"


def _without_idle_gates(trace: Trace) -> Iterable[Event]:
    """Leaves out the stops at gates during which nobody else did anything: there the statement ran as one."""
    held: Event | None = None
    for event in trace:
        if held is not None:
            passed = held.session == event.session and held.statement == event.statement
            if not passed:
                yield held
            elif event.happening is Happening.COMPLETED:
                event = Event(held.step, event.session, Happening.SENT, event.statement, event.result)
        held = None
        if event.happening is Happening.WAITING and event.result.startswith("at gate "):
            held = event
        else:
            yield event
    if held is not None:
        yield held


# Names.


def named(trace: Trace, found: Outcome) -> Trace:
    """The trace with the ids that clients were told by their names, as rows and answers below the table have them."""
    names = dict(_names(trace, found))
    if not names:
        return trace
    made = re.compile(r"(?<![\w.-])(?:" + "|".join(map(re.escape, names)) + r")(?![\w.-])")

    def rename(text: str) -> str:
        return made.sub(lambda match: names[match[0]], text)

    return tuple(replace(event, statement=rename(event.statement), result=rename(event.result)) for event in trace)


def _names(trace: Trace, found: Outcome) -> Iterable[tuple[str, str]]:
    """What each client was told, raw, and its name. The answers of one session come in the order of its calls."""
    position: Counter[int] = Counter()
    for event in trace:
        if event.happening is Happening.ANSWERED:
            answer = found.told.get(OpRef(event.session, position[event.session]))
            position[event.session] += 1
            if isinstance(answer, Ok) and isinstance(answer.value, str) and is_made_name(answer.value):
                raw = re.fullmatch(r"(\d{4,})|(?:UUID\()?'([0-9a-f-]{36})'\)?", event.result)
                if raw:
                    yield raw[1] or raw[2], answer.value


# Text in cells.


def collapsed(text: str) -> str:
    """On one line, as SQL of several lines is to stand in a cell."""
    return " ".join(text.split())


def without_public(text: str) -> str:
    return text.replace(" ON public.", " ON ")


def textwrap_all(lines: Iterable[str], width: int) -> list[str]:
    """Each line wrapped, what follows set in under it; and not without end."""
    wrapped = [
        part
        for line in lines
        for part in textwrap.wrap(line, width, subsequent_indent="    ", break_on_hyphens=False, tabsize=2) or [""]
    ]
    if len(wrapped) <= _LINES_MAX:
        return wrapped
    return [*wrapped[: _LINES_MAX - 2], "    ...", wrapped[-1]]
