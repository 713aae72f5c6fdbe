"""Straight-line SQL with `$1` or `:name` placeholders, as Node, Go and PHP code has it, made callable."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from harness.scenario.errors import guess, listed
from harness.scenario.lexer import BLANK, Kind, Token, tokens, written
from harness.scenario.parameters import Connection

_PYFORMAT = re.compile(r"(?<!%)(?:%%)*%\((\w+)\)s")


class PlaceholderError(ValueError):
    """A placeholder that stands for no parameter of the operation."""


@lru_cache  # every call of an operation asks
def render(sql: str, parameters: tuple[str, ...]) -> tuple[str, ...]:
    """The statements, one each, with psycopg's `%(name)s` in the place of every placeholder.

    `$1` is the first parameter of the operation, in the order of its function; `:name` goes by name. Both may repeat.
    Raises PlaceholderError for one that stands for nothing.
    """
    return tuple("".join(_bound(token, parameters) for token in one).strip() for one in _statements(sql))


def split(sql: str) -> tuple[str, ...]:
    """The statements of a text, one each, as they stand: cut at semicolons outside of strings and comments."""
    return tuple(written(sql, one).strip() for one in _statements(sql))


def _statements(sql: str) -> Iterator[list[Token]]:
    for semicolon, group in groupby(tokens(sql), lambda token: token.word == ";"):
        statement = list(group)
        if not semicolon and any(token.kind not in BLANK for token in statement):
            yield statement


def _bound(token: Token, parameters: Sequence[str]) -> str:
    if token.kind is Kind.NUMBERED:
        return f"%({_numbered(int(token.text[1:]), parameters)})s"
    if token.kind is Kind.NAMED and token.text[1:].isidentifier():
        return f"%({_named(token.text[1:], parameters)})s"
    return token.text.replace("%", "%%")


def keys_in(sql: str) -> tuple[str, ...]:
    """The names it mentions as `%(name)s`, each once, in order."""
    return tuple(dict.fromkeys(_PYFORMAT.findall(sql)))


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
