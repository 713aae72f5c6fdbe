"""Which commands are INSERT, MERGE and their like, told from English by their shape, and where names stand in them."""

from dataclasses import dataclass
from itertools import pairwise

from harness.doctor.sources.text import words
from harness.scenario.lexer import PLACEHOLDERS, Kind, Tokens, closing

_UNKNOWN = (Kind.HOLE, Kind.TEMPLATE)
_NAME_KINDS = (Kind.WORD, Kind.NAME, *_UNKNOWN, *PLACEHOLDERS)
# No table is called so, but sentences go on like this: "insert into the form".
_DETERMINERS = words("a all an another any each every her his its my no our some that the their this your")


@dataclass(frozen=True, slots=True)
class Outline:
    """What a command is, and which of its tokens (by number) name things: no parameter can stand there."""

    kind: str  # INSERT and MERGE also when they stand inside WITH
    table: str  # the last part of the name of the table it is about, in lower case; empty where nobody can tell
    names: frozenset[int]


def outline_of(tokens: Tokens) -> Outline | None:
    """The shape of a command of interest, else None: text that merely begins with the word "insert" has none."""
    first = tokens[0].word if tokens else ""
    if any(pair == ("duplicate", "key") for pair in pairwise(token.word for token in tokens)):
        return None  # MySQL's ON DUPLICATE KEY UPDATE: not for this server
    if first in ("insert", "merge"):
        return _written(tokens, 0)
    if first == "with":
        inside = (_written(tokens, i) for i, token in enumerate(tokens) if token.word in ("insert", "merge"))
        if found := next((outline for outline in inside if outline), None):
            return found
        first = next((word for word in (token.word for token in tokens) if word in ("update", "delete", "select")), "")
    match first:
        case "update":
            return _updated(tokens)
        case "delete" | "select":
            return _from(tokens, first.upper())
    return None


def without_prefix(tokens: Tokens) -> Tokens:
    """The command itself, after EXPLAIN (...) or PREPARE name AS."""
    words = [token.word for token in tokens]
    if words[:1] == ["explain"]:
        at = 1
        while at < len(tokens) and words[at] in ("analyze", "verbose"):
            at += 1
        return tokens[closing(tokens, at) + 1 :] if words[at : at + 1] == ["("] else tokens[at:]
    if words[:1] == ["prepare"] and "as" in words[2:]:
        return tokens[words.index("as", 2) + 1 :]
    return tokens


def name_end(tokens: Tokens, start: int) -> int:
    """One past a name that may be qualified, or be made of parts: `public.users`, `"A"."B"`, `{schema}.log_{year}`."""
    at = start
    while at < len(tokens):
        token = tokens[at]
        part = token.kind in _NAME_KINDS or token.text == "."
        together = at == start or token.start == tokens[at - 1].end or "." in (token.text, tokens[at - 1].text)
        if not part or not together:
            break
        at += 1
    return at


def _at(tokens: Tokens, at: int) -> str:
    return tokens[at].word if at < len(tokens) else ""


def _written(tokens: Tokens, at: int) -> Outline | None:
    if _at(tokens, at + 1) != "into":
        return None
    start = at + 2 + (_at(tokens, at + 2) == "only")
    end = name_end(tokens, start)
    if end == start or _at(tokens, start) in _DETERMINERS:
        return None
    table, names = tokens[end - 1].name, set(range(start, end))
    if _at(tokens, at) == "merge":
        words = [token.word for token in tokens[end:]]
        return Outline("MERGE", table, frozenset(names)) if {"using", "when", "matched"} <= set(words) else None
    if _at(tokens, end) == "as":
        end += 2
    columns = _at(tokens, end) == "(" and _at(tokens, end + 1) not in ("select", "with", "values", "table", "(")
    if columns:
        last = closing(tokens, end)
        names |= _lone(tokens, end, last)
        end = last + 1
    return Outline("INSERT", table, frozenset(names | _target(tokens, end))) if _goes_on(tokens, end, columns) else None


def _goes_on(tokens: Tokens, at: int, columns: bool) -> bool:
    """Whether rows follow, where an INSERT has them."""
    rest = tokens[at:]
    match _at(tokens, at):
        case "values":
            return len(rest) > 1 and (rest[1].text == "(" or rest[1].kind in (*_UNKNOWN, *PLACEHOLDERS))
        case "select" | "with" | "table":
            return any(token.kind is not Kind.WORD or token.word == "from" for token in rest[1:])
        case "(":
            return _at(tokens, at + 1) in ("select", "with", "values", "table", "(")
        case "default":
            return _at(tokens, at + 1) == "values"
        case "overriding":
            return _at(tokens, at + 2) == "value"
    # Rows made by the program: `INSERT INTO t ${rows}`.
    told = columns or any(token.word in ("conflict", "returning") for token in rest)
    return bool(rest) and rest[0].kind in _UNKNOWN and told


def _target(tokens: Tokens, start: int) -> set[int]:
    """Of ON CONFLICT (columns), and of ON CONFLICT ON CONSTRAINT name."""
    for at in range(start, len(tokens)):
        if _at(tokens, at) == "on" and _at(tokens, at + 1) == "conflict":
            if _at(tokens, at + 2) == "(":
                return _lone(tokens, at + 2, closing(tokens, at + 2))
            if _at(tokens, at + 3) == "constraint":
                return {at + 4}
    return set()


def _lone(tokens: Tokens, opening: int, last: int) -> set[int]:
    """The elements of a list that are one token each; in an expression a parameter may stand."""
    inside = range(opening + 1, last)
    return {at for at in inside if tokens[at - 1].text in "(," and tokens[at + 1].text in "),"}


def _updated(tokens: Tokens) -> Outline | None:
    start = next(at for at, token in enumerate(tokens) if token.word == "update") + 1
    start += _at(tokens, start) == "only"
    end = name_end(tokens, start)
    if end == start or "set" not in [_at(tokens, at) for at in range(end, end + 3)]:
        return None
    return Outline("UPDATE", tokens[end - 1].name, frozenset(range(start, end)))


def _from(tokens: Tokens, kind: str) -> Outline | None:
    found = next((at for at, token in enumerate(tokens) if token.word == "from"), None)
    if found is None:
        return None
    start = found + 1 + (_at(tokens, found + 1) == "only")
    end = name_end(tokens, start)
    return Outline(kind, tokens[end - 1].name, frozenset(range(start, end))) if end > start else None
