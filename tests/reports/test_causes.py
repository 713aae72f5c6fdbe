"""Each cause where it is one, and something near that is not: a wrong hint costs more than a missing one."""

from dataclasses import replace

import pytest

from harness.model.advice import Repairs, Tried
from harness.model.cell import Isolation
from harness.model.outcome import Failed, Ok
from harness.model.verdict import Verdict
from harness.reports.causes import hints
from harness.reports.commands import deeds_of
from tests.reports.made import cell
from tests.reports.traces import found, index, on

RC, RR, SER = Isolation
BY_KEY = on(index("key"))

LOOK = "SELECT 1 FROM item WHERE key = %s -- 'a'"
LOCK = "SELECT amount FROM item WHERE key = %s FOR UPDATE -- 'a'"
INSERT = "INSERT INTO item (key, amount) VALUES (%s, %s) -- 'a', {}"
UPDATE = "UPDATE item SET amount = %s WHERE key = %s -- {}, 'a'"
DELETE = "DELETE FROM item WHERE key = %s -- 'a'"
MERGE = "MERGE INTO item USING (VALUES (%s, %s)) AS v (k, a) ON key = k WHEN NOT MATCHED THEN INSERT VALUES (k, a)"


def check(name: str | None, text: str, kind: str, ground: object = BY_KEY, **how: object) -> str:
    """The first cause told, or none; its words, to look for more in them."""
    told = hints(found(text, kind, **how), ground)  # type: ignore[arg-type]
    assert [hint.cause for hint in told[:1]] == [name] * (name is not None)
    return "\n".join(f"{hint.says}\n{hint.rewrite}" for hint in told)


CHECK_THEN_ACT = f"""
    s1 {LOOK} => SELECT 0
    s2 {LOOK} => SELECT 0
    s1 {INSERT.format(1)} => INSERT 0 1
    s1 -> True
    s2 {INSERT.format(2)} => 23505 unique_violation
    s2 -> 23505 unique_violation"""


def test_a_look_and_an_insert_with_an_index_on_the_key() -> None:
    words = check("check-then-act", CHECK_THEN_ACT, "23505")
    assert "s2's SELECT found no row of item before s1's was committed" in words
    assert "INSERT INTO item ... ON CONFLICT (key) DO UPDATE SET amount = EXCLUDED.amount" in words
    assert "CREATE" not in words


def test_a_partial_index_is_named_with_its_predicate() -> None:
    words = check("check-then-act", CHECK_THEN_ACT, "23505", on(index("key", predicate="(is_active = true)")))
    assert "ON CONFLICT (key) WHERE is_active = true DO UPDATE" in words


def test_without_an_index_the_rewrite_begins_with_one() -> None:
    twice = CHECK_THEN_ACT.replace("23505 unique_violation", "INSERT 0 1", 1).replace("-> 23505 unique", "-> True")
    words = check("check-then-act", twice, "duplicate", on())
    assert "CREATE UNIQUE INDEX ON item (key); then\nINSERT INTO item ... ON CONFLICT (key)" in words


def test_an_update_that_met_no_row_is_a_look_too() -> None:
    text = CHECK_THEN_ACT.replace(LOOK, UPDATE.format(1)).replace("SELECT 0", "UPDATE 0")
    assert "s2's UPDATE found no row of item" in check("check-then-act", text, "23505")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            f"""
            s1 {INSERT.format(1)} => INSERT 0 1
            s2 {LOOK} => SELECT 0
            s2 {INSERT.format(2)} => 23505 unique_violation""",
            id="the other had committed before the look: what it saw is no race",
        ),
        pytest.param(
            f"""
            s1 SELECT 1 FROM other WHERE key = %s -- 'a' => SELECT 0
            s2 {INSERT.format(1)} => INSERT 0 1
            s1 {INSERT.format(2)} => 23505 unique_violation""",
            id="a look at another table",
        ),
        pytest.param(
            f"""
            s1 {LOOK} => SELECT 1: (1)
            s2 {INSERT.format(1)} => INSERT 0 1
            s1 {INSERT.format(2)} => 23505 unique_violation""",
            id="it found a row, and inserted in spite of that",
        ),
        pytest.param(
            f"""
            s1 SELECT 1 FROM item WHERE key = %s -- 'b' => SELECT 0
            s2 {INSERT.format(1)} => INSERT 0 1
            s1 {INSERT.format(2)} => 23505 unique_violation""",
            id="a look for another key",
        ),
        pytest.param(
            f"""
            s1 {LOOK} => SELECT 0
            s1 -> None
            s2 {INSERT.format(1)} => INSERT 0 1
            s1 {INSERT.format(2)} => 23505 unique_violation""",
            id="a look of an earlier call",
        ),
    ],
)
def test_what_is_near_a_check_then_act(text: str) -> None:
    check(None, text, "23505")


