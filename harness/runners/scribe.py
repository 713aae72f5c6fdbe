"""Writes the script of a trial: reads off each session what it is about to send, and what came of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.adapt import Dumper, PyFormat, Transformer
from psycopg.pq import ConnStatus, Format, TransactionStatus

from harness.model.contest import Contest, OpRef
from harness.model.schedule import Failing, Fault
from harness.runners.recorder import Recorder
from harness.runners.script import Carried, Command, Happening, Moment, Prepared, Result, Script, Sql, Unwritable
from harness.scenario import lexer
from harness.sessions.gates import parse_notice
from harness.sessions.session import Session, State
from harness.sessions.statement import Kind, cursor_of, parameters_of


@dataclass
class _Answered:
    """Rows that a command returned, to know their values when they come back as parameters."""

    number: int
    call: OpRef
    connection: object
    rows: Sequence[tuple[Any, ...]]
    types: tuple[str, ...]


@dataclass
class Scribe:
    """A Tracker of the hub that writes the script. One for each trial; the trial must be recorded, too (`told_to`)."""

    contest: Contest
    start: str = ""  # the SQL of the start state: a value that stands there is no secret of this trial
    aged: bool = False
    fault: Fault | None = None
    _commands: list[Command] = field(default_factory=list)
    _moments: list[Moment] = field(default_factory=list)
    _running: dict[Session, int] = field(default_factory=dict)  # number of the command in flight
    _connections: dict[tuple[int, int], int] = field(default_factory=dict)
    _owners: dict[int, int] = field(default_factory=dict)
    _savepoints: dict[int, list[str]] = field(default_factory=dict)
    _prepared: dict[tuple[int, int, tuple[str, ...], str], Prepared] = field(default_factory=dict)
    _answered: list[_Answered] = field(default_factory=list)
    _passed: dict[int, list[str]] = field(default_factory=dict)
    _visible: dict[int, int] = field(default_factory=dict)  # commands of each session that others can see
    _listening: dict[int, Any] = field(default_factory=dict)

    # ---- what the hub tells ---------------------------------------------------------------------------------------

    def trial_begins(self) -> None: ...
    def deadlock(self) -> None: ...
    def spins(self) -> None: ...
    def step_ends(self) -> None: ...

    def step_begins(self, session: Session, sessions: list[Session], waiters: list[Session]) -> None:
        if session.state is State.GATED:
            number = self._running[session]
            self._moments.append(Moment(Happening.RELEASED, number, str(len(self._passed[number]))))

    def sends(self, session: Session) -> None:
        statement = session.sent
        assert statement is not None
        if session.connection.pgconn.status != ConnStatus.OK:  # it was cut off, and the driver tidies up
            self._running.pop(session, None)
            return
        before, sql, prepared = self._sql_of(session)
        fault = None
        if statement.kind is not Kind.LOCAL:
            place = _who(session).session, self._visible.setdefault(_who(session).session, 0)
            self._visible[place[0]] += 1
            if self.fault is not None and place == (self.fault.session, self.fault.command):
                # The hub cancels statements only: a COMMIT is not to be stopped half-way.
                whole = self.fault.failing is Failing.CANCEL and statement.kind is not Kind.STATEMENT
                fault = None if whole else self.fault.failing
        for text in before:
            number = self._add(session, (text,))
            self._end(number, Result(text.partition(" ")[0]))
        self._running.pop(session, None)
        if sql:
            inside = bool(before) or session.connection.pgconn.transaction_status != TransactionStatus.IDLE
            self._running[session] = self._add(session, sql, fault, inside=inside, prepared=prepared)
            self._listen(session)

    def waits(self, session: Session) -> None:
        if session in self._running:
            names = sorted({f"s{self._owners[pid] + 1}" for pid in session.blockers if pid in self._owners})
            self._moments.append(Moment(Happening.WAITS, self._running[session], ", ".join(names)))

    def held(self, session: Session) -> None:
        number = self._running[session]
        self._moments.append(Moment(Happening.HELD, number, str(len(self._passed[number]))))

    def done(self, session: Session) -> None:
        number = self._running.pop(session, None)
        if number is None:
            return
        command = self._commands[number - 1]
        if command.fault is Failing.LOST and not session.cut_off:  # it ended no transaction: there was nothing to lose
            self._commands[number - 1] = replace(command, fault=None)
        self._end(number, self._result_of(session, number))

    def told(self, call: str, answer: str) -> None:
        """A client has its answer."""
        self._moments.append(Moment(Happening.TOLD, len(self._commands), f"{call} -> {answer}"))

    def close(self) -> None:
        """The connections are the next trial's: listen to them no longer."""
        for connection, passes in self._listening.values():
            connection.remove_notice_handler(passes)
        self._listening.clear()

    # ---- the script -----------------------------------------------------------------------------------------------

    @property
    def script(self) -> Script:
        return Script(
            tuple(replace(c, gates=tuple(self._passed.get(c.number, ()))) for c in self._commands),
            tuple(self._without_idle_stops()),
        )

    def _without_idle_stops(self) -> list[Moment]:
        kept: list[Moment] = []
        for moment in self._moments:
            idle = (
                moment.happening is Happening.RELEASED
                and kept
                and kept[-1] == replace(moment, happening=Happening.HELD)
            )
            if idle:
                kept.pop()
            else:
                kept.append(moment)
        return kept

    def _add(
        self,
        session: Session,
        sql: Sql,
        fault: Failing | None = None,
        *,
        inside: bool = False,
        prepared: Prepared | None = None,
    ) -> int:
        who, pid = _who(session), session.connection.pid
        mine = {key: at for key, at in self._connections.items() if key[0] == who.session}
        at = self._connections.setdefault((who.session, pid), len(mine))
        self._owners[pid] = who.session
        number = len(self._commands) + 1
        self._commands.append(Command(number, who.session, at, who, sql, fault=fault, inside=inside, prepared=prepared))
        self._passed[number] = []
        self._moments.append(Moment(Happening.SENT, number))
        return number

    def _end(self, number: int, result: Result) -> None:
        self._commands[number - 1] = replace(self._commands[number - 1], result=result)
        self._moments.append(Moment(Happening.DONE, number))

    def _listen(self, session: Session) -> None:
        """Gates announce themselves; those that the hub does not hold a session at count, too."""
        connection = session.connection
        if connection.pid in self._listening:
            return

        def passes(diagnostic: psycopg.errors.Diagnostic) -> None:
            gate = parse_notice(diagnostic.message_primary or "")
            running = [number for s, number in self._running.items() if s.connection is connection]
            if gate is not None and running:
                self._passed[running[0]].append(gate[1])

        self._listening[connection.pid] = (connection, passes)
        connection.add_notice_handler(passes)

    # ---- what is sent ---------------------------------------------------------------------------------------------

    def _sql_of(self, session: Session) -> tuple[list[str], Sql, Prepared | None]:
        """Commands that the driver sends ahead, the command itself (() if it sends nothing), and what it executes."""
        connection, generator = session.connection, session.generator
        name = getattr(generator, "__name__", "")
        idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if name in ("_enter_gen", "_exit_gen", "_commit_gen", "_rollback_gen"):
            *before, last = [*self._of_a_transaction(connection, generator, name, idle), ""]
            if before and not last:
                last = before.pop()
            return before, (last,) if last else (), None
        if name != "_execute_gen":
            raise Unwritable(
                f"s{_who(session).session + 1} uses a pipeline, executemany, COPY or a cursor of the server "
                f"({name.strip('_') or 'unknown'}), which is no single SQL command; no export can be made of it"
            )
        begun = [_begin(connection)] if idle and not connection.autocommit else []
        return begun, *self._of_a_statement(session)

    def _of_a_transaction(self, connection: Any, generator: Any, name: str, idle: bool) -> list[str]:
        owner = generator.gi_frame.f_locals["self"]
        if not isinstance(owner, psycopg.Transaction):
            if isinstance(owner, psycopg.Connection):
                return [] if idle else ["COMMIT" if name == "_commit_gen" else "ROLLBACK"]
            raise Unwritable("a pipeline is in this trial, which is no SQL; no export can be made of it")
        savepoints = self._savepoints.setdefault(connection.pid, [])
        if name == "_enter_gen":
            if not idle or owner.savepoint_name:
                savepoints.append(owner.savepoint_name or f"savepoint_{len(savepoints) + 1}")
                return [*([_begin(connection)] if idle else []), f"SAVEPOINT {_name(savepoints[-1])}"]
            return [_begin(connection)]
        rolls_back = bool(generator.gi_frame.f_locals.get("exc_val")) or owner.force_rollback
        if owner._outer_transaction:
            savepoints.clear()
            return ["ROLLBACK" if rolls_back else "COMMIT"]
        savepoint = _name(savepoints.pop())
        return [*([f"ROLLBACK TO {savepoint}"] if rolls_back else []), f"RELEASE {savepoint}"]

    def _of_a_statement(self, session: Session) -> tuple[Sql, Prepared | None]:
        cursor, generator = cursor_of(session.generator), session.generator
        query, parameters = generator.gi_frame.f_locals["query"], parameters_of(generator)
        cut, values = _cut(session.connection, cursor, query, parameters)
        if not values:
            return ("".join(part for part in cut if isinstance(part, str)),), None
        written = [self._written(session, value) for value in values]
        if self.aged and session.connection.pgconn.transaction_status != TransactionStatus.INERROR:
            return self._prepare(session, cut, values, written)
        return _joined([part if isinstance(part, str) else written[part] for part in cut]), None

    def _prepare(
        self, session: Session, cut: Sequence[str | int], values: Sequence[Any], written: Sequence[str | Carried]
    ) -> tuple[Sql, Prepared]:
        """As a connection that has run long enough sends it: prepared, with a plan for all parameters."""
        types = tuple(_type_of(session.connection, value) for value in values)
        statement = "".join(part if isinstance(part, str) else f"${part + 1}" for part in cut).strip()
        key = (_who(session).session, session.connection.pid, types, statement)
        if key not in self._prepared:
            made = self._prepared[key] = Prepared(f"prepared_{len(self._prepared) + 1}", types, statement)
            number = self._add(session, (f"PREPARE {made.name} ({', '.join(types)}) AS {statement}",), prepared=made)
            self._end(number, Result("PREPARE"))
        arguments: list[str | Carried] = []
        for value in written:
            arguments += [", ", value]
        return _joined([f"EXECUTE {self._prepared[key].name}(", *arguments[1:], ")"]), self._prepared[key]

    def _written(self, session: Session, value: Any) -> str | Carried:
        """A parameter: carried if the server made it, else a literal."""
        literal = psycopg.ClientCursor(session.connection).mogrify("%s", [value])
        call = _who(session)
        given = [given for _, given in self.contest.call(call).arguments]
        if value is None or isinstance(value, bool) or any(_same(value, other) for other in given):
            return literal
        for answered in reversed(self._answered):
            if answered.call != call:
                continue
            for row in answered.rows:
                for column, returned in enumerate(row):
                    if _same(value, returned):
                        if answered.connection is session.connection and len(answered.rows) == 1:
                            return Carried(answered.number, column, literal, answered.types[column])
                        return self._known(value, literal)
        return literal

    def _known(self, value: Any, literal: str) -> str:
        """A value that no variable can carry, if it will be the same the next time."""
        if isinstance(value, UUID | date | datetime) and str(value) not in self.start:
            raise Unwritable(
                f"the server made {literal}, and the trial goes on with it on another connection, or took it out of "
                "several rows; no export can carry it"
            )
        return literal

    # ---- what came of it ------------------------------------------------------------------------------------------

    def _result_of(self, session: Session, number: int) -> Result:
        if session.failure is not None:
            state = getattr(session.failure, "sqlstate", None) or "08006"
            return Result(sqlstate=state, message=str(session.failure).partition("\n")[0])
        pgresult = getattr(session.cursor, "pgresult", None)
        if pgresult is None:
            return Result(self._commands[number - 1].text.partition(" ")[0])
        columns = range(pgresult.nfields)
        rows = tuple(
            tuple(_text(pgresult.get_value(row, column)) for column in columns) for row in range(pgresult.ntuples)
        )
        if rows and all(pgresult.fformat(column) == Format.TEXT for column in columns):
            loader = Transformer(session.cursor)
            loader.set_pgresult(pgresult)
            types = tuple(_type_name(session.connection, pgresult.ftype(column)) for column in columns)
            loaded = loader.load_rows(0, pgresult.ntuples, tuple)
            self._answered.append(_Answered(number, _who(session), session.connection, loaded, types))
        return Result(
            status=(pgresult.command_status or b"").decode(),
            columns=tuple((pgresult.fname(column) or b"").decode() for column in columns),
            rows=rows,
        )


