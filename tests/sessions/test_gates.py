"""Gates: what races inside one statement, on a stock server, held at triggers and let go one at a time."""

from collections.abc import Callable

import pytest

from harness.servers.server import Server
from harness.sessions.arena import Arena
from harness.sessions.gates import parse_notice
from tests.sessions.trials import KEYED, ONE_ROW, UNIQUE, Program, Trial, alone, script, tally, transaction, trials

MakeArena = Callable[..., Arena]

NOT_EXISTS = "INSERT INTO t SELECT 1, 1 WHERE NOT EXISTS (SELECT FROM t WHERE k = 1)"
DO_UPDATE = "INSERT INTO t VALUES (1, 1) ON CONFLICT (k) DO UPDATE SET n = t.n + 1"
MERGE = """
MERGE INTO t USING (VALUES (1)) AS s (k) ON t.k = s.k
 WHEN MATCHED THEN UPDATE SET n = t.n + 1
 WHEN NOT MATCHED THEN INSERT VALUES (1, 1)"""
IN_ONE_CTE = """
WITH updated AS (UPDATE t SET n = n + 1 WHERE k = 1 RETURNING k)
INSERT INTO t SELECT 1, 1 WHERE NOT EXISTS (SELECT FROM updated)"""
READ_WHILE_WRITING = "UPDATE t SET n = (SELECT n FROM t WHERE k = 1) + 1 WHERE k = 1"
NEXT_NUMBER = "INSERT INTO t SELECT coalesce(max(k), 0) + 1, 1 FROM t"
POP = "DELETE FROM t WHERE k IN (SELECT k FROM t ORDER BY k LIMIT 1)"
POP_UNLOCKED = "DELETE FROM t WHERE k IN (SELECT k FROM t ORDER BY k LIMIT 1 FOR UPDATE SKIP LOCKED)"
TWO_ROWS = "INSERT INTO t VALUES (1, 0), (2, 0)"
REPLACE = """
CREATE FUNCTION replace_it() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM t WHERE k = 1;
  INSERT INTO t VALUES (1, 1);
END $$"""
MERGE_DB = """
CREATE FUNCTION merge_db() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  LOOP
    UPDATE t SET n = n + 1 WHERE k = 1;
    IF found THEN RETURN; END IF;
    BEGIN
      INSERT INTO t VALUES (1, 1);
      RETURN;
    EXCEPTION WHEN unique_violation THEN
    END;
  END LOOP;
END $$"""


def came_to(trial: Trial) -> str:
    states = [told for told in trial.told if isinstance(told, str)]
    return states[0] if states else " ".join(sorted(f"{k}={n}" for k, n in trial.rows)) or "nothing"


def check(
    arena: MakeArena, ddl: tuple[str, ...], start: str, statement: str, *, orders: int, comes_to: dict[str, int]
) -> None:
    """One autocommitted statement in two sessions: the orders with gates; without, each goes before the other."""
    made = arena(ddl, start, gates=True)
    program = script(statement)
    found = list(trials(made, program, program))
    assert (len(found), tally(found, came_to)) == (orders, comes_to)
    assert all(trial.ended.gates for trial in found)
    made.gated = False
    ungated = list(trials(made, program, program))
    assert [trial.order for trial in ungated] == ["ab", "ba"]
    assert {came_to(trial) for trial in ungated} <= set(comes_to), "gates hide no outcome"


@pytest.mark.parametrize(
    ("ddl", "start", "statement", "orders", "comes_to"),
    [
        ((KEYED,), "", NOT_EXISTS, 6, {"1=1": 2, "1=1 1=1": 4}),
        ((UNIQUE,), "", NOT_EXISTS, 6, {"1=1": 2, "23505": 4}),
        ((KEYED,), ONE_ROW, READ_WHILE_WRITING, 6, {"1=1": 4, "1=2": 2}),
        ((KEYED,), "", NEXT_NUMBER, 6, {"1=1 1=1": 4, "1=1 2=1": 2}),
        ((KEYED,), TWO_ROWS, POP, 6, {"2=0": 4, "nothing": 2}),
        ((KEYED, REPLACE), ONE_ROW, "SELECT replace_it()", 14, {"1=1": 2, "1=1 1=1": 12}),
        ((UNIQUE, REPLACE), ONE_ROW, "SELECT replace_it()", 14, {"1=1": 2, "23505": 12}),
        ((UNIQUE, REPLACE), "", "SELECT replace_it()", 20, {"1=1": 2, "23505": 18}),
    ],
)
def test_what_races_inside_a_statement_is_found(
    arena: MakeArena, ddl: tuple[str, ...], start: str, statement: str, orders: int, comes_to: dict[str, int]
) -> None:
    check(arena, ddl, start, statement, orders=orders, comes_to=comes_to)


