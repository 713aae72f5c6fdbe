"""A statement is found again, equal and at its line, in whichever literal of whichever language it stands."""

import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.doctor.sources import statements
from harness.doctor.sources.text import words
from harness.doctor.statement import Statement

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

NAMES = ("users", "public.users", '"Users"', "order_items", "café")
COLUMNS = ("email", "user_id", '"createdAt"', "größe")
VALUES = ("1", "now()", "'it''s'", "'a -- b; c'", "lower('X')", "'{}'::jsonb", "NULL", "data->>'k'", "'100 %'", "'\\d'")


@st.composite
def inserts(draw: st.DrawFn, placeholder: Callable[[int], str] = "${}".format) -> str:
    """A correct INSERT of one to six lines."""
    columns = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3, unique=True))
    values = [draw(st.sampled_from(VALUES) | st.just(placeholder(n))) for n in range(1, len(columns) + 1)]
    table = draw(st.sampled_from(NAMES))
    set_clause = f"SET {columns[0]} = EXCLUDED.{columns[0]}"
    clauses = [
        f"INSERT INTO {table} ({', '.join(columns)})",
        f"VALUES ({', '.join(values)})",
        draw(
            st.sampled_from(
                [
                    "",
                    "ON CONFLICT DO NOTHING",
                    f"ON CONFLICT ({columns[0]}) DO NOTHING",
                    f"ON CONFLICT ({columns[0]}) WHERE deleted_at IS NULL DO UPDATE {set_clause}",
                    f"/* why */ ON CONFLICT ({columns[0]}) DO UPDATE {set_clause} -- the end\nRETURNING *",
                ]
            )
        ),
    ]
    between = draw(st.sampled_from((" ", "\n", "\n    ", "\n\n\t")))
    return between.join(clause for clause in clauses if clause)


def one_line(text: str) -> str:
    return "\n" not in text and text


def escaped(text: str, *extra: str) -> str:
    """As a double-quoted string has it."""
    for character in ("\\", '"', *extra):
        text = text.replace(character, "\\" + character)
    return text.replace("\n", "\\n").replace("\t", "\\t")


def concatenated(text: str, quote: Callable[[str], str], plus: str, end: str = "") -> str:
    """A literal for each line of the text, the last sign of a line being the break."""
    lines = text.splitlines(keepends=True)
    return (f"{end} {plus}\n    ").join(quote(line) for line in lines)


def double(text: str) -> str:
    return f'"{escaped(text)}"'


def single(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True)
class Form:
    """How a language writes a literal, and the file around it. `first` is the line of the literal's first character."""

    name: str
    suffix: str
    write: Callable[[str], str]
    around: str  # {} is the literal
    block: bool = False  # its text begins on the line after the quotes, and its margin is no part of it
    possible: Callable[[str], object] = bool


PY = "import os\n\ndef store(c):\n    c.execute({})\n"
JS = "// INSERT INTO a (b) VALUES (1)\nasync function store(c) {{\n  return c.query({}, [1]);\n}}\n"
GO = "package p\n\n// INSERT INTO a (b) VALUES (1)\nfunc Store() {{\n\tdb.Exec(ctx, {})\n}}\n"
PHP = "<?php\n# INSERT INTO a (b) VALUES (1)\nfunction store($c) {{\n  return $c->prepare({});\n}}\n"
RUBY = "# INSERT INTO a (b) VALUES (1)\ndef store(c)\n  c.exec({})\nend\n"
JAVA = "/* INSERT INTO a (b) VALUES (1) */\nclass A {{\n  void store() {{\n    c.prepare({});\n  }}\n}}\n"
CSHARP = "// INSERT INTO a (b) VALUES (1)\nclass A {{\n  void Store() {{\n    c.Run({});\n  }}\n}}\n"


def indented(text: str, by: str = "      ") -> str:
    return textwrap.indent(text, by)


def no(*parts: str) -> Callable[[str], object]:
    return lambda text: not any(part in text for part in parts)


