"""The interleaving table, word for word, and the difference between what was found and what was expected."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.model.contest import Call, Contest
from harness.model.outcome import Crashed, Failed, Ok, Outcome, Refused, Table
from harness.model.trace import Event
from harness.reports.differences import differing
from harness.reports.witness import interleaving, witness
from tests.reports.made import ANSWERED, COMPLETED, CONTEST, NO_ARBITER, SENT, WAITING, finding, outcome

TABLE = """\
items::Naive[none,new,read_committed,pg18]: duplicate
  2 live rows of item (key) = ('a'); no order of the operations leaves more than 1

start state 'new', same key
|   | s1                                         | s2                                         |
| - | ------------------------------------------ | ------------------------------------------ |
| 1 | SELECT 1 FROM item WHERE key = %s -- 'a'   |                                            |
|   |   => SELECT 0                              |                                            |
| 2 |                                            | SELECT 1 FROM item WHERE key = %s -- 'a'   |
|   |                                            |   => SELECT 0                              |
| 3 | INSERT INTO item (key, amount) VALUES (%s, |                                            |
|   |     %s) -- 'a', 1                          |                                            |
|   | <at gate BEFORE INSERT ON item>            |                                            |
| 4 |                                            | INSERT INTO item (key, amount) VALUES (%s, |
|   |                                            |     %s) -- 'a', 2                          |
|   |                                            | <waiting ...> for s1                       |
| 5 | <... completed>                            |                                            |
|   |   => INSERT 0 1                            |                                            |
|   | put(key='a', amount=1) -> True             |                                            |
| 6 |                                            | <... completed>                            |
|   |                                            |   => INSERT 0 1                            |
|   |                                            | put(key='a', amount=2) -> True             |

