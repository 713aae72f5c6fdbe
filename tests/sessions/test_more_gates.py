"""Gates beyond the first: between the rows of one statement, before the indexes, after the write."""

from collections.abc import Callable

import pytest

from harness.model.schedule import Gates
from harness.sessions.arena import Arena
from tests.sessions.trials import KEYED, Program, Trial, alone, script, tally, transaction, trials

MakeArena = Callable[..., Arena]

TWO_UNIQUE = "CREATE TABLE t (id text PRIMARY KEY, k int NOT NULL, n int)"
ON_K = "CREATE UNIQUE INDEX ON t (k)"
BEFORE_THE_INDEXES = "BEFORE THE INDEXES ON public.t"


def came_to(trial: Trial) -> str:
    states = [told for told in trial.told if isinstance(told, str)]
    return states[0] if states else " ".join(sorted(" ".join(map(str, row)) for row in trial.rows))


def check(made: Arena, *programs: Program, comes_to: set[str]) -> list[Trial]:
    found = list(trials(made, *programs))
    assert set(tally(found, came_to)) == comes_to
    return found


# ---- before the indexes ---------------------------------------------------------------------------------------------


def upsert(target: str) -> Program:
    return script(f"INSERT INTO t VALUES ('same', 1, 1) ON CONFLICT {target}")


@pytest.mark.parametrize("wrap", [script, transaction])
@pytest.mark.parametrize("layout", [(TWO_UNIQUE, ON_K), (TWO_UNIQUE.replace("PRIMARY KEY", "NOT NULL"), ON_K)])
def test_an_upsert_meets_the_second_unique_index_after_it_has_probed_the_first(
    arena: MakeArena, layout: tuple[str, ...], wrap: Callable[..., Program]
) -> None:
    two = "PRIMARY KEY" in layout[0]
    made = arena(layout, gates=True)
    program = wrap("INSERT INTO t VALUES ('same', 1, 1) ON CONFLICT (k) DO UPDATE SET n = t.n + 1")
    found = check(made, program, program, comes_to={"same 1 2", "23505"} if two else {"same 1 2"})
    met = {gate for trial in found for gate in trial.ended.gates}
    assert (BEFORE_THE_INDEXES in met) == two


def test_an_upsert_without_a_target_has_probed_them_all(arena: MakeArena) -> None:
    check(arena((TWO_UNIQUE, ON_K), gates=True), *[upsert("DO NOTHING")] * 2, comes_to={"same 1 1"})


def test_the_only_arbiter_is_probed_again(arena: MakeArena) -> None:
    made = arena(("CREATE TABLE t (id text, k int PRIMARY KEY, n int)",), gates=True)
    found = check(made, *[upsert("(k) DO UPDATE SET n = t.n + 1")] * 2, comes_to={"same 1 2"})
    assert not any(BEFORE_THE_INDEXES in trial.ended.gates for trial in found)


def test_numbers_that_the_server_draws_do_not_collide(arena: MakeArena) -> None:
    table = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k int NOT NULL UNIQUE)"
    made = arena((table,), gates=True)
    assert made.control.run("SELECT count(*) FROM pg_class WHERE relname LIKE 'harness_gates_of_%'")[0] == (("0",),)


def test_a_function_is_held_before_the_indexes_and_a_plain_insert_is_not(arena: MakeArena) -> None:
    function = """CREATE FUNCTION put() RETURNS void LANGUAGE sql AS $$
        INSERT INTO t VALUES ('same', 1, 1) ON CONFLICT (k) DO UPDATE SET n = t.n + 1 $$"""
    made = arena((TWO_UNIQUE, ON_K, function), gates=True)
    assert BEFORE_THE_INDEXES in alone(made, script("SELECT put()")).ended.gates
    assert BEFORE_THE_INDEXES not in alone(made, script("INSERT INTO t VALUES ('same', 1, 1)")).ended.gates


def test_a_row_that_is_updated_is_not_held_as_that_depends_on_the_room_on_its_page(arena: MakeArena) -> None:
    made = arena((TWO_UNIQUE, ON_K), "INSERT INTO t VALUES ('same', 1, 1)", gates=True)
    program = script("INSERT INTO t VALUES ('new', 1, 1) ON CONFLICT (k) DO UPDATE SET id = excluded.id")
    assert alone(made, program).ended.gates == ["BEFORE INSERT ON public.t", "BEFORE UPDATE ON public.t"]


# ---- how the indexes are made anew ----------------------------------------------------------------------------------

MANY = """
CREATE TABLE t (
    "i d" text COLLATE "C" PRIMARY KEY,
    k int,
    n int,
    during int4range,
    parent text REFERENCES t,
    CONSTRAINT "k's own" UNIQUE (k) INCLUDE (n),
    UNIQUE (n) DEFERRABLE INITIALLY DEFERRED,
    EXCLUDE USING gist (during WITH &&) WHERE (n > 0)
);
CREATE UNIQUE INDEX "Lower" ON t (lower("i d") text_pattern_ops DESC NULLS LAST) WHERE k IS NOT NULL;
CREATE INDEX ON t USING hash (k);
CREATE TABLE child (t text REFERENCES t ON DELETE CASCADE, k int REFERENCES t (k))"""