FORMS = [
    Form("python, plain", ".py", double, PY),
    Form("python, single quotes", ".py", lambda t: "'" + escaped(t, "'") + "'", PY),
    Form("python, triple", ".py", lambda t: '"""' + t.replace("\\", "\\\\") + '\n"""', PY),
    Form("python, raw triple", ".py", lambda t: 'r"""' + t + '\n"""', PY),
    Form("python, f-string", ".py", lambda t: "f" + double(t).replace("{", "{{").replace("}", "}}"), PY),
    Form("python, adjacent", ".py", lambda t: "(" + concatenated(t, double, "") + ")", PY),
    Form("python, plus", ".py", lambda t: concatenated(t, double, "+"), PY),
    Form("python, text()", ".py", lambda t: f"text({double(t)})", PY),
    Form(
        "python, dedent",
        ".py",
        lambda t: 'dedent("""\n' + indented(t).replace("\\", "\\\\") + '\n""")',
        PY,
        block=True,
        possible=no("\n\n\t"),
    ),
    Form("javascript, double", ".js", double, JS),
    Form("javascript, plus", ".js", lambda t: concatenated(t, single_escaped, "+"), JS),
    Form("typescript, template", ".ts", lambda t: "`" + t.replace("\\", "\\\\").replace("${", "\\${") + "`", JS),
    Form("tsx, template", ".tsx", lambda t: "`" + t.replace("\\", "\\\\") + "`", JS),
    Form("go, back-quoted", ".go", lambda t: f"`{t}`", GO),
    Form("go, plain", ".go", double, GO),
    Form("go, plus", ".go", lambda t: concatenated(t, double, "+"), GO),
    Form("php, single", ".php", single, PHP),
    Form("php, double", ".php", lambda t: f'"{escaped(t, "$")}"', PHP, possible=no("{")),
    Form("php, dot", ".php", lambda t: concatenated(t, single, "."), PHP),
    Form("php, heredoc", ".php", lambda t: "<<<SQL\n" + escaped_dollar(t) + "\nSQL", PHP, block=True, possible=no("{")),
    Form("php, nowdoc", ".php", lambda t: "<<<'SQL'\n" + indented(t) + "\n      SQL", PHP, True, no("\n\n\t")),
    Form("ruby, single", ".rb", single, RUBY),
    Form("ruby, double", ".rb", double, RUBY),
    Form("ruby, %q", ".rb", lambda t: "%q~" + t.replace("\\", "\\\\") + "~", RUBY),
    Form("ruby, adjacent", ".rb", lambda t: concatenated(t, double, "\\"), RUBY),
    Form("java, plus", ".java", lambda t: concatenated(t, double, "+"), JAVA),
    Form("java, text block", ".java", lambda t: '"""\n' + java_block(t) + '"""', JAVA, True, no("\n\n\t")),
    Form("c#, plain", ".cs", double, CSHARP),
    Form("c#, verbatim", ".cs", lambda t: '@"' + t.replace('"', '""') + '"', CSHARP),
    Form("c#, interpolated", ".cs", lambda t: "$" + double(t).replace("{", "{{").replace("}", "}}"), CSHARP),
    Form("c#, raw", ".cs", lambda t: '"""\n' + indented(t) + '\n      """', CSHARP, True, no("\n\n\t", '"""')),
]


def single_escaped(text: str) -> str:
    return "'" + escaped(text, "'").replace('\\"', '"') + "'"


def escaped_dollar(text: str) -> str:
    return text.replace("\\", "\\\\").replace("$", "\\$")


def java_block(text: str) -> str:
    return indented(text).replace("\\", "\\\\") + "\n      "