def test_without_concurrency_there_is_no_race_to_tell_of() -> None:
    check(None, CHECK_THEN_ACT, "23505", alone=True)


def test_in_a_transaction_above_read_committed_the_first_statement_fixes_what_is_seen() -> None:
    text = f"""
        s1 SELECT 1 => SELECT 1: (1)
        s2 {INSERT.format(1)} => INSERT 0 1
        s2 -> True
        s1 {LOOK} => SELECT 0
        s1 {INSERT.format(2)} => 23505 unique_violation
        s1 COMMIT => COMMIT"""
    check("check-then-act", text, "23505", isolation=RR)
    check(None, text, "23505", isolation=RC)
    check(None, text.replace("SELECT 1 =>", "LOCK TABLE item =>"), "23505", isolation=RR)  # takes no snapshot


def test_a_row_seen_and_then_taken_away() -> None:
    text = f"""
        s1 {LOOK} => SELECT 1: (1)
        s2 {DELETE} => DELETE 1
        s2 -> True
        s1 {UPDATE.format(2)} => UPDATE 0
        s1 -> True"""
    assert "by s2, when s1's UPDATE came" in check("check-then-act", text, "wrong-answer")
    check(None, text.replace("UPDATE 0", "UPDATE 1"), "wrong-answer")


def test_for_update_of_no_row_locks_nothing() -> None:
    text = CHECK_THEN_ACT.replace(LOOK, LOCK)
    assert "a row that is not there is not locked" in check("for-update-absent", text, "23505")
    check(None, text.replace("SELECT 0", "SELECT 1: (5)"), "23505")


SWALLOWED = f"""
    s1 {INSERT.format(1)} => INSERT 0 1
    s2 {INSERT.format(2)} => waits for s1
    s1 COMMIT => COMMIT
    s1 -> True
    s2 {INSERT.format(2)} => 23505 unique_violation
    s2 ROLLBACK TO SAVEPOINT => ROLLBACK
    s2 {LOOK} => SELECT 0
    s2 COMMIT => COMMIT
    s2 -> True"""


def test_a_savepoint_does_not_renew_the_snapshot() -> None:
    words = check("swallowed-in-savepoint", SWALLOWED, "wrong-answer", isolation=RR)
    assert "the snapshot of repeatable read is older" in words
    check(None, SWALLOWED, "wrong-answer")  # at READ COMMITTED it would have been found
    check(None, SWALLOWED.replace("SELECT 0", "SELECT 1: (1)"), "wrong-answer", isolation=RR)
    check(None, SWALLOWED.replace("s2 ROLLBACK TO SAVEPOINT", "s2 SELECT 1"), "wrong-answer", isolation=RR)


def test_delete_and_insert_written_out_and_in_a_function() -> None:
    text = f"""
        s1 {DELETE} => DELETE 1
        s2 {DELETE} => waits for s1
        s1 {INSERT.format(1)} => INSERT 0 1
        s1 COMMIT => COMMIT
        s2 {DELETE} => DELETE 0
        s2 {INSERT.format(2)} => 23505 unique_violation"""
    assert "s1 deletes from item and inserts" in check("delete-and-insert", text, "23505")
    body = "BEGIN DELETE FROM item WHERE key = k; INSERT INTO item VALUES (k, a); END"
    calls = """
        s1 SELECT store(%s) -- 'a' => at gate BEFORE DELETE ON public.item
        s2 SELECT store(%s) -- 'a' => SELECT 1: ()
        s1 SELECT store(%s) -- 'a' => 23505 unique_violation"""
    ground = on(index("key"), functions={"store": body})
    assert "store() deletes from item and inserts" in check("delete-and-insert", calls, "23505", ground)
    check(None, calls, "23505", on(index("key"), functions={"store": body.replace("DELETE FROM item", "PERFORM")}))


