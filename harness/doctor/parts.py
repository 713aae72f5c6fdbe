"""An INSERT, SELECT or UPDATE taken apart, as far as a scenario needs it; the server has parsed it before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from harness.doctor.anatomy import Shape, Unreadable, shapes
from harness.doctor.sources.outline import name_end
from harness.doctor.sources.text import SourceError
from harness.scenario.lexer import Kind, Tokens, closing, significant, split_at, written


class TranslationError(SourceError):
    """A statement that cannot become a scenario: what about it, and what can be done."""


@dataclass(frozen=True, slots=True)
class Insert:
    """`INSERT INTO table [AS alias] (columns) VALUES (values) [ON CONFLICT ...] [RETURNING ...]`, one row."""

    table: str
    alias: str
    columns: tuple[str, ...]  # names as the server folds them; none: all of the table
    values: tuple[str, ...]
    overriding: str = ""  # `OVERRIDING SYSTEM VALUE`
    conflict: bool = False
    assignments: tuple[tuple[str, str], ...] = ()  # of DO UPDATE; none: DO NOTHING
    where: str = ""  # of DO UPDATE
    returning: str = ""


@dataclass(frozen=True, slots=True)
class Lookup:
    """`SELECT columns FROM table WHERE ...`, `UPDATE table SET assignments WHERE ...`, `DELETE FROM ... WHERE ...`."""

    table: str
    columns: tuple[str, ...]
    assignments: str
    conditions: tuple[str, ...]  # what AND connects
    answers: bool = False  # EXISTS or count(): the row says whether there is one


def insert_parts(sql: str) -> Insert:
    """Raises TranslationError for an INSERT of several rows, of a query, or inside WITH."""
    first = significant(sql)[0]
    if first.word != "insert":
        raise TranslationError(f"expected INSERT, found {first.text}: only a plain INSERT becomes a scenario")
    try:
        shape = shapes(sql)[0]
    except Unreadable as error:
        raise TranslationError(str(error)) from None
    conflict = shape.conflict
    assignments = tuple((one.column, one.value) for one in conflict.assignments) if conflict else ()
    if any(_is_query(one) and two == one for (_, one), (_, two) in pairwise(assignments)):
        raise TranslationError("SET (...) = (SELECT ...) cannot be translated: assign column by column")
    return Insert(
        sql[slice(*shape.written)],
        shape.alias,
        shape.columns or (),
        _row(sql, shape),
        f"{shape.overriding} " if shape.overriding else "",
        conflict is not None,
        assignments,
        (conflict.where if conflict else None) or "",
        shape.returning or "",
    )


def _row(sql: str, shape: Shape) -> tuple[str, ...]:
    """The expressions of the one row."""
    if shape.rows is not None and len(shape.rows) > 1:
        raise TranslationError("an INSERT of several rows is several calls: give one with one row")
    if shape.rows:
        return shape.rows[0]
    query = sql[slice(*(shape.query or (0, 0)))]
    own = significant(query)
    if _word(own, 0) != "select" or any(_find(own, 0, word) is not None for word in ("from", "where")):
        raise TranslationError("an INSERT whose rows come from a query cannot be translated: give it with VALUES (...)")
    return tuple(written(query, one) for one in split_at(",", own[1:]))


def _is_query(expression: str) -> bool:
    return [token.word for token in significant(expression)[:2]] == ["(", "select"]


def lookup_parts(sql: str) -> Lookup:
    """Raises TranslationError for a query of more than one table, or without a condition."""
    own = significant(sql)
    if _word(own, 1) == "exists" and _word(own, 2) == "(" and _word(own, 3) == "select":
        return replace(lookup_parts(written(sql, own[3 : closing(own, 2)])), columns=(), answers=True)
    updates = own[0].word == "update"
    source = 0 if updates else _find(own, 1, "from")
    where = _find(own, 1, "where")
    if source is None or where is None:
        raise TranslationError(f"expected {own[0].word.upper()} ... WHERE of one table, found: {written(sql, own)}")
    start = source + 1 + (_word(own, source + 1) == "only")
    end = name_end(own, start)
    between = own[end : _find(own, end, "set") if updates else where]
    if any(token.word in ("join", ",", "(", "using") for token in between):
        raise TranslationError(f"a query of several tables cannot be translated: {written(sql, own)}")
    ends = (_find(own, where, *words) for words in (("order",), ("limit",), ("for",), ("returning",), ("group",)))
    stop = min((at for at in ends if at is not None), default=len(own))
    selects = own[0].word == "select"
    listed = tuple(written(sql, element) for element in split_at(",", own[1:source])) if selects else ()
    conditions = _conditions(sql, own[where + 1 : stop])
    assignments = _after(sql, own, _find(own, end, "set"), where) if updates else ""
    counts = _word(own, 1) == "count" and len(listed) == 1
    return Lookup(written(sql, own[start:end]), listed, assignments, conditions, counts)


def replaced(sql: str, change: Callable[[Tokens, int], str | None]) -> str:
    """The text with some tokens replaced; what `change` says for a token that matters, None keeps it."""
    own = significant(sql)
    parts, end = [], 0
    for at, token in enumerate(own):
        new = change(own, at)
        if new is not None:
            parts += [sql[end : token.start], new]
            end = token.end
    return "".join([*parts, sql[end:]])


def with_values(sql: str, values: Mapping[str, str]) -> str:
    """An expression about a row, with values in the place of its columns."""

    def change(own: Tokens, at: int) -> str | None:
        name = own[at].name
        if name not in values or _word(own, at + 1) in ("(", ".") or (at and own[at - 1].text in (".", "::")):
            return None
        return operand(values[name])

    return replaced(sql, change)


def with_excluded(sql: str, values: Mapping[str, str]) -> str:
    """An expression of DO UPDATE, with the values of the row that was to be inserted in the place of EXCLUDED's."""

    def change(own: Tokens, at: int) -> str | None:
        word = own[at].word
        if word == "excluded" and _word(own, at + 1) == ".":
            return ""
        if word == "." and at and own[at - 1].word == "excluded":
            return ""
        if at > 1 and own[at - 1].text == "." and own[at - 2].word == "excluded":
            return operand(values[own[at].name])
        return None

    return replaced(sql, change)


