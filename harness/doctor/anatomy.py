"""What the doctor must know of a statement's shape: target, conflict target, action, SET columns, RETURNING.

A reader of its own, for two reasons. It keeps the place of every part, so that a repair changes the words it must and
leaves the rest as it was written, placeholders included. And what it does not understand it says (`Unreadable`), where
a general parser would normalise. It judges nothing: which index a clause means is the server's word. The grammar is
that of PostgreSQL's INSERT and MERGE reference pages; the lexical rules are chapter 4.1.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from harness.scenario.lexer import Token, Tokens, closing, significant, split_at, written

Action = Literal["nothing", "update", "select"]


class Unreadable(ValueError):
    """A shape that this reader does not know: what it expected, and what it found."""


@dataclass(frozen=True, slots=True)
class Element:
    """One entry of a conflict target: a column or an expression, perhaps with a collation and an operator class."""

    text: str
    bare: str  # without COLLATE and operator class
    column: str | None  # the column's name where it is one


@dataclass(frozen=True, slots=True)
class Assignment:
    column: str
    value: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """The ON CONFLICT clause."""

    elements: tuple[Element, ...]
    predicate: str | None  # of the conflict target: WHERE before DO
    constraint: str | None
    action: Action
    assignments: tuple[Assignment, ...]
    where: str | None  # of DO UPDATE
    target: tuple[int, int]  # its place: all between CONFLICT and DO
    act: tuple[int, int]  # the place of all from DO to RETURNING

    @property
    def targeted(self) -> bool:
        return bool(self.elements) or self.constraint is not None


@dataclass(frozen=True, slots=True)
class Shape:
    """One INSERT INTO or MERGE INTO, wherever it stands in its statement (a CTE may hold it)."""

    command: Literal["insert", "merge"]
    schema: str | None
    table: str
    whole: tuple[int, int]  # the place of all of it
    written: tuple[int, int]  # the place of the table's name
    inserts: bool  # a MERGE that has WHEN NOT MATCHED ... INSERT; every INSERT
    alias: str = ""  # as written
    columns: tuple[str, ...] | None = None  # as listed; None: all of the table's
    overriding: str = ""  # OVERRIDING SYSTEM VALUE
    rows: tuple[tuple[str, ...], ...] | None = None  # the expressions of VALUES; None: a query, or DEFAULT VALUES
    query: tuple[int, int] | None = None  # the place of VALUES or of the query
    deduplicated: bool = False  # a query that says DISTINCT or GROUP BY
    conflict: Conflict | None = None
    returning: str | None = None


@lru_cache(4096)  # rules and repairs look again, and again
def shapes(sql: str) -> tuple[Shape, ...]:
    """Every INSERT INTO and MERGE INTO of a statement, in order. Raises Unreadable."""
    tokens = significant(sql)
    return tuple(
        _Reader(sql, tokens, at).shape()
        for at, (token, after) in enumerate(pairwise(tokens))
        if token.word in ("insert", "merge") and after.word == "into"
    )


class _Reader:
    """Reads one shape; `at` is the token it stands before."""

    def __init__(self, sql: str, tokens: Tokens, at: int) -> None:
        self.sql = sql
        self.tokens = tokens[: self._end(tokens, at)]
        self.at = at

    @staticmethod
    def _end(tokens: Tokens, at: int) -> int:
        """Where the command ends: the parenthesis that closes its CTE, a semicolon, or the text."""
        opened: list[Token] = []
        for number in range(at, len(tokens)):
            match tokens[number].word:
                case "(" | "[":
                    opened.append(tokens[number])
                case ")" | "]" if opened:
                    opened.pop()
                case ")" | "]":
                    return number
                case ";" if not opened:
                    return number
        if opened:
            raise Unreadable(
                f"expected a closing parenthesis for the one at character {opened[-1].start + 1}, found none"
            )
        return len(tokens)

    def shape(self) -> Shape:
        command = self.word()
        whole = (self.tokens[self.at].start, self.tokens[-1].end)
        self.at += 2
        if self.word() == "only":
            self.at += 1
        start = self.token("the name of a table").start
        names = self.qualified()
        written = (start, self.tokens[self.at - 1].end)
        schema = names[-2] if len(names) > 1 else None
        if command == "merge":
            inserts = any(token.word == "insert" for token in self.tokens[self.at :])
            return Shape("merge", schema, names[-1], whole, written, inserts, returning=self.returning())
        return Shape(
            "insert",
            schema,
            names[-1],
            whole,
            written,
            True,
            self.alias(),
            self.columns(),
            self.overriding(),
            *self.source(),
            self.conflict(),
            self.returning(),
        )

    # Parts ---------------------------------------------------------------------------------------------------------

    def alias(self) -> str:
        self.at += self.word() == "as"
        if not self.more() or not self.tokens[self.at].name or self.word() in _AFTER_TABLE:
            return ""
        self.at += 1
        return self.tokens[self.at - 1].text

    def columns(self) -> tuple[str, ...] | None:
        if self.word() != "(" or self.word(1) in _QUERY or self.word(1) == "(":
            return None
        return tuple(part[0].name or self.text(part) for part in self.list())

    def overriding(self) -> str:
        if self.word() != "overriding":
            return ""
        self.at += 3
        return self.text(self.tokens[self.at - 3 : self.at])

    def source(self) -> tuple[tuple[tuple[str, ...], ...] | None, tuple[int, int] | None, bool]:
        if self.word() == "default":
            self.at += 2  # DEFAULT VALUES
            return None, None, False
        start = self.token("VALUES, DEFAULT VALUES or a query").start
        rows = self.rows() if self.word() == "values" else None
        words = []
        while self.more() and not self.ends_source():
            words.append(self.word())
            self.at = self.after()
        if words and rows is not None:
            rows = None  # VALUES (1) UNION ...: a query after all
        return rows, (start, self.tokens[self.at - 1].end), "distinct" in words or "group" in words

    def rows(self) -> tuple[tuple[str, ...], ...]:
        self.at += 1
        rows = []
        while self.word() == "(":
            rows.append(tuple(self.text(part) for part in self.list()))
            if self.word() == ",":
                self.at += 1
        return tuple(rows)

    def ends_source(self) -> bool:
        clause = self.word() == "on" and self.word(1) == "conflict"
        if clause:  # and no join with a table of that name
            return self.word(2) != "."
        return self.word() == "returning"

    def conflict(self) -> Conflict | None:
        if self.word() != "on" or self.word(1) != "conflict":
            return None
        self.at += 2
        start = self.tokens[self.at - 1].end
        elements: tuple[Element, ...] = ()
        predicate = constraint = None
        if self.word() == "on" and self.word(1) == "constraint":
            self.at += 2
            constraint = self.token("the name of a constraint").name or None
            self.at += 1
        elif self.word() == "(":
            elements = tuple(self.element(part) for part in self.list())
            if self.word() == "where":
                self.at += 1
                predicate = self.until("do")
        if self.word() != "do":
            raise Unreadable(f"expected DO NOTHING or DO UPDATE, found {self.found()}")
        target = (start, self.tokens[self.at].start)
        act = self.tokens[self.at].start
        self.at += 2
        match self.word(-1):
            case "nothing":
                action: Action = "nothing"
                assignments: tuple[Assignment, ...] = ()
                where = None
            case "update":
                action = "update"
                assignments, where = self.update()
            case "select":  # PostgreSQL 19
                action = "select"
                self.until("returning")
                assignments = ()
                where = None
            case _:
                self.at -= 1
                raise Unreadable(f"expected NOTHING or UPDATE after DO, found {self.found()}")
        return Conflict(
            elements, predicate, constraint, action, assignments, where, target, (act, self.tokens[self.at - 1].end)
        )

    def element(self, part: Tokens) -> Element:
        """`name`, `func(...)` or `(expression)`; then COLLATE collation; then an operator class."""
        at = 1
        if part[0].text == "(":
            at = closing(part, 0) + 1
        else:
            while at < len(part) and part[at].text in (".", "("):
                at = at + 2 if part[at].text == "." else closing(part, at) + 1
        bare = part[:at]
        return Element(self.text(part), self.text(bare), (bare[0].name if len(bare) == 1 else "") or None)

    def update(self) -> tuple[tuple[Assignment, ...], str | None]:
        if self.word() != "set":
            raise Unreadable(f"expected SET after DO UPDATE, found {self.found()}")
        self.at += 1
        assignments: list[Assignment] = []
        while self.more() and self.word() not in ("where", "returning"):
            columns = self.list() if self.word() == "(" else [[self.token("a column")]]
            value = self.value_of_assignment()
            for number, column in enumerate(columns):
                each = value if len(columns) == 1 else _part_of_row(value, number)
                assignments.append(Assignment(column[0].name or column[0].text, each))
        where = None
        if self.word() == "where":
            self.at += 1
            where = self.until("returning")
        return tuple(assignments), where

    def value_of_assignment(self) -> str:
        while self.more() and self.word() != "=":  # the column itself, col[1], col.field
            self.at = self.after()
        self.token("= and a value")
        self.at += 1
        start = self.at
        while self.more() and self.word() != "," and self.word() not in ("where", "returning"):
            self.at = self.after()
        value = self.text(self.tokens[start : self.at])
        if self.word() == ",":
            self.at += 1
        return value

    def returning(self) -> str | None:
        while self.more() and self.word() != "returning":
            self.at = self.after()
        if not self.more():
            return None
        return self.text(self.tokens[self.at + 1 :])

    # Tokens --------------------------------------------------------------------------------------------------------

    def more(self) -> bool:
        return self.at < len(self.tokens)

    def word(self, ahead: int = 0) -> str:
        at = self.at + ahead
        return self.tokens[at].word if at < len(self.tokens) else ""

    def found(self) -> str:
        return repr(self.tokens[self.at].text) if self.more() else "the end"

    def token(self, expected: str) -> Token:
        if not self.more():
            raise Unreadable(f"expected {expected}, found the end")
        return self.tokens[self.at]

    def after(self) -> int:
        """Behind the token that comes, and behind all that its parenthesis holds."""
        return closing(self.tokens, self.at) + 1 if self.tokens[self.at].text in "([" else self.at + 1

    def qualified(self) -> list[str]:
        names = []
        while True:
            name = self.token("a name").name
            if not name:
                raise Unreadable(f"expected the name of a table, found {self.found()}")
            names.append(name)
            self.at += 1
            if self.word() != ".":
                return names
            self.at += 1

    def list(self) -> list[Tokens]:
        """What stands between a parenthesis and its closing one, cut at commas."""
        end = closing(self.tokens, self.at)
        parts = list(split_at(",", self.tokens[self.at + 1 : end]))
        self.at = end + 1
        if not all(parts):
            raise Unreadable("expected an expression between two commas, found nothing")
        return parts

    def until(self, word: str) -> str:
        start = self.at
        while self.more() and self.word() != word:
            self.at = self.after()
        return self.text(self.tokens[start : self.at])

    def text(self, tokens: Tokens) -> str:
        return written(self.sql, tokens)


def _part_of_row(value: str, number: int) -> str:
    """The value that a column gets from `(a, b) = (x, y)`; from a subquery, the subquery itself."""
    tokens = significant(value)
    if tokens and tokens[0].word == "row":
        tokens = tokens[1:]
    if not tokens or tokens[0].text != "(" or (len(tokens) > 1 and tokens[1].word in _QUERY):
        return value
    parts = list(split_at(",", tokens[1:-1]))
    return written(value, parts[number]) if number < len(parts) else value


_QUERY = {"select", "with", "values", "table"}
_AFTER_TABLE = {"values", "select", "default", "overriding", "with", "table", "using", "on"}
