"""What the doctor must know of a statement's shape: target, conflict target, action, SET columns, RETURNING.

A reader of its own, for two reasons. It keeps the place of every part, so that a repair changes the words it must and
leaves the rest as it was written, placeholders included. And what it does not understand it says (`Unreadable`), where
a general parser would normalise. It judges nothing: which index a clause means is the server's word. The grammar is
that of PostgreSQL's INSERT and MERGE reference pages; the lexical rules are chapter 4.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from harness.doctor.lexer import Token, Unreadable, closing, tokens_of

Action = Literal["nothing", "update", "select"]


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
    columns: tuple[str, ...] | None  # as listed; None: all of the table's
    rows: tuple[tuple[str, ...], ...] | None  # the expressions of VALUES; None: a query, or DEFAULT VALUES
    query: tuple[int, int] | None  # the place of VALUES or of the query
    deduplicated: bool  # a query that says DISTINCT or GROUP BY
    conflict: Conflict | None
    returning: str | None
    inserts: bool  # a MERGE that has WHEN NOT MATCHED ... INSERT; every INSERT


@lru_cache(4096)  # rules and repairs look again, and again
def shapes(sql: str) -> tuple[Shape, ...]:
    """Every INSERT INTO and MERGE INTO of a statement, in order. Raises Unreadable."""
    tokens = [token for token in tokens_of(sql) if token.kind != "space"]
    return tuple(
        _Reader(sql, tokens, at).shape()
        for at in range(len(tokens) - 1)
        if tokens[at].keyword in ("INSERT", "MERGE") and tokens[at + 1].keyword == "INTO"
    )


class _Reader:
    """Reads one shape; `at` is the token it stands before."""

    def __init__(self, sql: str, tokens: Sequence[Token], at: int) -> None:
        self.sql = sql
        self.tokens = tokens[: self._end(tokens, at)]
        self.at = at

    @staticmethod
    def _end(tokens: Sequence[Token], at: int) -> int:
        """Where the command ends: the parenthesis that closes its CTE, a semicolon, or the text."""
        depth = 0
        for number in range(at, len(tokens)):
            depth += {"(": 1, ")": -1}.get(tokens[number].text, 0)
            if depth < 0 or (depth == 0 and tokens[number].text == ";"):
                return number
        return len(tokens)

    def shape(self) -> Shape:
        command = self.tokens[self.at].keyword
        whole = (self.tokens[self.at].start, self.tokens[-1].end)
        self.at += 2
        if self.keyword() == "ONLY":
            self.at += 1
        start = self.token("the name of a table").start
        names = self.qualified()
        written = (start, self.tokens[self.at - 1].end)
        schema = names[-2] if len(names) > 1 else None
        if command == "MERGE":
            inserts = any(self.tokens[number].keyword == "INSERT" for number in range(self.at, len(self.tokens)))
            parts = (None, None, None, False, None, self.returning(), inserts)
            return Shape("merge", schema, names[-1], whole, written, *parts)
        self.alias()
        columns = self.columns()
        rows, query, deduplicated = self.source()
        conflict = self.conflict()
        inside = (columns, rows, query, deduplicated, conflict, self.returning(), True)
        return Shape("insert", schema, names[-1], whole, written, *inside)

    # Parts ---------------------------------------------------------------------------------------------------------

    def alias(self) -> None:
        if self.keyword() == "AS":
            self.at += 2
        elif self.more() and self.tokens[self.at].name is not None and self.keyword() not in _AFTER_TABLE:
            self.at += 1

    def columns(self) -> tuple[str, ...] | None:
        if not self.follows("(") or self.keyword(1) in _QUERY or self.follows("(", 1):
            return None
        return tuple(part[0].name or self.text(part) for part in self.list())

    def source(self) -> tuple[tuple[tuple[str, ...], ...] | None, tuple[int, int] | None, bool]:
        while self.keyword() == "OVERRIDING":
            self.at += 3  # OVERRIDING SYSTEM VALUE
        if self.keyword() == "DEFAULT":
            self.at += 2  # DEFAULT VALUES
            return None, None, False
        start = self.token("VALUES, DEFAULT VALUES or a query").start
        rows = self.rows() if self.keyword() == "VALUES" else None
        words = []
        while self.more() and not self.ends_source():
            words.append(self.keyword())
            self.at = self.after()
        if words and rows is not None:
            rows = None  # VALUES (1) UNION ...: a query after all
        return rows, (start, self.tokens[self.at - 1].end), "DISTINCT" in words or "GROUP" in words

    def rows(self) -> tuple[tuple[str, ...], ...]:
        self.at += 1
        rows = []
        while self.follows("("):
            rows.append(tuple(self.text(part) for part in self.list()))
            if self.follows(","):
                self.at += 1
        return tuple(rows)

    def ends_source(self) -> bool:
        clause = self.keyword() == "ON" and self.keyword(1) == "CONFLICT"
        if clause:  # and no join with a table of that name
            return not self.follows(".", 2)
        return self.keyword() == "RETURNING"

    def conflict(self) -> Conflict | None:
        if self.keyword() != "ON":
            return None
        self.at += 2
        start = self.tokens[self.at - 1].end
        elements: tuple[Element, ...] = ()
        predicate = constraint = None
        if self.keyword() == "ON" and self.keyword(1) == "CONSTRAINT":
            self.at += 2
            constraint = self.token("the name of a constraint").name
            self.at += 1
        elif self.follows("("):
            elements = tuple(self.element(part) for part in self.list())
            if self.keyword() == "WHERE":
                self.at += 1
                predicate = self.until("DO")
        if self.keyword() != "DO":
            raise Unreadable(f"expected DO NOTHING or DO UPDATE, found {self.found()}")
        target = (start, self.tokens[self.at].start)
        act = self.tokens[self.at].start
        self.at += 2
        match self.keyword(-1):
            case "NOTHING":
                action: Action = "nothing"
                assignments: tuple[Assignment, ...] = ()
                where = None
            case "UPDATE":
                action = "update"
                assignments, where = self.update()
            case "SELECT":  # PostgreSQL 19
                action = "select"
                self.until("RETURNING")
                assignments = ()
                where = None
            case _:
                self.at -= 1
                raise Unreadable(f"expected NOTHING or UPDATE after DO, found {self.found()}")
        return Conflict(
            elements, predicate, constraint, action, assignments, where, target, (act, self.tokens[self.at - 1].end)
        )

    def element(self, part: Sequence[Token]) -> Element:
        """`name`, `func(...)` or `(expression)`; then COLLATE collation; then an operator class."""
        at = 1
        if part[0].text == "(":
            at = closing(part, 0) + 1
        else:
            while at < len(part) and part[at].text in (".", "("):
                at = at + 2 if part[at].text == "." else closing(part, at) + 1
        bare = part[:at]
        return Element(self.text(part), self.text(bare), bare[0].name if len(bare) == 1 else None)

    def update(self) -> tuple[tuple[Assignment, ...], str | None]:
        if self.keyword() != "SET":
            raise Unreadable(f"expected SET after DO UPDATE, found {self.found()}")
        self.at += 1
        assignments: list[Assignment] = []
        while self.more() and self.keyword() not in ("WHERE", "RETURNING"):
            columns = self.list() if self.follows("(") else [[self.token("a column")]]
            value = self.value_of_assignment()
            for number, column in enumerate(columns):
                each = value if len(columns) == 1 else _part_of_row(value, number)
                assignments.append(Assignment(column[0].name or column[0].text, each))
        where = None
        if self.keyword() == "WHERE":
            self.at += 1
            where = self.until("RETURNING")
        return tuple(assignments), where

    def value_of_assignment(self) -> str:
        while self.more() and not self.follows("="):  # the column itself, col[1], col.field
            self.at = self.after()
        self.at += 1
        start = self.at
        while self.more() and not self.follows(",") and self.keyword() not in ("WHERE", "RETURNING"):
            self.at = self.after()
        value = self.text(self.tokens[start : self.at])
        if self.follows(","):
            self.at += 1
        return value

    def returning(self) -> str | None:
        while self.more() and self.keyword() != "RETURNING":
            self.at = self.after()
        if not self.more():
            return None
        return self.text(self.tokens[self.at + 1 :])

    # Tokens --------------------------------------------------------------------------------------------------------

    def more(self) -> bool:
        return self.at < len(self.tokens)

    def keyword(self, ahead: int = 0) -> str:
        at = self.at + ahead
        return self.tokens[at].keyword if at < len(self.tokens) else ""

    def follows(self, mark: str, ahead: int = 0) -> bool:
        at = self.at + ahead
        return at < len(self.tokens) and self.tokens[at].text == mark

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
            if name is None:
                raise Unreadable(f"expected the name of a table, found {self.found()}")
            names.append(name)
            self.at += 1
            if not self.follows("."):
                return names
            self.at += 1

    def list(self) -> list[list[Token]]:
        """What stands between a parenthesis and its closing one, cut at commas."""
        end = closing(self.tokens, self.at)
        inside, self.at = self.tokens[self.at + 1 : end], end + 1
        parts: list[list[Token]] = [[]]
        depth = 0
        for token in inside:
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.text, 0)
            if token.text == "," and depth == 0:
                parts.append([])
            else:
                parts[-1].append(token)
        if not all(parts):
            raise Unreadable("expected an expression between two commas, found nothing")
        return parts

    def until(self, keyword: str) -> str:
        start = self.at
        while self.more() and self.keyword() != keyword:
            self.at = self.after()
        return self.text(self.tokens[start : self.at])

    def text(self, tokens: Sequence[Token]) -> str:
        return self.sql[tokens[0].start : tokens[-1].end] if tokens else ""


def _part_of_row(value: str, number: int) -> str:
    """The value that a column gets from `(a, b) = (x, y)`; from a subquery, the subquery itself."""
    tokens = [token for token in tokens_of(value) if token.kind != "space"]
    if tokens and tokens[0].keyword == "ROW":
        tokens = tokens[1:]
    if not tokens or tokens[0].text != "(" or (len(tokens) > 1 and tokens[1].keyword in _QUERY):
        return value
    parts = _Reader(value, tokens, 0).list()
    reader = _Reader(value, tokens, 0)
    return reader.text(parts[number]) if number < len(parts) else value


_QUERY = {"SELECT", "WITH", "VALUES", "TABLE"}
_AFTER_TABLE = {"VALUES", "SELECT", "DEFAULT", "OVERRIDING", "WITH", "TABLE", "USING", "ON"}
