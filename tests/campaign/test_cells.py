"""A cell to its verdict, and every finding from its line back to the same violation."""

from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import replay
from harness.model.cell import Isolation
from harness.model.schedule import Gates
from harness.model.verdict import CellResult, Verdict
from harness.servers.server import Server
from tests.campaign.exploring import WAYS, explored, written

pytestmark = pytest.mark.server

UNSAFE, UNKNOWN, RETRY, SAFE = Verdict


def cell(server: Server, name: str, **options: Any) -> CellResult:
    return explored(server, f"{WAYS}::{name}", **options)


@pytest.mark.parametrize(
    ("name", "kind", "alone", "aged"),
    [
        ("on_conflict[none]", "duplicate", False, False),
        ("never[none]", "wrong-alone", True, False),
        ("on_conflict_with_a_parameter[none]", "42P10", True, False),
        ("on_conflict_with_a_parameter[partial]", "42P10", True, True),
        ("one_statement[none]", "duplicate", False, False),
        ("one_statement[partial]", "23505", False, False),
    ],
)
def test_a_finding_is_confirmed_and_replays_from_its_line(
    server: Server, name: str, kind: str, alone: bool, aged: bool
) -> None:
    result = cell(server, name)
    assert (result.verdict, [f.violation.name for f in result.findings]) == (UNSAFE, [kind])
    assert result.as_expected
    (finding,) = result.findings
    assert (finding.replayed, finding.replays) == (3, 3)
    assert (finding.schedule.alone, finding.schedule.aged) == (alone, aged)
    again = replay(finding.schedule, server, 5, source=str(WAYS))
    assert (again.hits, again.times, again.outcome) == (5, 5, finding.found)
    assert again.violation is not None
    assert again.violation.name == kind


def test_what_was_met_everywhere_and_never_violated_is_safe(server: Server) -> None:
    result = cell(server, "on_conflict[partial]")
    assert (result.verdict, result.findings, result.as_expected) == (SAFE, (), True)
    assert result.coverage.exhaustive
    assert result.coverage.contended


@pytest.mark.parametrize("layout", ["none", "partial"])
def test_failures_that_may_be_retried_and_then_succeed_are_no_findings(server: Server, layout: str) -> None:
    result = cell(server, f"in_a_transaction[{layout}]")
    assert (result.verdict, result.findings) == (RETRY, ())
    assert result.coverage.exhaustive


def test_a_lone_statement_without_gates_is_unknown(server: Server) -> None:
    result = cell(server, "one_statement[none]", gates=Gates.NONE)
    assert (result.verdict, result.reason) == (UNKNOWN, "one statement, needs gates")
    assert not result.as_expected


def test_a_cell_that_the_budget_does_not_reach_is_unknown(server: Server) -> None:
    result = cell(server, "on_conflict[partial]", budget_s=0.0)
    assert (result.verdict, result.reason) == (UNKNOWN, "the budget was spent before this cell was begun")
    assert not result.as_expected


def test_a_cell_of_which_not_every_order_was_run_is_not_called_exhaustive(server: Server) -> None:
    result = cell(server, "in_a_transaction[none]", orders_max=3)
    assert result.cell.isolation is Isolation.SERIALIZABLE
    assert not result.coverage.exhaustive


# One statement each, no waits, and the order makes no difference: one meets what the other has left, one does not.
MEETS = """
from harness import READ_COMMITTED, Connection, Key, Scenario

meets = Scenario(
    "meets",
    tables="CREATE TABLE visits (page text, count int)",
    states={"there": "INSERT INTO visits VALUES (%(page)s, 0)"},
)

@meets.operation(page=Key(str))
def visit(connection: Connection, page: str) -> None:
    connection.execute(STATEMENT, [page])

@visit.strategy(isolation=READ_COMMITTED)
def as_it_stands(connection: Connection, page: str) -> None:
    visit(connection, page)
"""


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        ("UPDATE visits SET count = count + 1 WHERE page = %s", SAFE),
        ("INSERT INTO visits VALUES (%s, 1)", UNKNOWN),
    ],
)
def test_a_pass_needs_that_sessions_met(server: Server, tmp_path: Path, statement: str, verdict: Verdict) -> None:
    result = written(server, tmp_path, MEETS.replace("STATEMENT", repr(statement)))
    assert result.verdict is verdict
    assert result.reason.startswith("never contended" if verdict is UNKNOWN else "")


# Answers True only if it looks before another call and again inside it: that takes two preemptions.
TWICE = """
from harness import READ_COMMITTED, Connection, Key, Scenario

twice = Scenario(
    "twice",
    tables="CREATE TABLE door (name text, inside int, times int)",
    states={"shut": "INSERT INTO door VALUES (%(name)s, 0, 0)"},
)

UPDATE = "UPDATE door SET inside = inside + %s, times = times + 1 WHERE name = %s"

@twice.operation(name=Key(str))
def passes(connection: Connection, name: str) -> bool:
    inside = "SELECT inside FROM door WHERE name = %s"
    before, after = (connection.execute(inside, [name]).fetchone() for _ in range(2))
    for step in (1, -1):
        connection.execute(UPDATE, [step, name])
    return before != after

@passes.strategy(isolation=READ_COMMITTED)
def as_it_stands(connection: Connection, name: str) -> bool:
    return passes(connection, name)
"""


def test_a_finding_that_needs_two_preemptions_is_met_on_the_way_to_certainty(server: Server, tmp_path: Path) -> None:
    result = written(server, tmp_path, TWICE)
    assert [f.violation.name for f in result.findings] == ["wrong-answer"]
    assert result.findings[0].schedule.preemptions == 2