class TellingRecorder(Recorder):
    """A recorder that tells the scribe what clients are told."""

    def __init__(self, scribe: Scribe) -> None:
        super().__init__()
        self._scribe = scribe

    def answered(self, session: int, call: str, answer: str) -> None:
        super().answered(session, call, answer)
        self._scribe.told(f"s{session + 1}: {call}", answer)


def _who(session: Session) -> OpRef:
    """Whose operation runs: where one greenlet runs everybody's, the session alone does not tell."""
    assert isinstance(session.operation, OpRef)
    return session.operation


def _begin(connection: psycopg.Connection[Any]) -> str:
    words = ["BEGIN"]
    if connection.isolation_level is not None:
        words.append(f"ISOLATION LEVEL {connection.isolation_level.name.replace('_', ' ')}")
    if connection.read_only is not None:
        words.append("READ ONLY" if connection.read_only else "READ WRITE")
    if connection.deferrable is not None:
        words.append("DEFERRABLE" if connection.deferrable else "NOT DEFERRABLE")
    return " ".join(words)


def _name(savepoint: str) -> str:
    return savepoint if re.fullmatch(r"[a-z]\w*", savepoint) else psycopg.sql.Identifier(savepoint).as_string(None)


# Parameters.


class _Hole:
    """Stands for a parameter, so that the driver itself says where each one goes."""

    def __init__(self, number: int) -> None:
        self.number = number


