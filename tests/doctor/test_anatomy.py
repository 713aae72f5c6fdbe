"""The shape of a statement: its parts, where they stand, and what cannot be read."""

import contextlib
from itertools import pairwise

import pytest

from harness.doctor.anatomy import Unreadable, shapes
from harness.doctor.rules.rule import OLD, Edit, edited_text
from harness.scenario.lexer import normal, numbers_in, quoted, significant

UPSERT = """INSERT INTO app.users AS u (id, "E-Mail") VALUES ($1, lower($2)), (%s, :name) -- ON CONFLICT (nothing)
ON CONFLICT (lower("E-Mail") COLLATE "C" text_pattern_ops, id) WHERE deleted_at IS NULL AND kind IN ('a)', $$do$$)
DO UPDATE SET name = EXCLUDED.name, (a, b) = (1, f(2, 3)), n[1] = n[1] + 1 WHERE u.a < 3 RETURNING id, (xmax = 0)"""


MERGE = """WITH n AS (INSERT INTO ONLY t DEFAULT VALUES ON CONFLICT ON CONSTRAINT c DO NOTHING RETURNING a)
MERGE INTO app.t AS t USING (VALUES ($1, $2)) AS s (a, b) ON t.a = s.a
WHEN MATCHED THEN UPDATE SET b = s.b WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.a, s.b)"""


def test_every_part_is_read() -> None:
    (shape,) = shapes(UPSERT)
    conflict = shape.conflict
    assert conflict is not None
    assert (shape.command, shape.schema, shape.table) == ("insert", "app", "users")
    assert shape.columns == ("id", "E-Mail")
    assert shape.rows == (("$1", "lower($2)"), ("%s", ":name"))
    assert [one.text for one in conflict.elements] == ['lower("E-Mail") COLLATE "C" text_pattern_ops', "id"]
    assert [(one.bare, one.column) for one in conflict.elements] == [('lower("E-Mail")', None), ("id", "id")]
    assert conflict.predicate == "deleted_at IS NULL AND kind IN ('a)', $$do$$)"
    assert [(one.column, one.value) for one in conflict.assignments] == [
        ("name", "EXCLUDED.name"),
        ("a", "1"),
        ("b", "f(2, 3)"),
        ("n", "n[1] + 1"),
    ]
    assert conflict.where == "u.a < 3"
    assert shape.returning == "id, (xmax = 0)"


@pytest.mark.parametrize(
    ("sql", "columns", "rows"),
    [
        ("INSERT INTO t VALUES (1)", None, (("1",),)),
        ("INSERT INTO t AS x (a) OVERRIDING SYSTEM VALUE VALUES (1)", ("a",), (("1",),)),
        ("INSERT INTO t DEFAULT VALUES", None, None),
        ("INSERT INTO t (SELECT 1)", None, None),
        ("INSERT INTO t (a) SELECT a FROM s JOIN x ON s.a = x.a", ("a",), None),
        ("INSERT INTO t (a) WITH s AS (SELECT 1) SELECT * FROM s", ("a",), None),
        ("INSERT INTO t VALUES (1) UNION SELECT 2", None, None),
    ],
)
def test_where_the_rows_come_from(sql: str, columns: object, rows: object) -> None:
    (shape,) = shapes(sql + " ON CONFLICT DO NOTHING RETURNING *")
    assert (shape.columns, shape.rows) == (columns, rows)
    assert shape.conflict is not None
    assert (shape.conflict.targeted, shape.conflict.action, shape.returning) == (False, "nothing", "*")


def test_a_join_condition_is_not_taken_for_the_clause() -> None:
    (shape,) = shapes("INSERT INTO t SELECT 1 FROM s JOIN x ON conflict.a = x.a ON CONFLICT (a) DO NOTHING")
    assert shape.conflict is not None
    assert shape.conflict.elements[0].column == "a"


