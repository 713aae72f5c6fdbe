"""Rows are told apart by their keys: what a round left, moved back, is what the template's own calls leave alone."""

from collections.abc import Sequence
from uuid import UUID

import psycopg
import pytest
from hypothesis import strategies as st

from harness import Connection, Key, Own, Scenario
from harness.generators.rounds import fresh
from harness.model.cell import Isolation
from harness.model.contest import Call, Contest
from harness.model.outcome import Failed, Ok
from harness.runners.explorer import Explorer
from harness.runners.ground import Ground, NotSeparate
from harness.servers.server import Server
from harness.sessions.arena import Arena
from harness.sessions.steering import Steering
from tests.conftest import MakeArena

made = Scenario(
    "made",
    tables="""
        CREATE TABLE item (id serial PRIMARY KEY, who text, org uuid, number int, label text, amount int,
                           made_at timestamptz DEFAULT now(), until timestamptz);
        CREATE TABLE plan (name text)""",
    states={"some": ("INSERT INTO plan VALUES ('basic')", "INSERT INTO item (who) VALUES (%(who)s)")},
)


@made.operation(who=Key(str), org=Key(UUID), number=Key(int), amount=Own(st.integers(1, 9)))
def put(connection: Connection, who: str, org: UUID, number: int, amount: int) -> object:
    query = """INSERT INTO item (who, org, number, label, amount, until)
               VALUES (%s, %s, %s, %s, %s, now() + interval '1 hour') RETURNING id, who"""
    return connection.execute(query, (who, org, number, f"{who}/{number}", amount)).fetchone()


def call(person: int, amount: int) -> tuple[Call, ...]:
    return (Call("put", (("who", f"who{person}"), ("org", UUID(int=1)), ("number", 2), ("amount", amount))),)


MODEL = Contest("some", (call(1, 1), call(2, 2)), "other who")


def ground(arena: Arena, models: Sequence[Contest] = (MODEL,)) -> Ground:
    return Ground(arena, made, models, 4, lambda contest: b"")


def run(server: Server, arena: Arena, contest: Contest) -> list[object]:
    """Every call of the contest, one after the other, on a connection of nobody's."""
    with psycopg.connect(server.dsn(arena.database), autocommit=True) as connection:
        calls = [call for calls in contest.sessions for call in calls]
        return [put(connection, **dict(call.arguments)) for call in calls]


def test_a_round_leaves_what_its_calls_leave_alone(server: Server, arena: MakeArena) -> None:
    one = arena(made.tables)
    race = ground(one)
    batch = race.batch(7, [0, 0, 0])
    race.prepare(batch)
    told = [run(server, one, fresh(made, race.templates[0].contest, base)) for base in batch.bases]
    reading, remains = race.read()
    assert len(remains) == 6  # two pairs a round, each on keys of its own
    shown = [left.rows for left in remains.values()]
    assert all(rows == shown[0] for rows in shown)
    # The same by the explorer, with the template's own keys: nothing was moved but keys, ids and times.
    alone = Explorer(one, made, lambda n: (made.specification(),) * n, Isolation.READ_COMMITTED, Steering("dropped"))
    outcome = alone.serial(MODEL, MODEL.operations)
    items = next(table for table in outcome.rows if table.name == "item")
    label, until = items.columns.index("label"), items.columns.index("until")
    assert sorted(row[label] or "" for row in items.rows) == sorted(row[label] or "" for row in shown[0][0])
    assert sorted(str(row[until]) for row in items.rows) == sorted(str(row[until]) for row in shown[0][0])
    assert [row[0] for row in shown[0][1]] == ["basic"]
    firsts = [pair[n] for pair in told for n in (0, 2)]
    answers = [race.told(Ok(a), unit, left) for a, (unit, left) in zip(firsts, remains.items(), strict=True)]
    assert len({str(answer) for answer in answers}) == 1
    assert race.told(Failed("23505"), 14, remains[14]) == Failed("23505")
    assert reading.tables


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("INSERT INTO item (who, label) VALUES ('who{0}', 'who{1}')", "one row has the keys of"),
        ("UPDATE plan SET name = 'other'", "a row without a key was changed"),
        ("INSERT INTO item (who) VALUES ('who999999999')", "a row without a key was changed"),
    ],
)
def test_rounds_that_meet_after_all_are_noticed(arena: MakeArena, statement: str, why: str) -> None:
    one = arena(made.tables)
    race = ground(one)
    batch = race.batch(0, [0, 0])
    race.prepare(batch)
    one.control.run(statement.format(*(base + 1 for base in batch.bases)))
    with pytest.raises(NotSeparate, match=why):
        race.read()


def test_an_index_that_lost_a_row_is_noticed_where_the_server_can(arena: MakeArena) -> None:
    one = arena(made.tables)
    race = ground(one)
    race.prepare(race.batch(0, [0]))
    if race.damage() is None:
        pytest.skip("this server has no amcheck")
    assert race.damage() == ""
    one.control.run("UPDATE pg_index SET indisready = false WHERE indexrelid = 'item_pkey'::regclass")
    one.control.run("INSERT INTO item (who) VALUES ('nobody')")
    one.control.run("UPDATE pg_index SET indisready = true WHERE indexrelid = 'item_pkey'::regclass")
    assert "lacks matching index tuple" in (race.damage() or "")
