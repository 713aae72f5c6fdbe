"""`--format psql`: numbered steps to paste into two or more psql terminals, or for one bash script to type."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.campaign.record import Check, Recorded
from harness.exports.acts import (
    CONTROL,
    Act,
    Play,
    Seen,
    comparison,
    dedented,
    hold,
    play,
    seen_in_words,
    terminated,
    title,
)
from harness.model.schedule import Failing
from harness.runners.script import Carried, Command, Happening
from harness.scenario import lexer

_RULE = 100
_RUNNER = Path(__file__).with_name("runner.sh")


def script(recorded: Recorded) -> str:
    """For two or more terminals. Raises Unwritable."""
    staged = play(recorded)
    terminals = [*staged.terminals, *([CONTROL] if staged.stops else [])]
    listed = ", ".join(terminals)
    lines = [
        *_comments([*title(recorded), *comparison(recorded), ""]),
        *_comments(
            [
                f"Open {len(terminals)} terminals ({listed}), each with psql on one database that is empty and may be "
                "thrown away.",
                "Type each step in the terminal it names, once the step before shows what its comment says.",
                "The order is the one in which it was found; what programs decided between statements is written as "
                "taken.",
            ]
        ),
        "",
        _rule(f"before, in {terminals[0]}: tables, indexes, start state"),
        *(f"{terminated(dedented(sql))}\n" for sql in (*recorded.tables, *staged.gates, *recorded.start)),
    ]
    for terminal in staged.terminals:
        lines += [_rule(f"before, in {terminal}"), *(_statement(sql) for sql in staged.opening[terminal]), ""]
    if staged.stops:
        held = "so that gates hold sessions until it lets go"
        lines += [_rule(f"before, in {CONTROL}: {held}"), *(_statement(hold(stop)) for stop in staged.stops), ""]
    for act in staged.acts:
        lines += [_rule(f"{act.number}. {act.terminal}"), *_comments([act.comment] if act.comment else [])]
        lines += [_typed(staged, act), *_comments(f"   {told}" for told in _told(staged, act)), ""]
    lines += [_rule("the check, in any terminal")]
    for check in recorded.checks:
        lines += [*_comments([f"{check.about}:"]), _statement(check.query), *_comments(_found(check)), ""]
    return "\n".join(lines).rstrip() + "\n"


def runner(recorded: Recorded) -> str:
    """The same as one bash script that types the steps itself and checks what is to be seen. Raises Unwritable."""
    staged = play(recorded)
    before = [*recorded.tables, *staged.gates, *recorded.start]
    lines = ["open_database", _heredoc("before", "\n".join(terminated(dedented(sql)) for sql in before))]
    for terminal in (*staged.terminals, *([CONTROL] if staged.stops else [])):
        settings = [hold(stop) for stop in staged.stops] if terminal == CONTROL else staged.opening[terminal]
        lines.append(_heredoc(f"open_terminal {terminal}", "\n".join(_statement(sql) for sql in settings)))
    for act in staged.acts:
        lines += ["", *(f"# {' '.join(act.comment.split())}" for _ in [0] if act.comment)]
        waits = "waits" if act.ends in (Happening.WAITS, Happening.HELD) else "ends"
        lines.append(_heredoc(f"types {act.number} {act.terminal} {waits}", _typed(staged, act)))
        lines += [line for seen in act.seen for line in _expected(recorded, staged, seen, act)]
    lines += ["", *(_heredoc(f"expects {_word(check.query)}", _rows(check)) for check in recorded.checks if check.rows)]
    lines += [f"expects_some {_word(check.query)}" for check in recorded.checks if not check.columns]
    lines.append("verdict")
    heading = "\n".join(_hashes([*title(recorded), *comparison(recorded)]))
    what = "the anomaly" if recorded.violation else "what was recorded"
    frame = _RUNNER.read_text().replace("# HEADING", heading, 1).replace("'WHAT'", _word(what), 1)
    return frame.replace("# STEPS\n", "\n".join(lines) + "\n", 1)


# What is typed.


def _typed(staged: Play, act: Act) -> str:
    text = "".join(part if isinstance(part, str) else _used(staged, part) for part in act.sql)
    if act.command is None or act.command.number not in staged.carriers or not _keeps(act.command):
        return _statement(text)
    variables = [f"{_prefix(act.command)}{column}" for column in act.command.result.columns]
    shown = " ".join(f":{name}" for name in variables)
    return f"{terminated(dedented(text), '')} \\gset {_prefix(act.command)}\n\\echo {shown}"


def _statement(sql: str) -> str:
    r"""Ended by a semicolon; several in one message are parted by psql's `\;`, so that they stay one message."""
    commands = list(lexer.commands(sql))
    if len(commands) < 2 or not sql.strip():
        return terminated(dedented(sql))
    return terminated(" \\;\n".join(dedented(sql[command.start : command.end]) for command in commands))


