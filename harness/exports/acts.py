"""A recorded trial as what somebody types, act by act, in terminals: what exports have in common.

A terminal is one connection. Where the schedule holds a session inside a statement, the export does, too: a gate takes
an advisory lock that a terminal called `control` holds, and waits until it lets go.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.campaign.record import Recorded
from harness.model.schedule import Failing
from harness.model.sqlstate import describe
from harness.reports.differences import expected_and_found
from harness.reports.witness import WIDTH, kind, without_public
from harness.runners.script import Command, Happening, Moment, Script, Sql, Unwritable
from harness.scenario import lexer
from harness.sessions.gates import GATE_KEYS, INDEX, Made, functions

CONTROL = "control"
_GATE, _MARK = GATE_KEYS
_STOPS_MAX = 100  # of one statement

# A gate waits where somebody holds its lock, and nobody else's business is its number: there is no need to announce it.
_STANDS = f"""DECLARE
  statement int := nullif(current_setting('harness.statement', true), '');
  stop int;
BEGIN
  -- Stops are counted by locks, which outlive a rollback.
  stop := statement * {_STOPS_MAX} + 1 + (
    SELECT count(*) FROM pg_locks
     WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND classid = {_MARK}
       AND objid::bigint / {_STOPS_MAX} = statement);
  PERFORM pg_advisory_lock({_MARK}, stop);
  PERFORM pg_advisory_lock({_GATE}, stop), pg_advisory_unlock({_GATE}, stop);
