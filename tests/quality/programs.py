"""Small random programs over two tables and two keys, run by brute force and reduced, to the same outcomes."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import factorial, prod
from typing import Any

import psycopg

from harness.model.cell import Isolation
from harness.runners.reduction import Dependence, Reduction
from harness.runners.trial import run_trial
from harness.schedulers.preemptions import Preemptions
from harness.schedulers.protocol import Pruned
from harness.sessions.arena import Arena
from harness.sessions.connection import GatedConnection
from harness.sessions.footprints import Texts, dependent
from harness.sessions.session import Operation, Session
from harness.sessions.steering import Steering, Tracker

LAYOUTS = {
    "plain": "CREATE TABLE a (k int, n int); CREATE TABLE b (k int, n int)",
    "unique": "CREATE TABLE a (k int PRIMARY KEY, n int); CREATE TABLE b (k int PRIMARY KEY, n int)",
    "foreign key": """
        CREATE TABLE a (k int PRIMARY KEY, n int);
        CREATE TABLE b (k int REFERENCES a ON DELETE CASCADE, n int)""",
    "trigger": """
        CREATE TABLE a (k int PRIMARY KEY, n int); CREATE TABLE b (k int, n int);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF new.n > 1 THEN INSERT INTO b VALUES (new.k, new.n); END IF;
          RETURN NULL;
        END $$;
        CREATE TRIGGER note AFTER INSERT OR UPDATE ON a FOR EACH ROW EXECUTE FUNCTION note()""",
}
START = "INSERT INTO a VALUES (1, 0); INSERT INTO b VALUES (1, 0)"
_SHAPES = (
    ("SELECT k, n FROM {t} WHERE k = {k}", 4),
    ("SELECT count(*), sum(n) FROM {t}", 1),
    ("SELECT k, n FROM {t} WHERE k = {k} FOR UPDATE", 1),
    ("INSERT INTO {t} VALUES ({k}, {v})", 3),
    ("UPDATE {t} SET n = n + 1 WHERE k = {k} RETURNING n", 3),
    ("UPDATE {t} SET n = n + 1", 1),
    ("UPDATE {t} SET n = (SELECT count(*) FROM {o})", 1),
    ("DELETE FROM {t} WHERE k = {k} RETURNING n", 2),
    ("INSERT INTO {t} SELECT {k}, {v} WHERE NOT EXISTS (SELECT FROM {t} WHERE k = {k})", 2),
    ("INSERT INTO {t} VALUES ({k}, {v}) ON CONFLICT DO NOTHING", 1),
    ("LOCK TABLE {t} IN SHARE ROW EXCLUSIVE MODE", 0.5),
    ("SELECT pg_advisory_xact_lock({k})::text", 0.5),
)


@dataclass(frozen=True)
class Script:
    """What one session does: goes on after an error, tells every answer."""

    statements: tuple[str, ...]
    transaction: bool

    @property
    def steps(self) -> int:
        return len(self.statements) + self.transaction

    def __call__(self, connection: GatedConnection, told: list[object]) -> None:
        try:
            if self.transaction:
                with connection.transaction():
                    for statement in self.statements:
                        told.append(_answer(connection, statement))
            else:
                for statement in self.statements:
                    try:
                        told.append(_answer(connection, statement))
                    except psycopg.Error as error:
                        told.append(error.sqlstate)
        except psycopg.Error as error:
            told.append(error.sqlstate)


def _answer(connection: GatedConnection, statement: str) -> object:
    cursor = connection.execute(statement)
    return tuple(sorted(cursor.fetchall(), key=str)) if cursor.description else cursor.rowcount


Program = tuple[Script, ...]
Seen = frozenset[object]


def orders(program: Program) -> int:
    """How many orders there are if nobody waits: the multinomial of the steps."""
    return factorial(sum(s.steps for s in program)) // prod(factorial(s.steps) for s in program)


def programs(seed: int, *, orders_max: int, statements_max: int = 3) -> Iterator[tuple[str, Program]]:
    source = random.Random(seed)
    shapes, weights = zip(*_SHAPES, strict=True)
    while True:
        layout = source.choice(list(LAYOUTS))
        sessions = source.choice((2, 2, 2, 3))
        program = tuple(
            Script(
                tuple(
                    source.choices(shapes, weights)[0].format(
                        t=(t := source.choice("ab")),
                        o="ab".replace(t, ""),
                        k=source.choice((1, 2)),
                        v=source.randint(1, 2),
                    )
                    for _ in range(source.randint(1, statements_max))
                ),
                source.random() < 0.7,
            )
            for _ in range(sessions)
        )
        if orders(program) <= orders_max:
            yield layout, program


def _trial(
    arena: Arena,
    program: Program,
    scheduler: Any,
    isolation: Isolation,
    tracker: Tracker | None = None,
    start: str = START,
) -> object:
    told: list[list[object]] = [[] for _ in program]

    def operation(script: Script) -> Operation:
        return lambda session: script(_lend(arena, session), told[session.index])

    arena.prepare(start.encode(), truncate=True)  # DELETE leaves an order of rows that depends on history
    ran = run_trial(arena, [[operation(s)] for s in program], scheduler, isolation, Steering(), tracker=tracker)
    rows = tuple(tuple(sorted(table)) for table in ran.reading.tables)
    return rows, tuple(map(tuple, told)), ran.ended.hang


def _lend(arena: Arena, session: Session) -> GatedConnection:
    return arena.lend(session)


def brute_force(arena: Arena, program: Program, isolation: Isolation, *, start: str = START) -> tuple[Seen, int]:
    scheduler = Preemptions()
    seen = []
    while scheduler.new_trial():
        seen.append(_trial(arena, program, scheduler, isolation, start=start))
    return frozenset(seen), len(seen)


def reduced(
    arena: Arena,
    program: Program,
    isolation: Isolation,
    *,
    texts: Texts | None = None,
    relation: Dependence = dependent,
    start: str = START,
) -> tuple[Seen, Reduction]:
    """The outcomes of one order of each class."""
    reduction = Reduction(texts or Texts(arena.control), isolation, len(program), relation=relation)
    for scheduler, tracker in reduction.learning():
        _trial(arena, program, scheduler, isolation, tracker, start)
    seen = set()
    while reduction.new_trial():
        try:
            seen.add(_trial(arena, program, reduction, isolation, reduction.tracker, start))
        except Pruned:
            continue
    return frozenset(seen), reduction
