"""One process of the hammer: some sessions, each a connection of its own, that race through batches of rounds."""

import gc
import os
import pickle
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import greenlet
import psycopg

from harness.generators.rounds import FreshCall, fresh_call
from harness.model.fault import FaultKind, Injected, Injection
from harness.model.history import Batch, Calls
from harness.model.outcome import Answer, Failed, Ok, Unknown
from harness.runners.explorer import answer_to, left_open
from harness.runners.processes import end_with_the_parent, leave_interrupts_to_the_parent
from harness.scenario.bodies import wants_pool
from harness.scenario.discovery import find
from harness.scenario.language import Scenario
from harness.servers.server import one_line
from harness.sessions.racing import Race, RacingConnection, RacingPool, others_go_on_while_one_sleeps, racing_connection
from harness.sessions.wounds import Injector, Wounded

if TYPE_CHECKING:
    from harness.runners.hammer import Pulse, Setup

APPLICATION = "harness hammer"  # by which backends of sessions are known
_POOLED_A_SESSION = 2  # connections of a pool, for each session: as many as the explorer gives them
_SIMPLE = (bool, int, str, type(None), float, bytes)

_AGAIN_S = 0.01  # between two tries to connect to a server that is not there
_GONE = ("08", "57P")  # SQLSTATEs of a server that says good-bye, or does not let us in

Body = Callable[..., Any]


class ServerAway(RuntimeError):
    """The server was gone, and did not come back."""


def main(pipe: Connection, pulse: "Pulse") -> None:
    """Serve the parent until it says None, or is gone."""
    leave_interrupts_to_the_parent()
    end_with_the_parent()
    for end in (pulse.hears, *pulse.bells):
        os.set_blocking(end.fileno(), False)
    racers: Racers | None = None
    with suppress(EOFError, OSError):  # the parent is gone
        while (message := pipe.recv()) is not None:
            try:
                if isinstance(message, tuple):
                    if racers is not None:
                        racers.close()
                    path, packed = message
                    scenarios = find(path)
                    setup, numbers = pickle.loads(packed)
                    racers = Racers(scenarios, setup, numbers, pulse)
                    pipe.send(None)
                else:
                    assert racers is not None and isinstance(message, Start)
                    pipe.send(racers.run(message, pipe))
            except Exception as error:
                pipe.send(error)
    os._exit(0)  # threads of code under test, connections in the middle of something: all of it ends here


@dataclass(frozen=True, slots=True)
class Start:
    """To race through a batch, and be hurt on the way."""

    batch: Batch
    faults: tuple[Injection, ...] = ()


@dataclass(frozen=True, slots=True)
class Reached:
    """The race is where a fault was planned that is the parent's to do."""

    injection: Injection


