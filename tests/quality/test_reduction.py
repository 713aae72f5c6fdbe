"""The reduced exploration meets every outcome that brute force meets; with a weaker relation it would not.

HARNESS_FUZZ=500 runs so many programs at each isolation level, larger ones among them; 60 small ones otherwise.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import pytest

from harness.model.cell import Isolation
from harness.sessions.arena import Arena
from harness.sessions.footprints import Footprint, Texts, dependent
from tests.quality.programs import LAYOUTS, START, Program, Script, brute_force, orders, programs, reduced

MakeArena = Callable[..., Arena]
FUZZ = int(os.environ.get("HARNESS_FUZZ", "60"))
SEED = int(os.environ.get("HARNESS_FUZZ_SEED", "1"))
READ_COMMITTED, SERIALIZABLE = Isolation.READ_COMMITTED, Isolation.SERIALIZABLE


@pytest.mark.parametrize("isolation", list(Isolation))
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_random_programs_come_to_the_same_outcomes(arena: MakeArena, isolation: Isolation, layout: str) -> None:
    made = arena(LAYOUTS[layout], START)
    texts = Texts(made.control)
    run = classes = pruned = 0
    chosen = islice(programs(SEED, orders_max=40 if FUZZ <= 60 else 300), FUZZ)
    for number, (where, program) in enumerate(chosen):
        if where != layout:
            continue
        expected, count = brute_force(made, program, isolation)
        found, reduction = reduced(made, program, isolation, texts=texts)
        assert found == expected, f"program {number}: {program}"
        run, classes, pruned = run + count, classes + reduction.classes, pruned + reduction.pruned
    assert classes <= run
    print(f"{layout}, {isolation}: {run} orders, {classes} classes, {pruned} pruned")


@pytest.mark.parametrize("isolation", list(Isolation))
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_so_do_programs_that_are_held_inside_their_statements(
    arena: MakeArena, isolation: Isolation, layout: str
) -> None:
    made = arena(LAYOUTS[layout], START, gates=True)
    texts = Texts(made.control)
    held = 0
    for number, (where, program) in enumerate(islice(programs(SEED, orders_max=6, statements_max=2), FUZZ)):
        if where != layout:
            continue
        expected, count = brute_force(made, program, isolation)
        found, reduction = reduced(made, program, isolation, texts=texts)
        assert found == expected, f"program {number}: {program}"
        held += count > orders(program)
        assert reduction.classes <= count
    assert held


# Both show by c that they began before s1 committed; whether the trigger, which looks anew, finds what s2 has written
# tells who woke first.
WAKING = """
    CREATE TABLE a (n int); CREATE TABLE b (n int, of_a int); CREATE TABLE c (n int);
    CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN new.of_a := (SELECT n FROM a); RETURN new; END $$;
    CREATE TRIGGER look BEFORE UPDATE ON b FOR EACH ROW EXECUTE FUNCTION look()"""
WAKING_START = "INSERT INTO a VALUES (0); INSERT INTO b VALUES (0, 0); INSERT INTO c VALUES (0)"
WAITS: Program = (
    Script(("UPDATE c SET n = 1", "UPDATE a SET n = 1", "UPDATE b SET n = 1"), transaction=True),
    Script(("UPDATE a SET n = n + 10 RETURNING n, (SELECT n FROM c)",), transaction=False),
    Script(("UPDATE b SET n = n + 10 RETURNING n, of_a, (SELECT n FROM c)",), transaction=False),
)
READS: Program = (
    Script(("SELECT count(*), sum(n) FROM a", "SELECT count(*), sum(n) FROM a"), transaction=True),
    Script(("UPDATE a SET n = n + 1",), transaction=False),
)


def commits_publish_nothing(a: Footprint, b: Footprint) -> bool:
    return dependent(replace(a, published=frozenset()), replace(b, published=frozenset()))


def reads_depend_on_nothing(a: Footprint, b: Footprint) -> bool:
    return dependent(replace(a, reads=frozenset()), replace(b, reads=frozenset()))


@pytest.mark.parametrize(
    ("ddl", "start", "program", "mutant"),
    [
        (LAYOUTS["plain"], START, READS, commits_publish_nothing),
        (LAYOUTS["plain"], START, READS, reads_depend_on_nothing),
    ],
    ids=["publishing", "reading"],
)
def test_a_weaker_relation_loses_an_outcome(
    arena: MakeArena, ddl: str, start: str, program: Program, mutant: Callable[[Footprint, Footprint], bool]
) -> None:
    made = arena(ddl, start)
    expected, _ = brute_force(made, program, READ_COMMITTED, start=start)
    assert reduced(made, program, READ_COMMITTED, start=start)[0] == expected
    assert reduced(made, program, READ_COMMITTED, start=start, relation=mutant)[0] < expected


def test_who_wakes_first_is_explored_whoever_came_first(arena: MakeArena) -> None:
    made = arena(WAKING, WAKING_START)
    expected, orders_run = brute_force(made, WAITS, READ_COMMITTED, start=WAKING_START)
    found, reduction = reduced(made, WAITS, READ_COMMITTED, start=WAKING_START)
    assert found == expected
    assert reduction.classes < orders_run


# n sessions that do the same; classes of which each is run once, and trials given up on the way. SERIALIZABLE keeps
# more: a reader may doom a writer.
SELECT_INSERT = Script(
    ("SELECT k, n FROM a WHERE k = 2", "INSERT INTO a SELECT 2, 1 WHERE NOT EXISTS (SELECT FROM a WHERE k = 2)"), True
)
READ_MODIFY_WRITE = Script(("SELECT k, n FROM a WHERE k = 1", "UPDATE a SET n = 1 WHERE k = 1"), True)
LOCKED = Script(("SELECT k, n FROM a WHERE k = 1 FOR UPDATE", "UPDATE a SET n = 1 WHERE k = 1"), True)
ADD_ONE = Script(("UPDATE a SET n = n + 1 WHERE k = 1",), True)


@pytest.mark.parametrize(
    ("layout", "script", "sessions", "isolation", "orders", "classes", "pruned"),
    [
        ("plain", SELECT_INSERT, 2, READ_COMMITTED, 20, 6, 2),
        ("plain", SELECT_INSERT, 2, SERIALIZABLE, 20, 14, 0),
        ("unique", READ_MODIFY_WRITE, 2, READ_COMMITTED, 14, 6, 0),
        ("unique", READ_MODIFY_WRITE, 3, READ_COMMITTED, 636, 96, 0),
        ("unique", READ_MODIFY_WRITE, 2, SERIALIZABLE, 14, 10, 0),
        ("unique", LOCKED, 2, READ_COMMITTED, 6, 6, 0),
        ("unique", ADD_ONE, 3, READ_COMMITTED, 30, 30, 0),
    ],
)
def test_classes(
    arena: MakeArena,
    layout: str,
    script: Script,
    sessions: int,
    isolation: Isolation,
    orders: int,
    classes: int,
    pruned: int,
) -> None:
    made = arena(LAYOUTS[layout], START)
    expected, count = brute_force(made, (script,) * sessions, isolation)
    found, reduction = reduced(made, (script,) * sessions, isolation)
    assert found == expected
    assert (count, reduction.classes, reduction.pruned) == (orders, classes, pruned)


def test_locks_see_through_views_triggers_and_foreign_keys(arena: MakeArena) -> None:
    ddl = LAYOUTS["trigger"] + "; CREATE VIEW v AS SELECT * FROM b; CREATE TABLE c (k int REFERENCES a)"
    made = arena(ddl, START)
    texts = Texts(made.control)
    statements = "SELECT * FROM v", "INSERT INTO a VALUES (2, 2)", "INSERT INTO c VALUES (1)", "SELECT nextval('s')"
    made.control.run("CREATE SEQUENCE s")
    reduced(made, (Script(statements, transaction=True),), READ_COMMITTED, texts=texts)
    name = {t.oid: t.name for t in made.tables}
    touched = [texts.of(statement) for statement in statements]
    assert all(touched)
    reads = [{name[oid] for oid in access.reads if oid in name} for access in touched if access]
    writes = [{name.get(oid, "s") for oid in access.writes} for access in touched if access]
    assert reads[0] == {"b"} and not writes[0]
    assert writes[1] == {"a", "b"}
    assert {"a", "c"} <= writes[2]
    assert "s" in writes[3]


@pytest.mark.parametrize(
    "text",
    ["SELECT 1; SELECT 2", "CREATE TABLE x ()", "NOTIFY x", "SELECT * FROM pg_locks", "VACUUM", "SELECT hides()"],
)
def test_what_locks_do_not_show_is_not_learnt(arena: MakeArena, text: str) -> None:
    made = arena("""
        CREATE FUNCTION hides() RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_lock(1), pg_advisory_unlock(1); END $$""")
    assert not Texts(made.control).learnable(text)
    assert Texts(made.control).learnable("SELECT 1")