class _HoleDumper(Dumper):
    def quote(self, obj: _Hole) -> bytes:
        return f"{lexer.HOLE}{obj.number}{lexer.HOLE}".encode()

    def dump(self, obj: _Hole) -> bytes:
        return self.quote(obj)


_HOLES = re.compile(f"{lexer.HOLE}(\\d+){lexer.HOLE}")


def _cut(
    connection: psycopg.Connection[Any], cursor: Any, query: Any, parameters: Any
) -> tuple[list[str | int], list[Any]]:
    """The text between the parameters with their numbers from 0, and the parameters, by first appearance."""
    if parameters is None:
        return [_plain(query)], []
    if isinstance(cursor, psycopg.RawCursor):
        text = _plain(query)
        parts = [int(t.text[1:]) - 1 if t.kind is lexer.Kind.NUMBERED else t.text for t in lexer.tokens(text)]
        return parts, list(parameters)
    names: Sequence[Any] = list(parameters) if isinstance(parameters, Mapping) else range(len(parameters))
    values = [parameters[name] for name in names]
    holes = [_Hole(number) for number in range(len(values))]
    writer = psycopg.ClientCursor(connection)
    writer.adapters.register_dumper(_Hole, _HoleDumper)
    text = writer.mogrify(query, dict(zip(names, holes, strict=True)) if isinstance(parameters, Mapping) else holes)
    parts = [int(part) if place % 2 else part for place, part in enumerate(_HOLES.split(text))]
    used = list(dict.fromkeys(part for part in parts if isinstance(part, int)))
    return [used.index(p) if isinstance(p, int) else p for p in parts], [values[number] for number in used]


def _plain(query: Any) -> str:
    if isinstance(query, bytes):
        return query.decode()
    return query if isinstance(query, str) else str(query.as_string(None))


def _joined(parts: Sequence[str | Carried]) -> Sql:
    """Neighbouring texts made one."""
    joined: list[str | Carried] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _type_of(connection: psycopg.Connection[Any], value: Any) -> str:
    """What the driver tells the server of a parameter's type; it says nothing of a text's."""
    if value is None:
        return "unknown"
    dumper = Transformer(connection).get_dumper(value, PyFormat.AUTO)
    return _type_name(connection, dumper.oid) if dumper.oid else "unknown"


def _type_name(connection: psycopg.Connection[Any], oid: int) -> str:
    info = connection.adapters.types.get(oid)
    if info is None:
        return "text"
    return f"{info.name}[]" if oid == info.array_oid else info.name


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")
