"""Statements made of commands found in a text: place, numbered placeholders, and what a comment says to ignore."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from harness.doctor.sources.outline import Outline, outline_of, without_prefix
from harness.doctor.sources.placeholders import numbered
from harness.doctor.sources.text import Source, Text
from harness.doctor.statement import Statement
from harness.scenario.lexer import Tokens, commands

_IGNORE = re.compile(r"(?:--|#|//|\*)[ \t]*harness:[ \t]*ignore\b([^\n]*)")
_COMMENT_LINE = re.compile(r"\s*(?:--|#|//|/?\*)")
_CODE = re.compile(r"\bD\d{3,}\b")


@dataclass(frozen=True, slots=True)
class Found:
    """A statement, what it is, and the names it mentions: what tells which commands of one function belong together."""

    kind: str
    table: str
    mentions: frozenset[str]
    offset: int
    statement: Statement

    @property
    def writes_new_rows(self) -> bool:
        return self.kind in ("INSERT", "MERGE")


class Scope(Protocol):
    """What a function around a statement means by some of its words."""

    def variables(self, tokens: Tokens, outline: Outline) -> Mapping[int, str]: ...

    def hidden(self, tokens: Tokens) -> frozenset[int]: ...


def found_in(text: Text, source: Source) -> Iterator[Found]:
    """The commands of interest in a literal, in order; one that only begins like SQL is none."""
    start = source.place(text.offsets[0])[0] if text.chars else 1
    for number, command in enumerate(commands(text.chars)):
        made = made_of(command.tokens, text, source, literal=start if number == 0 else None)
        if made is not None:
            yield made


def made_of(
    tokens: Tokens, text: Text, source: Source, *, literal: int | None = None, scope: Scope | None = None
) -> Found | None:
    """The statement that a command is, or None.

    `literal` is the line on which the literal begins whose first words these are, `scope` the function of SQL or
    plpgsql around it.
    """
    own = without_prefix(tokens)
    outline = outline_of(own)
    if outline is None:
        return None
    part = text[own[0].start : own[-1].end]
    if scope is None:
        ready = numbered(part, names=outline.names)
    else:
        ready = numbered(part, names=outline.names, variables=scope.variables(own, outline), hidden=scope.hidden(own))
    # PERFORM has come as a token that says SELECT.
    sql = own[0].text + ready.sql[own[0].end - own[0].start :]
    offset = part.offsets[0]
    line, column = source.place(offset)
    statement = Statement(
        source.file,
        line,
        column,
        part.written,
        sql,
        ready.parameters,
        _ignored(source, line if literal is None else literal, line, source.place(part.offsets[-1])[0]),
        ready.dynamic,
    )
    return Found(outline.kind, outline.table, frozenset(filter(None, (token.name for token in own))), offset, statement)


def _ignored(source: Source, above: int, first: int, last: int) -> frozenset[str]:
    """What the comments say on the lines of the statement, and directly above it or above its literal."""
    lines = set(range(min(above, first), last + 1))
    for start in (above, first):
        while start > 1 and _COMMENT_LINE.match(source.line(start - 1)):
            start -= 1
            lines.add(start)
    codes: set[str] = set()
    for line in sorted(lines):
        for match in _IGNORE.finditer(source.line(line)):
            codes.update(_CODE.findall(match[1]) or ("*",))
    return frozenset(codes)