def found(tmp_path: Path, suffix: str, content: str) -> list[Statement]:
    path = tmp_path / f"source{suffix}"
    path.write_text(content, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing here is beyond a grammar
        return list(statements([str(path)], [], None))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@quick
@given(sql=inserts())
def test_a_statement_is_found_again_in_every_literal(form: Form, tmp_path: Path, sql: str) -> None:
    if not form.possible(sql):
        return
    content = form.around.format(form.write(sql))
    (statement,) = found(tmp_path, form.suffix, content)
    assert (statement.text, statement.sql, statement.dynamic) == (sql, sql, ())
    lines = content.splitlines()
    first = next(n for n, line in enumerate(lines, 1) if form.around.split("{}")[0].splitlines()[-1] in line)
    assert statement.line == first + form.block
    assert lines[statement.line - 1][statement.column - 1 :].startswith("INSERT INTO ")


@quick
@given(sqls=st.lists(inserts(), min_size=1, max_size=3))
def test_statements_of_a_sql_file_are_found_at_their_lines(tmp_path: Path, sqls: list[str]) -> None:
    content = "\\connect x\n-- INSERT INTO a VALUES (1);\n"
    starts = []
    for sql in sqls:
        starts.append(content.count("\n") + 1)
        content += sql + "\n;\n"
    read = found(tmp_path, ".sql", content)
    assert [(s.text.removesuffix(" -- the end"), s.line, s.column) for s in read] == [
        (sql, start, 1) for sql, start in zip(sqls, starts, strict=True)
    ]


@pytest.mark.parametrize(
    ("suffix", "around", "placeholder"),
    [
        (".py", 'c.execute("""{}""")', lambda n: "%s"),
        (".py", 'c.execute("""{}""")', lambda n: f"%(p{n})s"),
        (".py", 'c.execute(text("""{}"""))', lambda n: f":p{n}"),
        (".ts", "c.query(`{}`)", "${}".format),
        (".ts", "sql`{}`", lambda n: f"${{p.x{n}}}"),
        (".go", "package p\nvar q = `{}`", lambda n: f"@p{n}"),
        (".php", "<?php q('{}');", lambda n: "?"),
        (".java", 'class A {{ String q = """\n{}"""; }}', lambda n: "?"),
        (".cs", 'class A {{ string q = @"{}"; }}', lambda n: f"@p{n}"),
        (".sql", "{}", lambda n: f":'p{n}'"),
    ],
)
@quick
@given(data=st.data())
def test_placeholders_are_numbered_in_order(
    tmp_path: Path, suffix: str, around: str, placeholder: Callable[[int], str], data: st.DataObject
) -> None:
    asked: list[int] = []

    def numbered(n: int) -> str:
        asked.append(n)
        return f"\x00{n}\x00"

    sql = data.draw(inserts(numbered))
    used = [n for n in sorted(set(asked)) if f"\x00{n}\x00" in sql]
    written, expected = sql, sql
    for position, n in enumerate(used, 1):
        # One that is a number already keeps it; the others are numbered as they come.
        number = n if placeholder(n) == f"${n}" else position
        written = written.replace(f"\x00{n}\x00", placeholder(n))
        expected = expected.replace(f"\x00{n}\x00", f"${number}")
    if any(sign in sql for sign in ("'", '"', "\\", "%")):
        return  # the other test's: how a language escapes them
    (statement,) = found(tmp_path, suffix, around.format(written))
    assert statement.sql == expected
    assert not statement.dynamic
    assert statement.parameters == max([n for n in range(1, 9) if f"${n}" in expected], default=0)


ENGLISH = words(
    "insert into the form a row values your value merge using when matched select from update set delete "
    "cannot failed please with returning on conflict do nothing default as table record it and then order by"
)


@quick
@given(
    spoken=st.lists(st.sampled_from(sorted(ENGLISH)), min_size=1, max_size=14),
    capital=st.booleans(),
    mark=st.sampled_from(".!:,"),
)
def test_sentences_are_no_statements(tmp_path: Path, spoken: list[str], capital: bool, mark: str) -> None:
    sentence = "insert into the " + " ".join(spoken) + mark
    sentence = sentence.capitalize() if capital else sentence
    for suffix, around in ((".py", 'raise E("{}")'), (".ts", "log(`{}`)"), (".rb", "puts '{}'")):
        assert not found(tmp_path, suffix, around.format(sentence))


@pytest.mark.parametrize(
    "sentence",
    [
        "insert into the form",
        "Insert into cart failed",
        "INSERT INTO table failed: no such table",
        "insert into basket select your colours",
        "insert into cart (optional) the values you like",
        "insert into ${place}",
        "merge into main using a pull request",
        "MERGE branch 'main' into release",
        "with insert into the form",
        "insert",
        "could not INSERT INTO users (email) VALUES ($1): timeout",
        "INSERT INTO users (email) VALUES",
    ],
)
def test_what_only_begins_like_sql_is_none(tmp_path: Path, sentence: str) -> None:
    assert not found(tmp_path, ".ts", f"log(`{sentence}`)")
