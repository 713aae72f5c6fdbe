"""Every feasible order, and nothing else, comes to what PostgreSQL's own isolationtester saw: 120 cells, 1206 orders.

A cell of the truth is strategy x layout (U: a unique index on the key, N: none) x isolation level x start state.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from harness.model.cell import Isolation
from harness.runners.trial import run_trial
from harness.schedulers.preemptions import Preemptions
from harness.servers.server import Server
from harness.sessions.arena import Arena
from harness.sessions.session import Operation, Session
from harness.sessions.steering import Steering
from tests.ground_truth.strategies import FINAL, LAYOUTS, STARTS, STRATEGIES, begin
from tests.ground_truth.twins import TWINS

CELLS = json.loads(Path(__file__).with_name("truth.json").read_text())["cells"]
ISOLATION = {"RC": Isolation.READ_COMMITTED, "RR": Isolation.REPEATABLE_READ, "SER": Isolation.SERIALIZABLE}
MakeArena = Callable[..., Arena]

every_cell = pytest.mark.parametrize("cell", CELLS)


class Outcome(NamedTuple):
    errors: tuple[str, ...]  # 23505@s2: the first SQLSTATE of each session that met one
    rows: str  # v,n and whether it lives, by id

    @property
    def live(self) -> int:
        return self.rows.count(",L")


class Seen(NamedTuple):
    outcome: Outcome
    waits: str | None  # the step that had to wait


def truth_of(cell: str) -> dict[str, Seen]:
    seen = {}
    for text, orders in CELLS[cell]["orders"].items():
        told, _, rows = text.partition(": ")
        told, _, waits = told.partition(" (")
        errors = () if told == "ok" else tuple(told.split())
        seen |= dict.fromkeys(orders, Seen(Outcome(errors, rows), waits.removesuffix(" waits)") or None))
    return seen


def counts(orders: Mapping[str, Seen]) -> dict[str, object]:
    """The figures of a cell, from nothing but its rows and SQLSTATEs."""
    fine = [seen.outcome for seen in orders.values() if not seen.outcome.errors]
    serial = {seen.outcome.rows for order, seen in orders.items() if is_serial(order) and not seen.outcome.errors}
    strange = [outcome for outcome in fine if outcome.rows not in serial]
    errors = Counter(error.partition("@")[0] for seen in orders.values() for error in seen.outcome.errors)
    return {
        "feasible": len(orders),
        "dup": sum(outcome.live > 1 for outcome in fine),
        "lost": sum(outcome.live == 1 for outcome in strange),
        "nonserial": len(strange),
        "errors": dict(errors),
    }


def is_serial(order: str) -> bool:
    sessions = [step[-1] for step in order.split()]
    return sessions == sorted(sessions) or sessions == sorted(sessions, reverse=True)


def figures(cell: str) -> dict[str, object]:
    return {name: CELLS[cell][name] for name in ("feasible", "dup", "lost", "nonserial", "errors")}


def arena_for(cell: str, arena: MakeArena, server: Server) -> tuple[Arena, int, str]:
    strategy, layout, level, start = cell.removeprefix("s").split("_")
    if strategy == "10" and server.version_num < 150_000:
        pytest.skip(f"MERGE came with PostgreSQL 15, this is {server.version}")
    return arena(LAYOUTS[layout], STARTS[start], queries=[FINAL]), int(strategy), level


def as_specified(arena: Arena, index: int, strategy: int, level: str, errors: dict[int, str]) -> Operation:
    """The spec's session: goes on after an error, as a script does."""

    def operation(session: Session) -> None:
        connection = arena.lend(session)
        for setup in begin(level).split("; "):
            connection.execute(setup)
        for _, sql in STRATEGIES[strategy].of_session(index):
            try:
                connection.execute(sql)
            except psycopg.Error as error:
                errors.setdefault(index, error.sqlstate or "?")  # 25P02 follows

    return operation


def as_written(arena: Arena, index: int, strategy: int, level: str, errors: dict[int, str]) -> Operation:
    """The twin: gives up after an error, as a request does."""

    def operation(session: Session) -> None:
        try:
            TWINS[strategy](arena.lend(session), 1, "ab"[index])
        except psycopg.Error as error:
            errors[index] = error.sqlstate or "?"

    return operation


def explored(
    program: Callable[..., Operation], cell: str, arena: MakeArena, server: Server
) -> Iterable[tuple[list[tuple[int, tuple[int, ...]]], Outcome]]:
    """The choices of every feasible order, and what it came to."""
    made, strategy, level = arena_for(cell, arena, server)
    # A spec says its level itself, in BEGIN; an application leaves it to the connection's default.
    isolation = ISOLATION["RC" if program is as_specified else level]
    scheduler = Preemptions()
    while scheduler.new_trial():
        errors: dict[int, str] = {}
        programs = [[program(made, index, strategy, level, errors)] for index in range(2)]
        ran = run_trial(made, programs, scheduler, isolation, Steering())
        told = tuple(f"{state}@s{index + 1}" for index, state in sorted(errors.items()))
        yield [choice[:2] for choice in ran.ended.choices], Outcome(told, ran.reading.queries[0][0][0] or "")


def named(choices: list[tuple[int, tuple[int, ...]]], strategy: int) -> tuple[str, str | None]:
    """The order as the truth names it, and the step after which its session could not go on at once."""
    names = [[name for name, _ in STRATEGIES[strategy].of_session(index)] for index in range(2)]
    order, waits = [], None
    for number, (session, _) in enumerate(choices):
        order.append(names[session].pop(0))
        if names[session] and session not in choices[number + 1][1]:
            waits = order[-1]
    return " ".join(order), waits


@every_cell
def test_the_figures_of_a_cell_follow_from_its_rows(cell: str) -> None:
    assert counts(truth_of(cell)) == figures(cell)


@every_cell
def test_every_order_comes_to_what_isolationtester_saw(cell: str, arena: MakeArena, server: Server) -> None:
    seen: dict[str, Seen] = {}
    for choices, outcome in explored(as_specified, cell, arena, server):
        order, waits = named(choices, int(cell.removeprefix("s").split("_")[0]))
        assert order not in seen, "an order was run twice"
        seen[order] = Seen(outcome, waits)
    assert seen == truth_of(cell)
    assert counts(seen) == figures(cell)


@every_cell
def test_the_same_as_ordinary_code_comes_to_the_same_outcomes(cell: str, arena: MakeArena, server: Server) -> None:
    seen = {outcome for _, outcome in explored(as_written, cell, arena, server)}
    assert seen == {seen.outcome for seen in truth_of(cell).values()}