def test_delete_and_insert_one_after_the_other_is_no_cause() -> None:
    text = f"""
        s1 {DELETE} => DELETE 1
        s1 {INSERT.format(1)} => INSERT 0 1
        s1 COMMIT => COMMIT
        s2 {DELETE} => DELETE 1
        s2 {INSERT.format(2)} => INSERT 0 1
        s2 COMMIT => COMMIT"""
    check(None, text, "lost-update")


READ_MODIFY_WRITE = f"""
    s1 SELECT amount FROM item WHERE key = %s -- 'a' => SELECT 1: (10)
    s2 UPDATE item SET amount = amount + 1 WHERE key = %s -- 'a' => UPDATE 1
    s1 {UPDATE.format(12)} => UPDATE 1"""


def test_a_value_computed_from_what_was_read() -> None:
    words = check("read-modify-write", READ_MODIFY_WRITE, "lost-update")
    assert "SET amount = amount + ..." in words
    mine = {"key": "a", "amount": 12}
    check(None, READ_MODIFY_WRITE, "lost-update", arguments=mine)  # the caller's own value, whatever was read
    check(None, READ_MODIFY_WRITE.replace("SELECT amount", "SELECT id"), "lost-update")
    locked = READ_MODIFY_WRITE.replace("= %s -- 'a' => SELECT", "= %s FOR UPDATE -- 'a' => SELECT")
    assert "FOR UPDATE" in locked
    check(None, locked, "lost-update")


def test_an_update_that_reads_its_own_table_beside_the_row() -> None:
    text = """
        s1 UPDATE item SET amount = (SELECT amount FROM item WHERE key = %s) + 1 WHERE key = %s -- 'a' => at gate x
        s2 UPDATE item SET amount = amount + 1 WHERE key = %s -- 'a' => UPDATE 1
        s1 UPDATE item SET amount = (SELECT amount FROM item WHERE key = %s) + 1 WHERE key = %s -- 'a' => UPDATE 1"""
    assert "in a subquery of its UPDATE" in check("read-modify-write", text, "lost-update")
    check(None, text.replace("(SELECT amount FROM item WHERE key = %s)", "amount"), "lost-update")


@pytest.mark.parametrize(
    "statement",
    [
        MERGE,
        "INSERT INTO item SELECT %s, %s WHERE NOT EXISTS (SELECT FROM item WHERE key = %s)",
        "WITH u AS (UPDATE item SET amount = 1 RETURNING key) INSERT INTO item SELECT %s WHERE NOT EXISTS (TABLE u)",
    ],
)
def test_one_statement_that_looks_and_writes(statement: str) -> None:
    text = f"""
        s1 {statement} -- 'a', 1 => at gate BEFORE INSERT ON public.item
        s2 {statement} -- 'a', 2 => {statement[:5].strip()} 0 1
        s1 {statement} -- 'a', 1 => 23505 unique_violation"""
    text = text.replace("=> MERGE 0 1", "=> MERGE 1").replace("WITH 0 1", "INSERT 0 1").replace("INSER 0", "INSERT 0")
    assert "one statement, and still a look and a write" in check("look-in-the-statement", text, "23505")


def test_one_statement_that_does_not_look() -> None:
    for statement in (INSERT, "INSERT INTO item SELECT key, 1 FROM other -- 'a', {}"):
        text = f"""
            s1 {statement.format(1)} => at gate BEFORE INSERT ON public.item
            s2 {statement.format(2)} => INSERT 0 1
            s1 {statement.format(1)} => 23505 unique_violation"""
        check(None, text, "23505")