def _keeps(command: Command) -> bool:
    r"""Whether \gset can: it makes variables of the columns' names."""
    return all(re.fullmatch(r"\w+", column, re.ASCII) for column in command.result.columns)


def _prefix(command: Command) -> str:
    return f"value_{command.number}_"


def _used(staged: Play, value: Carried) -> str:
    source = next(act.command for act in staged.acts if act.command and act.command.number == value.command)
    if not _keeps(source):
        return value.literal
    name = f"{_prefix(source)}{source.result.columns[value.column]}"
    number = re.fullmatch(r" ?-?[0-9.]+", value.literal)
    return f":{name}" if number else f":'{name}'::{value.type}"


# What is to be seen.


def _told(staged: Play, act: Act) -> Iterator[str]:
    for seen in act.seen:
        told = seen_in_words(staged, seen, act.number)
        if told:
            yield told


def _found(check: Check) -> list[str]:
    if not check.columns:
        return ["   at least one row: none is allowed"]
    rows = ["   " + " | ".join("NULL" if value is None else str(value) for value in row) for row in check.rows]
    return [f"   {' | '.join(check.columns)}", *rows] if rows else ["   no row"]


def _expected(recorded: Recorded, staged: Play, seen: Seen, now: Act) -> Iterator[str]:
    """Of the runner: a line for each thing that it waits for, and compares."""
    act = staged.act_of(seen.act)
    match seen.happening:
        case Happening.TOLD:
            yield f"told {_word(seen.note)}"
        case Happening.WAITS | Happening.HELD if act is not now or act.ends is not seen.happening:
            yield f"waits {act.number} {act.terminal}"
        case Happening.DONE:
            counted = act.command is not None and act.command.fault not in (Failing.LOST, Failing.CUT)
            count = act.command.result.count if act.command and counted else "-"
            yield f"ends {act.number} {act.terminal} {_state(act)} {count}"
            if act.command and _stable(act.command, "\n".join(recorded.start)) and act.number not in _gset(staged):
                (row,) = act.command.result.rows
                yield f"answers {act.number} {act.terminal} {_word('|'.join(value or '' for value in row))}"


def _state(act: Act) -> str:
    stands_for_another = act.command is not None and act.command.fault is Failing.CUT
    return "-" if stands_for_another else act.sqlstate or "-"


def _gset(staged: Play) -> frozenset[int]:
    """Acts whose row psql keeps, and does not print."""
    return frozenset(act.number for act in staged.acts if act.command and act.command.number in staged.carriers)


_CHANGES = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:|[0-9a-f]{8}-[0-9a-f]{4}-")  # times and uuids are others every time


def _stable(command: Command, start: str) -> bool:
    """Whether it returned one row that will be the same the next time."""
    if command.fault is not None or len(command.result.rows) != 1 or not command.result.columns:
        return False
    values = [value for value in command.result.rows[0] if value is not None]
    return all((not _CHANGES.search(value) or value in start) and "\n" not in value for value in values)


# Text.


def _rows(check: Check) -> str:
    return "\n".join("|".join("" if value is None else str(value) for value in row) for row in check.rows)


def _heredoc(command: str, body: str) -> str:
    return f"{command} <<'SQL'\n{body}\nSQL"


def _word(text: str) -> str:
    """One word of the shell."""
    return "'" + " ".join(text.split()).replace("'", "'\\''") + "'"


def _rule(text: str) -> str:
    return f"-- {text} ".ljust(_RULE, "-")


def _comments(lines: Sequence[str] | Iterator[str]) -> list[str]:
    return [f"-- {part}".rstrip() for line in lines for part in _wrapped(line)]


def _hashes(lines: Sequence[str]) -> list[str]:
    return [f"# {part}".rstrip() for line in lines for part in _wrapped(line)]


def _wrapped(line: str) -> list[str]:
    margin = re.match(" *", line)
    return textwrap.wrap(line, _RULE + 15, subsequent_indent=(margin[0] if margin else "") + "  ") or [""]
