"""SQL as other languages write it: placeholders are found where they are, and nowhere else."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scenario.sql import PlaceholderError, SqlBody, keys_in, render, split


def check(sql: str, *statements: str) -> None:
    assert render(sql, ("id", "name")) == statements


def test_placeholders_are_positional_or_named_and_may_repeat():
    check("SELECT $1, $2, $1", "SELECT %(id)s, %(name)s, %(id)s")
    check("SELECT :name, :id", "SELECT %(name)s, %(id)s")


def test_casts_are_no_placeholders():
    check("SELECT $1::int, :name::text, now()::name", "SELECT %(id)s::int, %(name)s::text, now()::name")


def test_array_slices_are_no_placeholders():
    check("SELECT a[1:2], a[lo:hi]", "SELECT a[1:2], a[lo:hi]")


@pytest.mark.parametrize(
    "hidden",
    [
        "':id; $1'",
        "'it''s :id'",
        "E'\\':id'",
        '":id"',
        "$$ :id; $1 $$",
        "$body$ $$ :id; $body$",
        "1 -- :id; $1\n",
        "/* :id; $1 */ 1",
    ],
)
def test_strings_names_and_comments_hide_placeholders_and_semicolons(hidden):
    check(f"SELECT {hidden}, $1", f"SELECT {hidden}, %(id)s")


def test_statements_are_cut_at_semicolons_and_empty_ones_dropped():
    check("BEGIN; SELECT 1;\n ;-- the end\n", "BEGIN", "SELECT 1")
    assert split("SELECT ';'; SELECT %(id)s ;") == ("SELECT ';'", "SELECT %(id)s")


def test_percent_signs_stand_for_themselves():
    check("SELECT 'a%', 5 % 2", "SELECT 'a%%', 5 %% 2")


def test_a_placeholder_that_stands_for_nothing_is_refused():
    with pytest.raises(PlaceholderError, match=r"\$3 stands for no parameter; \$1 to \$2 are: id, name"):
        render("SELECT $3", ("id", "name"))
    with pytest.raises(PlaceholderError, match=r":nme is no parameter \(did you mean 'name'\?\); they are: id, name"):
        render("SELECT :nme", ("id", "name"))


def test_keys_are_named_once_each_and_not_where_the_percent_is_doubled():
    assert keys_in("SELECT %(b)s, %(a)s, %(b)s, %%(c)s, %%%(d)s") == ("b", "a", "d")


@given(st.text(alphabet="ab '\"$;:%-/*1\n"))
def test_splitting_loses_nothing_but_semicolons_space_and_comments(sql):
    kept = "".join("".join(split(sql)).split())
    remaining = iter("".join(sql.split()))
    assert all(character in remaining for character in kept)  # a subsequence, in order


@given(st.text(alphabet="ab 'c;:%\n"))
def test_without_placeholders_rendering_only_doubles_percent_signs(sql):
    sql = sql.replace(":", "::")
    assert render(sql, ()) == tuple(statement.replace("%", "%%") for statement in split(sql))


@dataclass
class Told:
    """A connection that answers as told: rows returned, or rows counted."""

    results: list[object]
    sent: list[str] = field(default_factory=list)
    closed: bool = False
    info: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(transaction_status=0))

    def execute(self, statement: bytes, arguments: object) -> SimpleNamespace:
        self.sent.append(statement.decode())
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        if isinstance(result, int):
            return SimpleNamespace(description=None, rowcount=result)
        return SimpleNamespace(description=[], rowcount=len(result), fetchone=lambda: result[0] if result else None)

    def rollback(self) -> None:
        self.sent.append("ROLLBACK")


@pytest.mark.parametrize(
    ("results", "answer"),
    [
        ([1], True),
        ([0], False),
        ([[(7, 8)]], 7),
        ([[]], None),
        ([[(7,)], 0], False),
        ([-1, 1, -1], True),  # BEGIN; INSERT; COMMIT
        ([-1], None),
    ],
)
def test_the_answer_is_the_first_column_returned_or_whether_a_row_changed(results, answer):
    assert SqlBody("; ".join(["SELECT 1"] * len(results)), ())(Told(list(results))) == answer


def test_a_failure_inside_begin_is_rolled_back_and_reported():
    connection = Told([-1, ValueError("failed")], info=SimpleNamespace(transaction_status=3))
    with pytest.raises(ValueError, match="failed"):
        SqlBody("BEGIN; SELECT $1; COMMIT", ("id",))(connection, id=1)
    assert connection.sent == ["BEGIN", "SELECT %(id)s", "ROLLBACK"]