@pytest.mark.parametrize(
    ("ddl", "start", "statement", "orders", "comes_to"),
    [
        # INSERT ON CONFLICT DO UPDATE fires the triggers of both its parts.
        ((UNIQUE,), "", DO_UPDATE, 20, {"1=2": 20}),
        ((UNIQUE,), ONE_ROW, DO_UPDATE, 20, {"1=2": 20}),
        ((UNIQUE,), ONE_ROW, "UPDATE t SET n = n + 1 WHERE k = 1", 6, {"1=2": 6}),
        ((UNIQUE, MERGE_DB), ONE_ROW, "SELECT merge_db()", 6, {"1=2": 6}),
        ((KEYED,), TWO_ROWS, POP_UNLOCKED, 6, {"nothing": 6}),
    ],
)
def test_what_is_safe_stays_safe_at_every_gate(
    arena: MakeArena, ddl: tuple[str, ...], start: str, statement: str, orders: int, comes_to: dict[str, int]
) -> None:
    check(arena, ddl, start, statement, orders=orders, comes_to=comes_to)


@pytest.mark.parametrize(
    ("table", "statement", "comes_to"),
    [
        (KEYED, MERGE, {"1=2": 2, "1=1 1=1": 18}),
        (UNIQUE, MERGE, {"1=2": 2, "23505": 18}),
        (UNIQUE, IN_ONE_CTE, {"1=2": 2, "23505": 18}),
    ],
)
def test_a_statement_that_may_update_and_insert_has_two_gates(
    arena: MakeArena, server: Server, table: str, statement: str, comes_to: dict[str, int]
) -> None:
    if statement is MERGE and server.version_num < 150_000:
        pytest.skip(f"MERGE came with PostgreSQL 15, this is {server.version}")
    check(arena, (table,), "", statement, orders=20, comes_to=comes_to)


# ---- where gates hold, and where not --------------------------------------------------------------------------------


def check_steps(arena: MakeArena, program: Program, *, steps: int, gates: list[str]) -> None:
    trial = alone(arena((UNIQUE, REPLACE), gates=True), program)
    assert (len(trial.order), trial.ended.gates) == (steps, gates)


def test_a_statement_is_held_once_a_gate(arena: MakeArena) -> None:
    check_steps(arena, script("INSERT INTO t VALUES (1, 1)"), steps=2, gates=["BEFORE INSERT ON public.t"])


def test_a_statement_that_meets_no_row_is_held_too(arena: MakeArena) -> None:
    check_steps(arena, script("DELETE FROM t"), steps=2, gates=["BEFORE DELETE ON public.t"])


def test_reading_is_not_held(arena: MakeArena) -> None:
    check_steps(arena, script("SELECT * FROM t"), steps=1, gates=[])


def test_a_write_in_an_open_transaction_is_not_held_as_its_borders_show_the_same(arena: MakeArena) -> None:
    check_steps(arena, transaction("INSERT INTO t VALUES (1, 1)", "SELECT 1"), steps=3, gates=[])


def test_a_function_in_an_open_transaction_is_held_and_what_follows_it_is_a_step_of_its_own(arena: MakeArena) -> None:
    # up to DELETE's gate; up to INSERT's; the rest; SELECT; COMMIT
    gates = ["BEFORE DELETE ON public.t", "BEFORE INSERT ON public.t"]
    check_steps(arena, transaction("SELECT replace_it()", "SELECT 1"), steps=5, gates=gates)


def test_statements_after_a_gate_are_steps_of_their_own(arena: MakeArena) -> None:
    program = script("INSERT INTO t VALUES (1, 1)", "SELECT 1", "UPDATE t SET n = 2")
    check_steps(arena, program, steps=5, gates=["BEFORE INSERT ON public.t", "BEFORE UPDATE ON public.t"])


def test_a_gate_survives_the_settings_of_a_session(arena: MakeArena) -> None:
    made = arena(UNIQUE, gates=True)
    alone(made, script("RESET ALL", "SELECT set_config('x.y', '1', false)", "SELECT pg_advisory_unlock_all()"))
    assert alone(made, script("INSERT INTO t VALUES (1, 1)")).ended.gates == ["BEFORE INSERT ON public.t"]


def test_the_application_s_own_triggers_come_after_the_gate(arena: MakeArena) -> None:
    function = """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'no'; END $$"""
    trigger = """CREATE TRIGGER "a first one" BEFORE INSERT ON t EXECUTE FUNCTION refuse()"""
    trial = alone(arena((UNIQUE, function, trigger), gates=True), script("INSERT INTO t VALUES (1, 1)"))
    assert (trial.told, trial.ended.gates) == (("P0001",), ["BEFORE INSERT ON public.t"])


def test_gated_trials_replay_to_the_same_outcome(arena: MakeArena) -> None:
    made = arena((UNIQUE, REPLACE), "", gates=True)
    program = script("SELECT replace_it()")
    once = {trial.order: trial.outcome for trial in trials(made, program, program)}
    for _ in range(5):
        assert {trial.order: trial.outcome for trial in trials(made, program, program)} == once


def test_only_our_own_notices_are_gates() -> None:
    assert parse_notice("harness gate 1163416881 BEFORE INSERT ON a.b") == (1163416881, "BEFORE INSERT ON a.b")
    assert parse_notice("read=1") is None
