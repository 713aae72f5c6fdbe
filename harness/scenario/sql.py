"""Straight-line SQL with `$1` or `:name` placeholders, as Node, Go and PHP code has it, made callable."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.scenario.errors import guess, listed
from harness.scenario.parameters import Connection

# What can hide a placeholder or a semicolon comes first: strings, quoted names, dollar quotes, comments, casts.
_TOKEN = re.compile(
    r"""
    (?P<opaque>
        \b[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
      | (?P<tag>\$(?:[A-Za-z_]\w*)?\$) .*? (?P=tag)
      | --[^\n]* | /\*.*?\*/
      | ::
    )
  | (?<![\w$])\$(?P<number>\d+)
  | (?<![\w:]):(?P<name>[A-Za-z_]\w*)
  | (?P<semicolon>;)
    """,
    re.VERBOSE | re.DOTALL,
)
_PYFORMAT = re.compile(r"(?<!%)(?:%%)*%\((\w+)\)s")
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


class PlaceholderError(ValueError):
    """A placeholder that stands for no parameter of the operation."""


def render(sql: str, parameters: Sequence[str]) -> tuple[str, ...]:
    """The statements, one each, with psycopg's `%(name)s` in the place of every placeholder.

    `$1` is the first parameter of the operation, in the order of its function; `:name` goes by name. Both may repeat.
    Raises PlaceholderError for one that stands for nothing.
    """
    statements, current, end = [], "", 0
    for token in _TOKEN.finditer(sql):
        current += _escape(sql[end : token.start()])
        end = token.end()
        if token["semicolon"]:
            statements.append(current)
            current = ""
        elif token["number"]:
            current += f"%({_numbered(int(token['number']), parameters)})s"
        elif token["name"]:
            current += f"%({_named(token['name'], parameters)})s"
        else:
            current += _escape(token[0])
    statements.append(current + _escape(sql[end:]))
    return tuple(text.strip() for text in statements if _COMMENT.sub("", text).strip())


def split(sql: str) -> tuple[str, ...]:
    """The statements of a text, one each, as they stand: cut at semicolons outside of strings and comments."""
    statements, start = [], 0
    for token in _TOKEN.finditer(sql):
        if token["semicolon"]:
            statements.append(sql[start : token.start()])
            start = token.end()
    statements.append(sql[start:])
    return tuple(text.strip() for text in statements if _COMMENT.sub("", text).strip())


def keys_in(sql: str) -> tuple[str, ...]:
    """The names it mentions as `%(name)s`, each once, in order."""
    return tuple(dict.fromkeys(_PYFORMAT.findall(sql)))


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _numbered(number: int, parameters: Sequence[str]) -> str:
    if not 1 <= number <= len(parameters):
        raise PlaceholderError(f"${number} stands for no parameter; $1 to ${len(parameters)} are: {listed(parameters)}")
    return parameters[number - 1]


def _named(name: str, parameters: Sequence[str]) -> str:
    if name not in parameters:
        raise PlaceholderError(f":{name} is no parameter{guess(name, parameters)}; they are: {listed(parameters)}")
    return name


@dataclass(frozen=True)
class SqlBody:
    """Statements sent one after another on one connection, each committing itself unless they say BEGIN.

    The answer: the first column of the row that the last statement returned (None for no row), or whether that
    statement changed a row. Statements that return and count nothing (COMMIT, SET) are passed over. A failure inside
    BEGIN is rolled back before it is reported, as a client's error handler would.
    """

    sql: str
    parameters: tuple[str, ...]

    @property
    def statements(self) -> tuple[str, ...]:
        return render(self.sql, self.parameters)

    def __call__(self, connection: Connection, **arguments: object) -> object:
        answer: object = None
        try:
            for statement in self.statements:
                cursor = connection.execute(statement.encode(), arguments)
                if cursor.description is not None:
                    row = cursor.fetchone()
                    answer = row[0] if row else None
                elif cursor.rowcount >= 0:
                    answer = cursor.rowcount > 0
        except BaseException:
            if not connection.closed and connection.info.transaction_status != 0:
                connection.rollback()
            raise
        return answer