def test_batches_in_opposite_orders() -> None:
    batch = "INSERT INTO item VALUES (%s), (%s) ON CONFLICT (key) DO UPDATE SET amount = 1 -- {}"
    one, other = batch.format("'a', 'b'"), batch.format("'b', 'a'")
    text = f"""
        s1 {one} => waits for s2
        s2 {{}} => waits for s1
        s2 {{}} => 40P01 deadlock_detected
        s1 {one} => INSERT 0 2"""
    words = check("opposite-order", text.replace("{}", other), "deadlock")
    assert "s1 takes the rows of item in the order 'a', 'b'; s2 in the order 'b', 'a'" in words
    check("missing-retry", text.replace("{}", one), "deadlock")  # in one order it was something else


def test_a_failure_that_may_be_retried() -> None:
    text = f"s1 {UPDATE.format(1)} => UPDATE 1\ns2 {UPDATE.format(2)} => 40001 serialization_failure"
    assert "s2 was told 40001 serialization_failure" in check("missing-retry", text, "40001", isolation=RR)
    check(None, text.replace("40001 serialization_failure", "55P03 lock_not_available"), "55P03")


NOTHING = "INSERT INTO item VALUES (%s) ON CONFLICT (key) DO NOTHING RETURNING id -- 'a'"


def test_do_nothing_returns_no_row() -> None:
    alone = {"told": (Ok(None),), "alone": True}
    check("nothing-returned", f"s1 {NOTHING} => INSERT 0 0", "wrong-alone", **alone)
    check("nothing-returned", f"s1 {NOTHING} => INSERT 0 0", "wrong-answer", told=(Ok(None),))
    check(None, f"s1 {NOTHING} => INSERT 0 1", "wrong-alone", **alone)
    check(None, f"s1 {NOTHING} => INSERT 0 0\ns1 {LOOK} => SELECT 1: (1)", "wrong-alone", **alone)  # read after it
    check(None, f"s1 {NOTHING.replace('NOTHING', 'UPDATE SET amount = 1')} => INSERT 0 0", "wrong-alone", **alone)


def test_do_nothing_whose_row_count_nobody_reads() -> None:
    text = f"s1 {NOTHING.replace(' RETURNING id', '')} => INSERT 0 0"
    check("nothing-done", text, "wrong-alone", told=(Ok(True),), alone=True)
    check(None, text, "wrong-alone", told=(Ok(False),), alone=True)  # it was read, and told
    check(None, text, "23505", told=(Failed("23505"),), alone=True)


LOCK_TOO_LATE = f"""
    s1 SELECT pg_advisory_xact_lock(1) => SELECT 1: ()
    s2 SELECT pg_advisory_xact_lock(1) => waits for s1
    s1 {INSERT.format(1)} => INSERT 0 1
    s1 COMMIT => COMMIT
    s1 -> True
    s2 SELECT pg_advisory_xact_lock(1) => SELECT 1: ()
    s2 {LOOK} => SELECT 0
    s2 {INSERT.format(2)} => 23505 unique_violation
    s2 ROLLBACK => ROLLBACK"""


def test_a_lock_that_is_waited_for_with_the_snapshot_taken() -> None:
    assert "had taken the snapshot of repeatable read" in check(
        "lock-after-snapshot", LOCK_TOO_LATE, "23505", isolation=RR
    )
    check(None, LOCK_TOO_LATE, "23505")  # at READ COMMITTED the look has a snapshot of its own
    table = LOCK_TOO_LATE.replace("SELECT pg_advisory_xact_lock(1)", "LOCK TABLE item")
    check(None, table, "23505", isolation=RR)  # takes none