class Racers:
    """The sessions of one process, in one setup."""

    def __init__(self, scenarios: Sequence[Scenario], setup: "Setup", numbers: range, pulse: "Pulse") -> None:
        self.diary = Diary(setup.diary, pulse.mine) if setup.diary else None
        self.setup, self.numbers, self.pulse = setup, numbers, pulse
        scenario = next(s for s in scenarios if s.name == setup.scenario)
        strategy = next(s for s in scenario.strategies if s.name == setup.strategy)
        # Of a single process nobody holds the other end: its bell would never be still.
        self.race = Race(pulse.hears.fileno() if pulse.bells else None)
        self.autocommit = strategy.autocommit
        self.refusals = {name: operation.refusals for name, operation in scenario.operations.items()}
        self.programs = [
            [[fresh_call(scenario, call) for call in contest.sessions[number]] for number in numbers]
            for contest in setup.templates
        ]
        self._conninfo = setup.server.dsn(setup.database)
        settings = {
            "timezone": "UTC",
            "default_transaction_isolation": setup.isolation.sql,
            **scenario.settings,
            **dict(setup.settings),
        }
        # As start-up options they survive DISCARD ALL; a space in a value would begin the next option.
        self._options = " ".join(
            "-c {}={}".format(name, re.sub(r"([\\ ])", r"\\\1", value)) for name, value in settings.items()
        )
        self._bind = strategy.bind_sessions
        self._new_processes = strategy.process is not None
        bodies = self._bind(len(numbers))
        self._functions = bodies
        self._pooled = {name: wants_pool(body) for name, body in bodies[0].items()}
        self._pools: dict[int, RacingPool] = {}
        self._each = strategy.processes == "each"
        self.connections: list[RacingConnection | None] = [None] * len(numbers)
        for session in range(len(numbers)):
            self.connection(session)
        self._injectors: list[Injector] = []  # that nobody uses
        self._commands: dict[str, tuple[int, int]] = {}  # of operations: that a call sends, and that commit
        gc.collect()
        gc.freeze()

    def close(self) -> None:
        for connection in [*self.connections, *(c for pool in self._pools.values() for c in pool.opened)]:
            if connection is not None:
                connection.close()
        for injector in self._injectors:
            injector.close()
        self.race.close()

    # ---- what calls are made on -----------------------------------------------------------------------------------

    def connection(self, session: int) -> RacingConnection:
        """The session's own; a new one in the place of one that was lost."""
        known = self.connections[session]
        if known is None or known.closed:
            if known is not None:
                self.race.forget(known)
            known = self.connections[session] = self._connect()
        return known

    def pool(self, session: int) -> RacingPool:
        """One for the process, or for the session where each session is a process."""
        key = session if self._each else 0
        if key not in self._pools:
            size = _POOLED_A_SESSION * (1 if self._each else len(self.numbers))
            self._pools[key] = RacingPool(self._connect, self.race, size)
        return self._pools[key]

    def _connect(self) -> RacingConnection:
        deadline = time.monotonic() + self.setup.away_s
        while True:
            try:
                return racing_connection(
                    self._conninfo,
                    self.race,
                    autocommit=self.autocommit,
                    options=self._options,
                    application_name=APPLICATION,
                    prepare_threshold=self.setup.prepare_threshold,
                )
            except psycopg.OperationalError as error:
                if not self.setup.diary:  # nobody has hurt the server
                    raise
                if time.monotonic() > deadline:
                    away = f"the server did not come back within {self.setup.away_s:.0f} s: {one_line(error)}"
                    raise ServerAway(away) from None
            time.sleep(_AGAIN_S)  # the other sessions go on

    # ---- a batch --------------------------------------------------------------------------------------------------

    def run(self, start: "Start", pipe: Connection) -> Calls:
        heat = Heat(self, start.batch, {(i.round, i.session): i for i in start.faults})
        heat.tell = pipe.send
        if self.diary is not None:
            self.diary.begin(start.batch.first)
        if start.faults:
            injector = self._injector()
            injector.ready()
            self._injectors.append(injector)
        programs = [self._program(heat, session) for session in range(len(self.numbers))]
        with others_go_on_while_one_sleeps(self.race):
            self.race.run(programs, silence_s=self.setup.silence_s, look=heat.look)
        return heat.calls

    def _program(self, heat: "Heat", session: int) -> Callable[[], None]:
        def program() -> None:
            for number, calls in heat.rounds(session):
                bodies = heat.bodies(number)[session]
                base = heat.batch.bases[number]
                for position, call in enumerate(calls):
                    self._call(heat, number, session, position, call, bodies[call.operation], base)

        return program

    def _call(
        self, heat: "Heat", number: int, session: int, position: int, call: FreshCall, body: Body, base: int
    ) -> None:
        arguments = call.arguments(base)
        pooled = self._pooled[call.operation]
        door: Any = self.pool(session) if pooled else self.connection(session)
        wounded = self._wounded(heat, number, session, call.operation) if heat.faults and position == 0 else None
        pid = door.pgconn.backend_pid if self.diary is not None and not pooled else 0
        began = time.monotonic_ns()
        try:
            answer = heat.code_of(body(door, **arguments))
        except (Exception, SystemExit) as error:
            answer = heat.code(self._told(error, door, call.operation))
        ended = time.monotonic_ns()
        if not pooled and door.pgconn.transaction_status:
            answer = heat.code(self._left_open(door, heat.calls.answers[answer]))
        if pid and door.closed:
            heat.calls.lost.append(pid)
        if wounded is not None:  # before the answer is in the diary: who reads it is to know why it failed
            self._heal(heat, wounded, call.operation, position, heat.calls.answers[answer])
        heat.note(number, self.numbers[session], position, began, ended, answer)

    def _told(self, error: BaseException, door: Any, operation: str) -> Answer:
        told = answer_to(error, self.refusals[operation])
        if not isinstance(error, psycopg.OperationalError):
            return told
        if isinstance(door, RacingConnection):
            return Unknown() if door.closed else told
        # Which connection of a pool it was, nobody can tell; what it said, it said last.
        return Unknown() if isinstance(told, Failed) and told.sqlstate.startswith(_GONE) else told

    def _wounded(self, heat: "Heat", number: int, session: int, operation: str) -> Wounded | None:
        injection = heat.faults.get((heat.batch.first + number, self.numbers[session]))
        if injection is None:
            return None
        commands = self._commands.get(operation, (1, 1))
        injector, held = self._injector(), self.setup.held
        wounded = Wounded(injection, commands, injector, held, lambda: heat.tell(Reached(injection)))
        self.race.wounds[greenlet.getcurrent()] = wounded
        return wounded

    def _injector(self) -> Injector:
        return self._injectors.pop() if self._injectors else Injector(self._connect, self.race)

    def _heal(self, heat: "Heat", wounded: Wounded, operation: str, position: int, answer: Answer) -> None:
        """The call was answered: nothing of the fault may reach the next one."""
        del self.race.wounds[greenlet.getcurrent()]
        wounded.end()
        self._injectors.append(wounded.injector)
        injection, connection = wounded.injection, wounded.connection
        self._commands[operation] = (wounded.sent, wounded.commits)
        if injection.kind.of_all:
            if not wounded.done:  # the call sent fewer commands than the last one
                heat.tell(Reached(injection))
            return
        if wounded.done and injection.kind in (FaultKind.TERMINATE, FaultKind.CUT) and connection is not None:
            self.race.forget(connection)
            connection.close()
            heat.calls.lost.append(wounded.pid)  # of a pool's connections nobody else knows
        fails = injection.kind.sqlstate
        met = wounded.done and (isinstance(answer, Unknown) if fails is None else answer == Failed(fails))
        kind, number, session = injection.kind, injection.round, injection.session
        injected = Injected(kind, number, session, position, wounded.done, met, wounded.may_have_committed)
        heat.calls.injected.append(injected)
        if self.diary is not None:
            self.diary.note(injected)

    def _left_open(self, connection: RacingConnection, answer: Answer) -> Answer:
        try:
            return left_open(connection, answer)
        except psycopg.Error:  # it died meanwhile; the next call gets another
            connection.close()
            return answer