END"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is to be seen: an act comes to its end, waits, or stands at a gate."""

    happening: Happening  # DONE, WAITS, HELD or TOLD
    act: int  # number of the act; of TOLD: of the last one
    note: str = ""  # for whom it waits; the gate; what a client is told


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to type, and what is then to be seen."""

    number: int  # from 1
    terminal: str
    sql: Sql
    command: Command | None = None  # None: what only the export needs
    comment: str = ""
    seen: tuple[Seen, ...] = ()

    @property
    def ends(self) -> Happening:
        """What becomes of it first."""
        return next((seen.happening for seen in self.seen if seen.act == self.number), Happening.DONE)

    @property
    def sqlstate(self) -> str:
        """In which it ends, waiting or not; empty where nobody can say, since its answer is lost."""
        if self.command is None:
            return "00000"
        return "" if self.command.fault is Failing.LOST else self.command.result.sqlstate or "00000"


@dataclass(frozen=True, slots=True)
class Play:
    """The whole: who takes part, what is put up first, what is typed, in order."""

    terminals: tuple[str, ...]  # without control
    stops: tuple[int, ...]  # locks that control holds from the beginning
    gates: tuple[str, ...]  # SQL that makes the gates
    opening: dict[str, tuple[str, ...]]  # of each terminal: settings
    acts: tuple[Act, ...]

    def act_of(self, number: int) -> Act:
        return self.acts[number - 1]

    @property
    def commands(self) -> tuple[Command, ...]:
        """Those of the trial: without what only the export needs."""
        return tuple(act.command for act in self.acts if act.command is not None)

    @property
    def carriers(self) -> frozenset[int]:
        """Numbers of the commands whose answers are used again."""
        return frozenset(
            part.command for act in self.acts if act.command for part in act.sql if not isinstance(part, str)
        )


def play(recorded: Recorded) -> Play:
    """Raises Unwritable where other tools cannot be made to do what the schedule says."""
    _refuse_what_cannot_be_steered(recorded)
    script = recorded.script
    standing = _Gates.of(recorded)
    names = _terminals(script)
    acts = tuple(_acts(script, names, standing))
    timeouts = _deadlock_timeouts(script, names)
    opening = {
        name: (*_settings(recorded, gated=bool(standing.stops)), *timeouts.get(name, ())) for name in names.values()
    }
    return Play(tuple(names.values()), tuple(sorted(standing.stops.values())), standing.sql, opening, acts)


def _refuse_what_cannot_be_steered(recorded: Recorded) -> None:
    events = {choice.event for choice in recorded.schedule.choices}
    if "wake" in events:
        raise Unwritable(
            "in this schedule several sessions wait for one, and it chooses who wakes first; psql and isolationtester "
            "cannot: use --format pytest"
        )
    if recorded.violation is not None and recorded.violation.kind == "hang":
        raise Unwritable(
            "in this schedule sessions wait for each other for ever, partly for connections of a pool, which no other "
            "tool has: use --format pytest"
        )


def _terminals(script: Script) -> dict[tuple[int, int], str]:
    """Names by session and its connection: s1, s1b, ... s2."""
    places = sorted({(command.session, command.connection) for command in script.commands})
    return {(s, at): f"s{s + 1}{chr(ord('a') + at) if at else ''}" for s, at in places}


def _settings(recorded: Recorded, *, gated: bool) -> Iterator[str]:
    yield f"SET default_transaction_isolation = '{recorded.schedule.cell.isolation.sql}'"
    yield "SET timezone = 'UTC'"
    for name, value in recorded.settings.items():
        yield f"SET {name} = {_quoted(value)}"
    if recorded.schedule.aged:
        yield "SET plan_cache_mode = 'force_generic_plan'"
    if gated:
        yield "SET harness.gates = 'on'"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# Deadlocks.


def _deadlock_timeouts(script: Script, names: dict[tuple[int, int], str]) -> dict[str, tuple[str, ...]]:
    """So that the server finds the same victim: whoever looks first, once the cycle is closed, loses.

    A session looks once, deadlock_timeout after it began to wait (ProcSleep, proc.c). A victim that closed the cycle
    looks at once; one that waited before leaves the others time to close it.
    """
    victims = [command for command in script.commands if command.result.sqlstate == "40P01"]
    if not victims:
        return {}
    told: dict[str, tuple[str, ...]] = {}
    for place, name in names.items():
        mine = [victim for victim in victims if (victim.session, victim.connection) == place]
        patience = "10ms" if mine and all(_closes(script, victim) for victim in mine) else "3s" if mine else "1min"
        told[name] = (f"SET deadlock_timeout = '{patience}'",)
    return told


def _closes(script: Script, victim: Command) -> bool:
    """Whether nobody began to wait after it did."""
    after = script.moments[_place(script, Happening.WAITS, victim) + 1 : _place(script, Happening.DONE, victim)]
    return all(moment.happening is not Happening.WAITS for moment in after)


def _place(script: Script, happening: Happening, command: Command) -> int:
    wanted = [
        place
        for place, moment in enumerate(script.moments)
        if moment.command == command.number and moment.happening is happening
    ]
    return wanted[-1] if wanted else -1


# Gates.


@dataclass(frozen=True, slots=True)
class _Gates:
    stops: dict[tuple[int, int], int]  # command and which passing of a gate -> lock that it waits for
    sql: tuple[str, ...]

    @classmethod
    def of(cls, recorded: Recorded) -> "_Gates":
        """Those that the schedule holds somebody at, and no others: of the tables concerned, indexes if need be."""
        script = recorded.script
        held = [(moment.command, int(moment.note)) for moment in script.moments if moment.happening is Happening.HELD]
        if not held:
            return cls({}, ())
        places = [script.command(number).gates[passing - 1] for number, passing in held]
        wanted = [made for made in recorded.gates if _is_wanted(made, places)]
        statements = [statement for made in wanted for statement in made.statements]
        stops = {}
        for number, passing in held:
            passed = script.command(number).gates[:passing]
            stops[number, passing] = number * _STOPS_MAX + sum(_stands(wanted, place) for place in passed)
        made_of = "\n".join(statements)
        return cls(stops, (functions(_STANDS, called_in=made_of).strip(), *statements))


def _is_wanted(made: Made, places: list[str]) -> bool:
    return any(_table(place) == made.table and (place.startswith(INDEX) or not made.indexes) for place in places)


def _stands(wanted: list[Made], place: str) -> bool:
    """Whether the export has this gate."""
    return any(_table(place) == made.table and place.startswith(INDEX) is made.indexes for made in wanted)


def _table(place: str) -> str:
    return without_public(place).rpartition(" ON ")[2]


# Acts.


def _acts(script: Script, names: dict[tuple[int, int], str], standing: _Gates) -> Iterator[Act]:
    """One for each command, and those that the export needs besides: what is typed to hold and to let go."""
    acts: list[Act] = []
    of_command: dict[int, int] = {}

    def add(terminal: str, sql: Sql, command: Command | None = None, comment: str = "") -> None:
        acts.append(Act(len(acts) + 1, terminal, sql, command, comment))

    def see(happening: Happening, act: int, note: str = "") -> None:
        acts[-1] = replace(acts[-1], seen=(*acts[-1].seen, Seen(happening, act, note)))

    for moment in script.moments:
        command = script.command(moment.command)
        terminal = names[command.session, command.connection]
        match moment.happening:
            case Happening.SENT:
                sql, comment = _typed(command)
                if any(number == command.number for number, _ in standing.stops):
                    add(terminal, (f"SET harness.statement = '{command.number}'",), None, "which statement gates count")
                    see(Happening.DONE, len(acts))
                add(terminal, sql, command, comment)
                of_command[command.number] = len(acts)
            case Happening.RELEASED:
                stop = standing.stops[moment.command, int(moment.note)]
                add(CONTROL, (f"SELECT pg_advisory_unlock({_GATE}, {stop})",), None, f"let {terminal} go on")
                see(Happening.DONE, len(acts))
            case Happening.TOLD:
                see(Happening.TOLD, len(acts), moment.note)
            case Happening.DONE if command.fault is Failing.LOST:
                see(Happening.DONE, of_command[moment.command])
                add(terminal, (_LETS_GO,), None, "what the end of its connection lets go")
                see(Happening.DONE, len(acts))
            case Happening.HELD:
                see(Happening.HELD, of_command[moment.command], _gate_of(command, moment))
            case _:
                see(moment.happening, of_command[moment.command], moment.note)
    yield from acts


def _gate_of(command: Command, moment: Moment) -> str:
    return without_public(command.gates[int(moment.note) - 1])


_CANCELLED = ("DO $$ BEGIN RAISE EXCEPTION 'canceling statement due to user request' USING ERRCODE = '57014'; END $$",)


_LETS_GO = "SELECT pg_advisory_unlock_all()"


def _typed(command: Command) -> tuple[Sql, str]:
    """The command, or what stands for it where its client fails."""
    told = " ".join(command.text.split())
    match command.fault:
        case Failing.CANCEL:
            return _CANCELLED, f"stands for its being cancelled: {told}"
        case Failing.CUT:
            ended = f"ROLLBACK;\n{_LETS_GO}" if command.inside else _LETS_GO  # what the server does when one ends
            return (ended,), f"stands for a connection cut off before: {told}"
        case Failing.LOST:
            return command.sql, "done, and its answer lost: the connection breaks here"
    return command.sql, ""


# Words.


def hold(stop: int) -> str:
    """What control says to hold a session there."""
    return f"SELECT pg_advisory_lock({_GATE}, {stop})"


def title(recorded: Recorded) -> list[str]:
    """What it shows, in the words of the report, as lines."""
    schedule = recorded.schedule
    head = f"{schedule.cell.id}: {kind(recorded.finding) if recorded.finding else 'nothing is wrong'}"
    lines = [head]
    if recorded.violation is not None:
        lines += textwrap.wrap(" ".join(recorded.violation.explanation.split()), WIDTH)
    return [*lines, f"start state '{schedule.contest.state}', {schedule.contest.pattern}"]


def comparison(recorded: Recorded) -> list[str]:
    """What was found and what was expected instead."""
    return expected_and_found(recorded.finding) if recorded.finding else []


def came_to(command: Command) -> str:
    """`INSERT 0 1`, `SELECT 1: (true)`, `ERROR 23505 unique_violation: duplicate key ...`"""
    result = command.result
    if command.fault is Failing.LOST:
        return "its answer is lost"
    if result.sqlstate:
        return f"ERROR {describe(result.sqlstate)}: {result.message}"
    if len(result.rows) != 1 or not result.columns:
        return result.status
    return f"{result.status}: ({', '.join('NULL' if value is None else value for value in result.rows[0])})"


def seen_in_words(recorded_play: Play, seen: Seen, now: int) -> str:
    """What is to be seen, after the act `now`: in its own terminal, or in another one."""
    if seen.happening is Happening.TOLD:
        return seen.note
    act = recorded_play.act_of(seen.act)
    where = "" if seen.act == now else f"{act.terminal} ({seen.act}.): "
    match seen.happening:
        case Happening.WAITS:
            return f"{where}<waiting ...> for {seen.note}" if seen.note else f"{where}<waiting ...>"
        case Happening.HELD:
            return f"{where}<waiting ...> at gate {seen.note}"
        case _:
            came = came_to(act.command) if act.command and act.command.fault is not Failing.CUT else ""
            return f"{where}<... completed> {came}" if where else came


def dedented(text: str) -> str:
    """SQL as it stood in a program, moved to the left."""
    if text.startswith("\n"):
        return textwrap.dedent(text).strip()
    first, _, rest = text.strip().partition("\n")
    moved = textwrap.dedent(rest)
    return f"{first}\n{rest if moved == rest else textwrap.indent(moved, '  ')}" if rest else first


def terminated(text: str, end: str = ";") -> str:
    """With what ends it, on a line of its own behind a comment. It may have its semicolon already."""
    tokens = list(lexer.tokens(text))
    while tokens and (tokens[-1].kind is lexer.Kind.SPACE or tokens[-1].word == ";"):
        tokens.pop()
    comment = bool(tokens) and tokens[-1].kind is lexer.Kind.COMMENT and tokens[-1].text.startswith("--")
    return "".join(token.text for token in tokens) + ("\n" if comment else "") + end