def test_an_index_that_counts_rows_which_the_look_leaves_out() -> None:
    text = f"s1 {LOOK} => SELECT 0\ns1 {INSERT.format(1)} => 23505 unique_violation"
    full = on(index("key"), live="deleted_at IS NULL")
    words = check("index-counts-all-rows", text, "23505", full, alone=True)
    assert "CREATE UNIQUE INDEX ON item (key) WHERE deleted_at IS NULL, in the place of item_key" in words
    check(None, text, "23505", on(index("key", predicate="deleted_at IS NULL"), live="deleted_at IS NULL"), alone=True)
    check(None, text, "23505", BY_KEY, alone=True)  # all rows are live
    check(None, text.replace("SELECT 0", "SELECT 1: (1)"), "23505", full, alone=True)  # it saw the row
    check(None, f"s1 {INSERT.format(1)} => 23505 unique_violation", "23505", full, alone=True)  # it did not look


def test_two_transactions_and_another_between() -> None:
    text = f"""
        s1 {UPDATE.format(1)} => UPDATE 1
        s2 {UPDATE.format(2)} => UPDATE 0
        s2 -> False
        s1 {INSERT.format(1)} => INSERT 0 1
        s1 -> True"""
    check("two-transactions", text, "wrong-answer")
    one = text.replace("        s1 -> True", "        s1 COMMIT => COMMIT\n        s1 -> True")
    check(None, one, "wrong-answer")  # both in one transaction
    before = text.replace(f"s1 {UPDATE.format(1)} => UPDATE 1\n        s2 {UPDATE.format(2)} => UPDATE 0", f"s2 {UPDATE.format(2)} => UPDATE 0\n        s1 {UPDATE.format(1)} => UPDATE 1")  # fmt: skip  # noqa: E501
    assert before != text
    check(None, before, "wrong-answer")


def test_only_what_survives_and_writes_so_is_verified() -> None:
    upsert = "INSERT INTO item (key, amount) VALUES (%s, %s) ON CONFLICT (key) DO NOTHING"
    other = "INSERT INTO item (key, amount) VALUES (%s, %s) ON CONFLICT (amount) DO NOTHING"

    def tried(name: str, statement: str, verdict: Verdict = Verdict.SAFE, layout: str = "none") -> Tried:
        return Tried(cell(f"{name} {layout} new rc"), verdict, (), "", 6, True, (statement,))

    repairs = Repairs(
        cell("Naive none new rc"),
        (
            tried("Upsert", upsert),
            tried("Unsafe", upsert, Verdict.UNSAFE),
            tried("Unknown", upsert, Verdict.UNKNOWN),
            tried("Other", other),
            tried("Elsewhere", upsert, layout="full"),
        ),
    )
    (hint,) = hints(found(CHECK_THEN_ACT, "23505"), BY_KEY, repairs)
    assert [one.strategy for one in hint.verified] == ["Upsert"]
    layouts = {
        "full": "CREATE UNIQUE INDEX item_key ON item (key)",
        "half": "CREATE UNIQUE INDEX ON item (key) WHERE x",
    }
    half = replace(repairs, tried=(*repairs.tried, tried("Half", upsert, layout="half")))
    (hint,) = hints(found(CHECK_THEN_ACT, "23505"), on(layouts=layouts), half)
    assert [one.strategy for one in hint.verified] == ["Elsewhere"]  # the index that the hint asks for is there alone


@pytest.mark.parametrize(
    ("sql", "deeds"),
    [
        ("SELECT * FROM cmis.item AS i JOIN other o USING (id)", "select cmis.item, select other"),
        ("SELECT 1 FROM item FOR NO KEY UPDATE", "lock item"),
        ("LOCK TABLE ONLY item IN SHARE MODE", "lock item"),
        ('UPDATE ONLY "Item" SET a = 1', "update Item"),
        ("INSERT INTO item VALUES (1) ON CONFLICT (key) DO UPDATE SET a = 2", "insert item"),
        ("DELETE FROM item USING other", "delete item"),
        ("SELECT a IS DISTINCT FROM b, 'FROM lies' FROM generate_series(1, 2)", ""),
        ("SELECT pg_advisory_xact_lock(1)", ""),
    ],
)
def test_what_a_statement_does(sql: str, deeds: str) -> None:
    assert ", ".join(f"{deed.verb} {deed.table}" for deed in deeds_of(sql)) == deeds