# Its answer is the place of its row on the heap: after DELETE and INSERT another one than after TRUNCATE.
PLACES = """
from harness import READ_COMMITTED, Connection, Key, Scenario

places = Scenario("places", tables="CREATE TABLE item (name text)")

@places.operation(name=Key(str))
def put(connection: Connection, name: str) -> str:
    connection.execute("SELECT FROM item")
    return connection.execute("INSERT INTO item VALUES (%s) RETURNING ctid::text", [name]).fetchone()[0]

@put.strategy(isolation=READ_COMMITTED)
def as_it_stands(connection: Connection, name: str) -> str:
    return put(connection, name)
"""


def test_what_depends_on_where_earlier_trials_left_room_is_explored_without_them(
    server: Server, tmp_path: Path
) -> None:
    result = written(server, tmp_path, PLACES)
    assert (result.verdict, result.reason) == (SAFE, "")
    assert result.coverage.exhaustive


TRANSFERS = """
from hypothesis import strategies as st
from harness import READ_COMMITTED, Connection, Key, Scenario, unsafe

transfers = Scenario(
    "transfers",
    tables="CREATE TABLE account (name text PRIMARY KEY, balance int NOT NULL)",
    states={"there": "INSERT INTO account VALUES (%(account)s, 100)"},
)


@transfers.operation(source=Key(str, name="account"), target=Key(str, name="account"))
def transfer(connection: Connection, source: str, target: str) -> None:
    change = "UPDATE account SET balance = balance + %s WHERE name = %s"
    with connection.transaction():
        connection.execute(change, (-10, source))
        connection.execute(change, (10, target))


@transfer.strategy(isolation=READ_COMMITTED)
def as_it_is(connection: Connection, source: str, target: str) -> None:
    transfer.body(connection, source, target)
"""


def test_calls_that_cancel_each_other_out_are_explored_all_the_same(server: Server, tmp_path: Path) -> None:
    # Both orders of two crossed transfers of one amount leave the start state; concurrent, they deadlock.
    result = written(server, tmp_path, TRANSFERS)
    assert [finding.violation.name for finding in result.findings] == ["deadlock"]


SHOP = """
from hypothesis import strategies as st
from harness import Connection, Identity, Key, Own, READ_COMMITTED, Scenario, unsafe

shop = Scenario("shop", tables="CREATE TABLE token (name text PRIMARY KEY, value int); CREATE TABLE code (code text)",
                identity=[Identity("code", by=["code"])], states={"new": ""})


@shop.operation(name=Key(str), value=Own(st.integers(1)))
def store(connection: Connection, name: str, value: int) -> None:
    upsert = "INSERT INTO token VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value"
    connection.execute(upsert, (name, value))


@shop.operation(code=Key(str))
def redeem(connection: Connection, code: str) -> bool:
    if connection.execute("SELECT 1 FROM code WHERE code = %s", (code,)).fetchone():
        return False
    connection.execute("INSERT INTO code VALUES (%s)", (code,))
    return True


@store.strategy(isolation=READ_COMMITTED)
def as_it_is(connection: Connection, name: str, value: int) -> None:
    store.body(connection, name, value)


@redeem.strategy(isolation=READ_COMMITTED)
def look_first(connection: Connection, code: str) -> bool:
    return redeem.body(connection, code)
"""


@pytest.mark.parametrize("options", [{}, {"sessions": 3, "orders_max": 100}, {"examples": 30}], ids=str)
def test_a_race_of_operations_that_are_not_under_test_is_not_the_strategys(
    server: Server, tmp_path: Path, options: dict[str, int]
) -> None:
    assert written(server, tmp_path, SHOP, "as_it_is", **options).verdict is SAFE
    condemned = written(server, tmp_path, SHOP, "look_first", **options)
    assert [finding.violation.name for finding in condemned.findings] == ["duplicate"]


STOCK = """
from hypothesis import strategies as st
from harness import Connection, Key, READ_COMMITTED, Scenario, safe, unsafe

stock = Scenario("stock", tables="CREATE TABLE item (name text PRIMARY KEY, gone bool NOT NULL DEFAULT false)",
                 states={"new": "", "gone": "INSERT INTO item VALUES (%(name)s, true)"})


@stock.operation(name=Key(str))
def add(connection: Connection, name: str) -> bool:
    upsert = "INSERT INTO item VALUES (%s) ON CONFLICT (name) DO UPDATE SET gone = false WHERE item.gone"
    return bool(connection.execute(upsert, (name,)).rowcount)


@stock.operation(name=Key(str))
def remove(connection: Connection, name: str) -> None:
    connection.execute("UPDATE item SET gone = true WHERE name = %s", (name,))


@add.strategy(isolation=READ_COMMITTED, expect=[EXPECT])
def do_nothing(connection: Connection, name: str) -> bool:
    return bool(connection.execute("INSERT INTO item VALUES (%s) ON CONFLICT DO NOTHING", (name,)).rowcount)
"""


@pytest.mark.parametrize(
    ("declared", "as_expected"),
    [('unsafe("wrong-alone", state="gone")', True), ('unsafe("duplicate", state="gone")', False), ("safe()", False)],
)
def test_what_is_declared_of_a_state_is_expected_of_calls_that_lead_there(
    server: Server, tmp_path: Path, declared: str, as_expected: bool
) -> None:
    text = STOCK.replace("EXPECT", declared)
    assert written(server, tmp_path, text, "do_nothing[none,new]").verdict is SAFE
    drawn = written(server, tmp_path, text, "do_nothing[none,new]", examples=60)
    assert {finding.violation.name for finding in drawn.findings} == {"wrong-alone"}
    assert drawn.as_expected is as_expected
