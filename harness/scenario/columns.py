"""The columns of a scenario's tables as its own CREATE TABLE statements have them: known before any server starts."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from harness.scenario.lexer import Token, closing, significant, split_at, written

_CONSTRAINTS = {"constraint", "primary", "unique", "foreign", "check", "exclude", "like"}
# Words that may follow a column's type and are no part of it.
_AFTER_TYPE = {"not", "null", "default", "collate", "generated", "references"} | _CONSTRAINTS


class ColumnOf(NamedTuple):
    table: str
    name: str
    type: str  # as written: "varchar(20)", "text[]"
    nullable: bool


def columns_of(tables: str) -> tuple[ColumnOf, ...]:
    """Every column of every CREATE TABLE, in order; what cannot be read as one is left out."""
    return tuple(_columns(tables, significant(tables)))


def _columns(text: str, tokens: Sequence[Token]) -> Iterator[ColumnOf]:
    for at, token in enumerate(tokens):
        if token.word != "table" or not any(t.word == "create" for t in tokens[max(0, at - 3) : at]):
            continue
        opening = next((i for i in range(at, len(tokens)) if tokens[i].word in ("(", ";", "as")), None)
        if opening is None or tokens[opening].word != "(":
            continue
        table = tokens[opening - 1].name
        for definition in split_at(",", tokens[opening + 1 : closing(tokens, opening)]):
            if len(definition) > 1 and definition[0].word not in _CONSTRAINTS and definition[0].name:
                yield _column(text, table, definition)


def _column(text: str, table: str, definition: Sequence[Token]) -> ColumnOf:
    words = [token.word for token in definition]
    end = next((i for i in range(1, len(words)) if words[i] in _AFTER_TYPE), len(words))
    type_ = written(text, definition[1:end])
    must = "primary" in words or ("not", "null") in pairwise(words)
    return ColumnOf(table, definition[0].name, type_, not must and "serial" not in type_)
