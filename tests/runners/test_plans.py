"""Generic plans of the statements that were seen: what an index changes, and what must not change anything."""

from typing import Any

import pytest

from harness.model.verdict import Plan
from harness.runners.plans import Statements
from harness.sessions.arena import Arena
from harness.sessions.statement import Kind, Statement
from tests.conftest import MakeArena

pytestmark = pytest.mark.server

TABLE = "CREATE TABLE item (name text NOT NULL, amount int)"
UPSERT = "INSERT INTO item VALUES (%s, %s) ON CONFLICT (name) DO NOTHING"


def plans(arena: Arena, *sent: tuple[str, Any]) -> tuple[Plan, ...]:
    statements = Statements()
    for text, parameters in sent:
        statements.sent(0, Statement(Kind.STATEMENT, text, parameters), "")
    return statements.plans(arena)


def test_a_generic_plan_knows_no_values(arena: MakeArena) -> None:
    made = arena([TABLE, "CREATE UNIQUE INDEX item_name ON item (name)"])
    (one,), (other,) = (plans(made, (UPSERT, ["a", amount])) for amount in (1, 2))
    assert one == other
    assert "Conflict Arbiter Indexes: item_name" in one.plan


def test_an_index_that_is_dropped_shows(arena: MakeArena) -> None:
    made = arena([TABLE, "CREATE UNIQUE INDEX item_name ON item (name)"])
    before = plans(made, (UPSERT, ["a", 1]))
    made.control.run("DROP INDEX item_name")
    after = plans(made, (UPSERT, ["a", 1]))
    assert before != after
    assert after == (Plan(UPSERT, "[no plan: 42P10]"),)


def test_nothing_is_run(arena: MakeArena) -> None:
    made = arena(TABLE)
    plans(made, ("INSERT INTO item VALUES ('a', 1)", None), ("SELECT nextval('pg_catalog.no')", None))
    assert made.control.run("SELECT count(*) FROM item")[0][0][0] == "0"


def test_each_statement_is_there_once_and_in_the_order_of_its_text(arena: MakeArena) -> None:
    made = arena(TABLE)
    sent = [("TABLE item", None), ("DELETE FROM item WHERE name = %(n)s", {"n": "a"}), ("TABLE item", None)]
    assert [plan.statement for plan in plans(made, *sent)] == ["DELETE FROM item WHERE name = %(n)s", "TABLE item"]
    assert plans(made, *sent) == plans(made, *reversed(sent))


def test_a_percent_sign_is_only_itself(arena: MakeArena) -> None:
    made = arena(TABLE)
    alone, among = (
        plans(made, ("SELECT 1 FROM item WHERE name LIKE 'a%'", None)),
        plans(made, ("SELECT 1 FROM item WHERE name LIKE 'a%%' AND amount = %s", [1])),
    )
    assert "Filter: (name ~~ 'a%'::text)" in alone[0].plan
    assert "'a%'::text" in among[0].plan and "$1" in among[0].plan


@pytest.mark.parametrize("text", ["LOCK TABLE item", "SELECT 1; SELECT 2", "SELECT FROM nowhere"])
def test_what_has_no_plan_says_so(arena: MakeArena, text: str) -> None:
    ((plan),) = plans(arena(TABLE), (text, None))
    assert plan.plan.startswith("[no plan: 42")