def with_names(sql: str, names: Mapping[int, str], form: str) -> str:
    """The statement with its $n written as `form` has them: `%({})s`, `:{}`."""

    def change(own: Tokens, at: int) -> str | None:
        return form.format(names[int(own[at].text[1:])]) if own[at].kind is Kind.NUMBERED else None

    return replaced(sql, change)


def clauses(sql: str) -> str:
    """A statement with each clause beginning a line."""
    own = significant(sql)
    # SELECT EXISTS (...) is long inside.
    depth, target, breaks = -(len(own) > 1 and own[1].word == "exists"), False, []
    for at, token in enumerate(own):
        depth += (token.text == "(") - (token.text == ")")
        target = (target or token.word == "conflict") and token.word != "do"
        starts = token.word in ("values", "returning", "from", "do") or (token.word == "where" and not target)
        starts = starts or (token.word == "on" and _word(own, at + 1) == "conflict")
        starts = starts or (token.word == "set" and at > 0 and own[at - 1].word != "update" and own[0].word == "update")
        if starts and at > 1 and depth == 0 and not sql[own[at - 1].end : token.start].strip():
            breaks.append((own[at - 1].end, token.start))
    for end, start in reversed(breaks):
        sql = f"{sql[:end]}\n{sql[start:]}"
    return _folded(sql)


def _folded(sql: str, width: int = 100) -> str:
    """With lines that are too long broken after commas."""
    own = significant(sql)
    begins, comma, breaks = 0, 0, []
    for token, after in pairwise(own):
        begins = max(begins, sql.rfind("\n", 0, token.start) + 1)
        if token.end - begins > width and comma > begins:
            breaks.append(comma)
            begins, comma = comma - 4, 0
        if token.text == "," and sql[token.end : after.start] == " ":
            comma = after.start
    for at in reversed(breaks):
        sql = f"{sql[: at - 1]}\n    {sql[at:]}"
    return sql


def lone_parameter(sql: str) -> int | None:
    """The n of an expression that is $n and nothing else but a cast."""
    own = significant(sql)
    if not own or own[0].kind is not Kind.NUMBERED or (len(own) > 1 and own[1].text != "::"):
        return None
    return int(own[0].text[1:])


def operand(sql: str) -> str:
    """In parentheses, unless it is one thing."""
    own = significant(sql)
    call = len(own) > 2 and own[1].text == "(" and closing(own, 1) == len(own) - 1
    return sql if len(own) == 1 or call else f"({sql})"


def _conditions(sql: str, own: Tokens) -> tuple[str, ...]:
    """What AND connects; the whole where OR does."""
    if _find(own, 0, "or") is not None:
        return (written(sql, own),)
    return tuple(written(sql, one) for one in split_at("and", own))


def _find(own: Tokens, start: int, *words: str) -> int | None:
    """Where these words stand next to each other, outside of parentheses."""
    depth = 0
    for at in range(start, len(own)):
        depth += (own[at].text == "(") - (own[at].text == ")")
        if depth == 0 and tuple(token.word for token in own[at : at + len(words)]) == words:
            return at
    return None


def _after(sql: str, own: Tokens, start: int | None, stop: int | None) -> str:
    return "" if start is None else written(sql, own[start + 1 : stop])


def _word(own: Tokens, at: int) -> str:
    return own[at].word if at < len(own) else ""