expected one of:
  s1 -> True, s2 -> False; item: (id=id#1, amount=1)
  s1 -> False, s2 -> True; item: (id=id#1, amount=2)
found:
  s1 -> True, s2 -> True; item: (id=id#1, amount=1) (id=id#2, amount=2)
run between statements and at gates; replayed 3 of 3 times; shown by 2 contests of this cell
replay with: harness replay 'h1:items::Naive[none,new,read_committed,pg18]:"""


def test_a_witness_reads_like_this() -> None:
    text = witness(finding(count=2))
    assert text.startswith(TABLE)
    assert text.count("\n") == TABLE.count("\n")


def test_two_sessions_fit_a_hundred_columns_whatever_they_send() -> None:
    long = "INSERT INTO a_rather_long_name (with, many, columns) VALUES (%s, %s, %s) " * 40 + "x" * 200
    trace = (Event(0, 0, SENT, long, "INSERT 0 1"), Event(1, 1, SENT, long, "23505 " + "y" * 300))
    lines = interleaving(trace, 2).splitlines()
    assert {len(line) for line in lines} <= set(range(101)) and len({len(line) for line in lines}) == 1
    assert len(lines) == 2 + 2 * 12
    assert "INSERT 0 1" in interleaving(trace, 2)  # what is cut is the middle: how it ended stays


def test_every_session_has_its_column() -> None:
    events = tuple(Event(n, n, SENT, f"SELECT {n}", "SELECT 1") for n in range(5))
    table = interleaving(events, 5).splitlines()
    assert table[0].split() == ["|", "|", "s1", "|", "s2", "|", "s3", "|", "s4", "|", "s5", "|"]
    assert all(line.count("|") == 7 for line in table)


def test_a_gate_at_which_nothing_happened_is_not_shown() -> None:
    insert = "INSERT INTO item VALUES (1)"
    trace = (
        Event(0, 0, WAITING, insert, "at gate BEFORE INSERT ON public.item"),
        Event(1, 0, COMPLETED, insert, "INSERT 0 1"),
    )
    table = interleaving(trace, 2)
    assert "gate" not in table and "completed" not in table
    assert insert in table and "=> INSERT 0 1" in table


def test_a_statement_that_goes_from_its_gate_into_a_wait_is_written_once() -> None:
    insert = "INSERT INTO item VALUES (1)"
    trace = (
        Event(0, 0, WAITING, insert, "at gate BEFORE INSERT ON public.item"),
        Event(1, 1, SENT, "SELECT 1", "SELECT 1"),
        Event(2, 0, WAITING, insert, "waits for s2"),
        Event(3, 1, SENT, "COMMIT", "COMMIT"),
        Event(3, 0, COMPLETED, insert, "INSERT 0 1"),
    )
    table = interleaving(trace, 2)
    assert table.count(insert) == 1
    assert table.index("<at gate") < table.index("<waiting ...> for s2") < table.index("<... completed>")


def test_what_a_client_was_told_stands_in_its_column() -> None:
    table = interleaving((Event(0, 1, ANSWERED, "put(key='a')", "refused: AlreadyThere"),), 2)
    assert table.splitlines()[-1].split("|")[3].strip() == "put(key='a') -> refused: AlreadyThere"


def test_a_finding_that_is_there_alone_says_so_and_expects_nothing_else() -> None:
    text = witness(finding(violation=NO_ARBITER))
    assert "42P10, needs no concurrency" in text.splitlines()[0]
    assert "expected" not in text
    assert "found:\n  s1 -> 42P10 invalid_column_reference, s2 -> True\nrun alone;" in text


def test_the_replay_line_names_a_file_that_the_name_alone_would_not_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert witness(finding(), str(tmp_path / "our races" / "items.py")).endswith("' --from 'our races/items.py'")
    assert witness(finding(), str(tmp_path / "scenarios" / "items.py")).endswith("'")


def test_an_argument_without_a_written_form_costs_the_line_only() -> None:
    contest = Contest("new", ((Call("put", (("key", 1j),)),),), "same key")
    made = finding()
    text = witness(replace(made, schedule=replace(made.schedule, contest=contest)))
    assert "cannot be written as a schedule line: argument 1j of type complex" in text


def test_ids_that_the_server_made_have_one_name_everywhere() -> None:
    trace = (
        Event(0, 0, SENT, "INSERT INTO item VALUES (%s) RETURNING id  -- 1000001x", "INSERT 0 1: (1000001)"),
        Event(0, 0, ANSWERED, "put(key='a', amount=1)", "1000001"),
        Event(1, 1, SENT, "DELETE FROM item WHERE id = %s  -- 1000001", "DELETE 1"),
        Event(1, 1, ANSWERED, "put(key='a', amount=2)", "12"),
    )
    text = witness(replace(finding(), trace=trace, found=outcome(1, told=(Ok("id#1"), Ok(12)))))
    assert "=> INSERT 0 1: (id#1)" in text and "put(key='a', amount=1) -> id#1" in text
    assert "-- id#1 " in text and "1000001x" in text
    assert "s1 -> id#1, s2 -> 12" in text


# Differences.


def test_only_what_differs_is_told() -> None:
    one, other = outcome(1, told=(Ok(1), Ok(2))), outcome(5, told=(Ok(1), Ok(3)))
    assert differing(CONTEST, [one, other]) == ["s2 -> 2; item: (amount=1)", "s2 -> 3; item: (amount=5)"]


def test_rows_that_all_have_are_left_out() -> None:
    assert differing(CONTEST, [outcome(1, 2), outcome(1)]) == [
        "item: (id=id#2, key=a, amount=2)",
        "item: no further row",
    ]


def test_an_empty_table_is_told_as_such() -> None:
    assert differing(CONTEST, [outcome(1), outcome()]) == ["item: (id=id#1, key=a, amount=1)", "item: no row"]


def test_every_kind_of_answer_has_its_words() -> None:
    answers = [Ok("x"), Refused("AlreadyThere"), Failed("40001"), Crashed("KeyError: 'a'"), None]
    texts = differing(CONTEST, [outcome(told=(answer, Ok(1))) for answer in answers])
    assert texts == [
        "s1 -> 'x'",
        "s1 -> (refused: AlreadyThere)",
        "s1 -> 40001 serialization_failure",
        "s1 -> crashed: KeyError: 'a'",
        "s1 without effect",
    ]


def test_a_missing_value_is_null() -> None:
    tables = [
        Outcome((Table("t", ("a", "b"), ((None, "x"),)),), ()),
        Outcome((Table("t", ("a", "b"), (("1", "x"),)),), ()),
    ]
    assert differing(CONTEST, tables) == ["t: (a=NULL)", "t: (a=1)"]
