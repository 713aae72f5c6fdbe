"""One process of the hammer: some sessions, each a connection of its own, that race through batches of rounds."""

import gc
import os
import pickle
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import greenlet
import psycopg

from harness.generators.rounds import FreshCall, fresh_call
from harness.model.history import Batch, Calls
from harness.model.outcome import Answer, Ok, Unknown
from harness.runners.explorer import answer_to, left_open
from harness.runners.processes import end_with_the_parent, leave_interrupts_to_the_parent
from harness.scenario.bodies import wants_pool
from harness.scenario.discovery import find
from harness.scenario.language import Scenario
from harness.sessions.racing import Race, RacingConnection, RacingPool, others_go_on_while_one_sleeps, racing_connection

if TYPE_CHECKING:
    from harness.runners.hammer import Pulse, Setup

_POOLED_A_SESSION = 2  # connections of a pool, for each session: as many as the explorer gives them
_SIMPLE = (bool, int, str, type(None), float, bytes)

Body = Callable[..., Any]


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
                    assert racers is not None
                    pipe.send(racers.run(message))
            except Exception as error:
                pipe.send(error)
    os._exit(0)  # threads of code under test, connections in the middle of something: all of it ends here


class Racers:
    """The sessions of one process, in one setup."""

    def __init__(self, scenarios: Sequence[Scenario], setup: "Setup", numbers: range, pulse: "Pulse") -> None:
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
        gc.collect()
        gc.freeze()

    def close(self) -> None:
        for connection in [*self.connections, *(c for pool in self._pools.values() for c in pool.opened)]:
            if connection is not None:
                connection.close()
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
        return racing_connection(
            self._conninfo,
            self.race,
            autocommit=self.autocommit,
            options=self._options,
            application_name="harness hammer",
            prepare_threshold=self.setup.prepare_threshold,
        )

    # ---- a batch --------------------------------------------------------------------------------------------------

    def run(self, batch: Batch) -> Calls:
        heat = Heat(self, batch)
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
        began = time.monotonic_ns()
        try:
            answer = heat.code_of(body(door, **arguments))
        except (Exception, SystemExit) as error:
            answer = heat.code(self._told(error, door, call.operation))
        ended = time.monotonic_ns()
        if not pooled and door.pgconn.transaction_status:
            answer = heat.code(self._left_open(door, heat.calls.answers[answer]))
        heat.note(number, self.numbers[session], position, began, ended, answer)

    def _told(self, error: BaseException, door: Any, operation: str) -> Answer:
        told = answer_to(error, self.refusals[operation])
        lost = isinstance(error, psycopg.OperationalError) and isinstance(door, RacingConnection) and door.closed
        return Unknown() if lost else told

    def _left_open(self, connection: RacingConnection, answer: Answer) -> Answer:
        try:
            return left_open(connection, answer)
        except psycopg.Error:  # it died meanwhile; the next call gets another
            connection.close()
            return answer


class Heat:
    """One batch while it is raced: how far each session is, and what calls came to."""

    def __init__(self, racers: Racers, batch: Batch) -> None:
        self.racers, self.batch = racers, batch
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
        calls = self.calls
        calls.rounds.append(number)
        calls.sessions.append(session)
        calls.positions.append(position)
        calls.began_ns.append(began)
        calls.ended_ns.append(ended)
        calls.told.append(answer)


def _sendable(value: object) -> object:
    """The value itself, or its name where another process could not read it."""
    try:
        pickle.dumps(value)
    except Exception:
        return type(value).__name__
    return value