DESCRIBED = """
SELECT pg_get_indexdef(indexrelid) FROM pg_index
 WHERE indrelid IN ('t'::regclass, 'child'::regclass) AND pg_get_indexdef(indexrelid) !~ 'harness_gates'
 ORDER BY indexrelid;
SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
 WHERE conrelid IN ('t'::regclass, 'child'::regclass) ORDER BY conrelid::regclass::text, conname"""


def test_what_was_made_anew_is_what_was_there(arena: MakeArena) -> None:
    made = arena(MANY.split(";"))
    before = made.control.run(DESCRIBED)
    made.install_gates()
    assert made.gates.missing == ()
    assert made.control.run(DESCRIBED) == before
    oldest = (
        "SELECT min(indexrelid)::regclass::text ~ '^harness_gates_of_' FROM pg_index WHERE indrelid = 't'::regclass"
    )
    assert made.control.run(oldest)[0] == (("t",),)


@pytest.mark.parametrize(
    ("layout", "why"),
    [
        (
            (TWO_UNIQUE, ON_K, "CREATE VIEW v AS SELECT id, k, n FROM t GROUP BY id"),
            "cannot drop constraint t_pkey on table t because other objects depend on it",
        ),
        ((TWO_UNIQUE, ON_K, "ALTER TABLE t REPLICA IDENTITY USING INDEX t_k_idx"), "replica identity"),
        (
            (
                "CREATE TABLE t (id text, k int, n int, UNIQUE (k, id), UNIQUE (k, n)) PARTITION BY LIST (k)",
                "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)",
            ),
            "partitioned",
        ),
    ],
)
def test_where_it_cannot_be_built_the_arena_says_why(arena: MakeArena, layout: tuple[str, ...], why: str) -> None:
    made = arena(layout)
    indexes = "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 't'::regclass"
    before = made.control.run(indexes)
    made.install_gates()
    (missing,) = made.gates.missing
    assert missing.startswith("t: ")
    assert why in missing
    assert made.control.run(indexes) == before
    made.gated = True
    assert alone(made, script("UPDATE t SET n = 1")).ended.gates == ["BEFORE UPDATE ON public.t"]


# ---- between rows ---------------------------------------------------------------------------------------------------

TWO_ROWS = "INSERT INTO t VALUES (1, 0), (2, 0)"
UNIQUE = "CREATE TABLE t (k int PRIMARY KEY, n int)"


def batch(*keys: int) -> Program:
    rows = ", ".join(f"({k}, 1)" for k in keys)
    return script(f"INSERT INTO t VALUES {rows} ON CONFLICT (k) DO UPDATE SET n = t.n + 1")


@pytest.mark.parametrize("start", ["", TWO_ROWS])
def test_two_batches_in_opposite_order_deadlock_and_in_one_order_do_not(arena: MakeArena, start: str) -> None:
    both = "1 2 2 2"
    made = arena(UNIQUE, start, gates=True)
    check(made, batch(1, 2), batch(2, 1), comes_to={both, "40P01"})
    check(made, batch(1, 2), batch(1, 2), comes_to={both})


def test_a_row_alone_is_not_held_and_of_many_only_the_first_few(arena: MakeArena) -> None:
    made = arena(UNIQUE, gates=True)
    rows = ["BEFORE ROW 2 OF INSERT ON public.t", "BEFORE ROW 3 OF INSERT ON public.t"]
    assert alone(made, batch(1)).ended.gates == ["BEFORE INSERT ON public.t", "BEFORE UPDATE ON public.t"]
    assert [g for g in alone(made, batch(1, 2, 3, 4, 5)).ended.gates if "ROW" in g] == rows


def test_each_statement_counts_its_own_rows(arena: MakeArena) -> None:
    made = arena(UNIQUE, gates=True)
    program = transaction(TWO_ROWS, "INSERT INTO t VALUES (3, 0)", "UPDATE t SET n = 1 WHERE k = 1")
    assert alone(made, program).ended.gates == ["BEFORE ROW 2 OF INSERT ON public.t"]


# ---- after the write ------------------------------------------------------------------------------------------------


def test_after_the_write_and_before_its_foreign_keys_are_checked(arena: MakeArena) -> None:
    tables = ("CREATE TABLE parent (k int PRIMARY KEY)", "CREATE TABLE t (k int REFERENCES parent, n int)")
    made = arena(tables)
    made.install_gates(Gates.ALL)
    made.gated = True
    made.prepare(b"INSERT INTO parent VALUES (1)")
    assert alone(made, script("INSERT INTO t VALUES (1, 1)")).ended.gates == [
        "BEFORE INSERT ON public.t",
        "AFTER ROW INSERT ON public.t",
        "AFTER INSERT ON public.t",
    ]


def test_gates_are_installed_once(arena: MakeArena) -> None:
    made = arena(KEYED, gates=True)
    made.install_gates()
    with pytest.raises(ValueError, match="gates=ALL: this database has USUAL already"):
        made.install_gates(Gates.ALL)