def test_every_insert_of_a_statement_is_found_with_its_own_clause() -> None:
    first, second = shapes(
        "WITH x AS (INSERT INTO a VALUES (1) ON CONFLICT (i) DO NOTHING RETURNING *) "
        "INSERT INTO b SELECT * FROM x ON CONFLICT ON CONSTRAINT b_key DO UPDATE SET v = 1"
    )
    assert first.conflict is not None
    assert second.conflict is not None
    assert (first.table, first.conflict.elements[0].column, first.returning) == ("a", "i", "*")
    assert (second.table, second.conflict.constraint, second.returning) == ("b", "b_key", None)


def test_a_merge_inserts_or_does_not() -> None:
    merge = "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN UPDATE SET v = s.v"
    assert [(one.command, one.inserts) for one in shapes(merge)] == [("merge", False)]
    assert [one.inserts for one in shapes(merge + " WHEN NOT MATCHED THEN INSERT VALUES (s.a)")] == [True]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING'",
        "/* INSERT INTO a /* nested */ INSERT INTO b */ SELECT 1",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $f$ INSERT INTO t VALUES (1) $f$",
        "",
    ],
)
def test_what_only_looks_like_an_insert_is_none(sql: str) -> None:
    assert shapes(sql) == ()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("INSERT INTO t VALUES (1", "expected a closing parenthesis for the one at character 22, found none"),
        ("INSERT INTO t VALUES (1) ON CONFLICT (a) SET", "expected DO NOTHING or DO UPDATE, found 'SET'"),
        ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO DELETE", "expected NOTHING or UPDATE after DO, found 'DELETE'"),
        ("INSERT INTO 1", "expected the name of a table, found '1'"),
        ("INSERT INTO t VALUES (1,,2) ON CONFLICT DO NOTHING", "expected an expression between two commas"),
    ],
)
def test_what_cannot_be_read_is_said(sql: str, message: str) -> None:
    with pytest.raises(Unreadable, match=message.replace("(", r"\(")):
        shapes(sql)


def test_an_edit_leaves_the_rest_as_it_was_written() -> None:
    text = "INSERT INTO t (a)\n  VALUES (%(a)s)  -- why\n  ON CONFLICT (a)\n  DO NOTHING  RETURNING  id"
    assert edited_text(text, 0, [Edit("target", "(a) WHERE live")]) == text.replace("(a)\n  DO", "(a) WHERE live\n  DO")
    assert edited_text(text, 0, [Edit("target", "")]) == text.replace(" (a)\n  DO", "\n  DO")
    assert edited_text(text, 0, [Edit("act", "DO UPDATE SET a = 1")]) == text.replace(
        "DO NOTHING", "DO UPDATE SET a = 1"
    )
    assert edited_text(text, 0, [Edit("table", "s.t"), Edit("query", f"SELECT * FROM ({OLD}) AS v")]) == (
        text.replace("INTO t", "INTO s.t").replace("VALUES (%(a)s)", "SELECT * FROM (VALUES (%(a)s)) AS v")
    )


def test_expressions_compare_without_case_spaces_and_outer_parentheses() -> None:
    assert normal("( (LOWER( Name )) )") == normal("lower(name)")
    assert normal('"Name"') != normal("name")
    assert normal("'A'") != normal("'a'")
    assert normal("(a) + (b)") != normal("a) + (b")


def test_names_are_quoted_where_they_must_be() -> None:
    assert [quoted(name) for name in ("a_1", "user", "Mail", 'x"y')] == ["a_1", '"user"', '"Mail"', '"x""y"']


@pytest.mark.parametrize("sql", [UPSERT, MERGE])
def test_what_is_torn_is_read_or_said_to_be_unreadable(sql: str) -> None:
    cuts = [token.end for token in significant(sql)]
    for cut in cuts:
        with contextlib.suppress(Unreadable):
            shapes(sql[:cut])
    for start, end in pairwise(cuts):  # and with each word left out
        with contextlib.suppress(Unreadable):
            shapes(sql[:start] + sql[end:])


def test_parameters_in_strings_are_none() -> None:
    assert numbers_in("a = $2 AND b = '$1' AND c = $$ $3 $$ AND d = $12") == (2, 12)