class Diary:
    """What calls of a batch were told, on its way to whoever judges should this process be killed.

    A write is done when the call goes on: what is acknowledged is known, whatever signal comes.
    """

    def __init__(self, folder: str, mine: int) -> None:
        self._file = (Path(folder) / str(mine)).open("wb", buffering=0)

    def begin(self, first: int) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.note(first)

    def note(self, what: object) -> None:
        self._file.write(pickle.dumps(what))


def read_diaries(diaries: Sequence[IO[bytes]], first: int) -> Calls:
    """What the killed processes knew of the calls of this batch."""
    calls = Calls(first)
    for kept in diaries:
        kept.seek(0)
        with suppress(EOFError, pickle.UnpicklingError):  # the last word may be half a word
            if pickle.load(kept) != first:
                continue
            while True:
                noted = pickle.load(kept)
                if isinstance(noted, Injected):
                    calls.injected.append(noted)
                    continue
                number, session, position, began, ended, answer = noted
                calls.note(number, session, position, began, ended, len(calls.answers))
                calls.answers.append(answer)
    return calls


class Heat:
    """One batch while it is raced: how far each session is, and what calls came to."""

    tell: Callable[[object], None]

    def __init__(self, racers: Racers, batch: Batch, faults: Mapping[tuple[int, int], Injection]) -> None:
        """`faults`: by round and session."""
        self.racers, self.batch, self.faults = racers, batch, faults
        self.calls = Calls(batch.first)
        self._ended = [0] * len(racers.numbers)  # rounds, of each session
        self._pulse, self._window = racers.pulse, racers.setup.window
        self._alone = not racers.pulse.bells
        self._floor = 0  # rounds that every session of every process has ended
        self._ahead: list[greenlet.greenlet] = []  # sessions that wait for the slowest
        self._codes: dict[tuple[type, object], int] = {}
        self._processes: dict[int, tuple[Mapping[str, Body], ...]] = {}

    def rounds(self, session: int) -> Iterator[tuple[int, list[FreshCall]]]:
        """The session's rounds, each as soon as the slowest is near enough."""
        programs = self.racers.programs
        for number, template in enumerate(self.batch.templates):
            while number >= self._floor + self._window:
                self._ahead.append(greenlet.getcurrent())
                self.racers.race.pause()
            yield number, programs[template][session]
            self._ended[session] = number + 1
            if min(self._ended) > self._published:
                self._publish(min(self._ended))

    @property
    def _published(self) -> int:
        published: int = self._pulse.ended[self._pulse.mine]
        return published

    def _publish(self, ended: int) -> None:
        """All our sessions have ended one more round: others may have waited for that."""
        self._pulse.ended[self._pulse.mine] = ended
        for bell in self._pulse.bells:
            # A full pipe rings already; a process that is gone is the parent's to notice.
            with suppress(OSError):
                os.write(bell.fileno(), b"!")
        self._let_go()

    def look(self) -> None:
        """The bell rang, or nobody has anything to do."""
        with suppress(BlockingIOError):
            os.read(self._pulse.hears.fileno(), 4096)
        self._let_go()

    def _let_go(self) -> None:
        """Wake those of ours that waited for the slowest, if it has got on."""
        floor = min(self._pulse.ended)
        if floor > self._floor:
            self._floor = floor
            for gone in [number for number in self._processes if number < floor]:
                del self._processes[gone]
            waiting, self._ahead = self._ahead, []
            for session in waiting:
                self.racers.race.wake(session)

    def bodies(self, number: int) -> tuple[Mapping[str, Body], ...]:
        """What to call, by session: application processes are new for every round."""
        if not self.racers._new_processes:
            return self.racers._functions
        if number not in self._processes:
            self._processes[number] = self.racers._bind(len(self.racers.numbers))
        return self._processes[number]

    # ---- answers --------------------------------------------------------------------------------------------------

    def code_of(self, value: object) -> int:
        """The number of the answer Ok(value)."""
        kind = type(value)
        key: tuple[type, object] = (kind, value if kind in _SIMPLE else repr(value))
        code = self._codes.get(key)
        return self._new(key, Ok(value if kind in _SIMPLE else _sendable(value))) if code is None else code

    def code(self, answer: Answer) -> int:
        key = (type(answer), str(answer))
        code = self._codes.get(key)
        return self._new(key, answer) if code is None else code

    def _new(self, key: tuple[type, object], answer: Answer) -> int:
        code = self._codes[key] = len(self.calls.answers)
        self.calls.answers.append(answer)
        return code

    def note(self, number: int, session: int, position: int, began: int, ended: int, answer: int) -> None:
        self.calls.note(number, session, position, began, ended, answer)
        if self.racers.diary is not None:
            self.racers.diary.note((number, session, position, began, ended, self.calls.answers[answer]))


def _sendable(value: object) -> object:
    """The value itself, or its name where another process could not read it."""
    try:
        pickle.dumps(value)
    except Exception:
        return type(value).__name__
    return value
