"""Programs in, trials out: what the tests of the sessions, schedulers and runners share.

A program is application code: it takes a connection and returns what its client is told. A database error is an answer,
too: its SQLSTATE.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from harness.model.cell import Isolation
from harness.runners.trial import run_trial
from harness.schedulers.preemptions import Preemptions
from harness.schedulers.protocol import Scheduler
from harness.sessions.arena import Arena
from harness.sessions.connection import GatedConnection
from harness.sessions.session import Operation, Session
from harness.sessions.steering import Ended, Steering

Program = Callable[[GatedConnection], object]
Choices = Sequence[tuple[int, tuple[int, ...], str]]

KEYED = "CREATE TABLE t (k int, n int)"
UNIQUE = "CREATE TABLE t (k int PRIMARY KEY, n int)"
ONE_ROW = "INSERT INTO t VALUES (1, 0)"
READ_COMMITTED = Isolation.READ_COMMITTED
STEERING = Steering()


@dataclass(frozen=True)
class Trial:
    told: tuple[object, ...]  # by session: what its programs returned, or the SQLSTATE
    rows: tuple[tuple[str | None, ...], ...]  # of the first table
    ended: Ended

    @property
    def order(self) -> str:
        """Who went, step by step: 'aab' is s1, s1, s2; a capital letter is the victim of a deadlock.

        v to z: who of several wakes first.
        """
        letters = {"run": "abcde", "victim": "ABCDE", "wake": "vwxyz"}
        return "".join(letters[event][session] for session, _, event in self.ended.choices)

    @property
    def outcome(self) -> tuple[object, ...]:
        return self.told, self.rows


def script(*statements: str) -> Program:
    """Statements one after the other; returns the last one's rows if it has any."""

    def program(connection: GatedConnection) -> object:
        cursor = None
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor is not None and cursor.description else None

    return program


def transaction(*statements: str) -> Program:
    def program(connection: GatedConnection) -> object:
        with connection.transaction():
            return script(*statements)(connection)

    return program


def operation(arena: Arena, program: Program, told: dict[int, object], *, autocommit: bool = True) -> Operation:
    def run(session: Session) -> None:
        try:
            told[session.index] = program(arena.lend(session, autocommit=autocommit))
        except psycopg.Error as error:
            told[session.index] = error.sqlstate or str(error)

    return run


def run(
    arena: Arena,
    scheduler: Scheduler,
    *programs: Program,
    isolation: Isolation = READ_COMMITTED,
    steering: Steering = STEERING,
    autocommit: bool = True,
    observer: Any = None,
    tracker: Any = None,
) -> Trial:
    """The next trial of a scheduler that was asked for one."""
    told: dict[int, object] = {}
    operations = [[operation(arena, program, told, autocommit=autocommit)] for program in programs]
    ran = run_trial(arena, operations, scheduler, isolation, steering, observer=observer, tracker=tracker)
    answers = tuple(told.get(index) for index in range(len(programs)))
    return Trial(answers, ran.reading.tables[0] if ran.reading.tables else (), ran.ended)


def trials(arena: Arena, *programs: Program, bound: int | None = None, **options: Any) -> Iterator[Trial]:
    """Every feasible order once; with a bound, those with so many preemptions."""
    scheduler = Preemptions(bound)
    while scheduler.new_trial():
        yield run(arena, scheduler, *programs, **options)


def alone(arena: Arena, program: Program, **options: Any) -> Trial:
    """One session, nobody else."""
    (trial,) = trials(arena, program, **options)
    return trial


class Following:
    """Lets sessions go in the order of a string such as 'aab'; then whoever is first. Victims are chosen likewise."""

    def __init__(self, order: str) -> None:
        self._order = iter(["abcde".index(letter) for letter in order.lower()])
        self._begun = False

    def new_trial(self) -> bool:
        begun, self._begun = self._begun, True
        return not begun

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        if event == "wake":
            return options[0]  # who has waited longest
        wanted = next(self._order, options[0])
        assert wanted in options, f"s{wanted + 1} cannot go on, only {options}"
        return wanted

    def finished(self, choices: Choices) -> None:
        assert next(self._order, None) is None, "the trial ended early"


def follow(arena: Arena, order: str, *programs: Program, **options: Any) -> Trial:
    return run(arena, Following(order), *programs, **options)


def tally(found: Sequence[Trial], name: Callable[[Trial], str]) -> dict[str, int]:
    return dict(Counter(map(name, found)))
