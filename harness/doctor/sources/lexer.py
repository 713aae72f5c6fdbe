"""SQL cut into tokens and commands, as PostgreSQL's own lexer and psql cut it (src/backend/parser/scan.l, psqlscan.l).

Placeholders of drivers are tokens too: they are no SQL, but that is how SQL stands in programs.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from harness.doctor.sources.text import HOLE


class Kind(Enum):
    SPACE = "space"
    COMMENT = "comment"
    STRING = "string"
    DOLLAR = "dollar"  # $$ a string, often the body of a function $$
    NUMBERED = "numbered"  # $1
    PYFORMAT = "pyformat"  # %(name)s
    FORMAT = "format"  # %s
    NAMED = "named"  # :name, psql's :'name', sqlc.arg(name), MyBatis' #{name}
    AT = "at"  # @name
    QUESTION = "question"  # ?
    TEMPLATE = (
        "template"  # ${name}, {{ name }}, {% if %}, {0}: put in before it is SQL, by a tool or by a format() elsewhere
    )
    HOLE = "hole"
    NAME = "name"  # "quoted"
    WORD = "word"
    NUMBER = "number"
    META = "meta"  # psql's \command, to the end of its line
    SYMBOL = "symbol"


BLANK = (Kind.SPACE, Kind.COMMENT)
PLACEHOLDERS = (Kind.NUMBERED, Kind.PYFORMAT, Kind.FORMAT, Kind.NAMED, Kind.AT, Kind.QUESTION)


class Token(NamedTuple):
    kind: Kind
    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        """A keyword or plain name in lower case, a symbol as it is; empty for anything that can be neither."""
        return self.text.lower() if self.kind in (Kind.WORD, Kind.SYMBOL) else ""


# The first alternative that matches wins: what hides others stands before them.
_TOKEN = re.compile(
    rf"""
    (?P<space>\s+)
  | (?P<comment>--[^\n]*)
  | (?P<block>/\*)
  | (?P<string>[eE]'(?:[^'\\]|\\.|'')*' | (?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')
  | (?P<name>(?:[uU]&)?"(?:[^"]|"")*" | :"[^"]*")
  | (?P<dollar>\$(?P<tag>(?:[A-Za-z_\x80-\uffef]\w*)?)\$ .*? \$(?P=tag)\$)
  | (?P<numbered>\$\d+)
  | (?P<pyformat>%\(\w+\)[sbt])
  | (?P<format>%[sbt](?!\w))
  | (?P<template>\$\{{[^{{}}]*\}} | \{{\{{.*?\}}\}} | \{{%.*?%\}} | \{{[^{{}}'\"]*\}})
  | (?P<named>(?<![\w:]):[A-Za-z_]\w* | :'[^']*' | \#\{{\s*[\w.]+[^{{}}]*\}} | \bsqlc\.n?arg\(\s*'?\w+'?\s*\))
  | (?P<symbol>:: | := | -> | \?\| (?!\|) | \?& | \?\? | @> | <@ | @@ | @\? | \|\| | [<>!]= | <> | %%)
  | (?P<at>(?<![\w@<])@[A-Za-z_]\w*)
  | (?P<question>\?\d*)
  | (?P<hole>{HOLE})
  | (?P<word>[^\W\d][\w$]*)
  | (?P<number>\d[\w.]* | \.\d+)
  | (?P<meta>\\(?:;|[A-Za-z!?.+-][^\n]*|$))
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def tokens(text: str, start: int = 0) -> Iterator[Token]:
    """Every token from `start` on, blanks and comments included: together they are the text."""
    while start < len(text):
        match = _TOKEN.match(text, start)
        assert match is not None  # the last alternative takes anything
        group = match.lastgroup or ""
        end = _block_end(text, start) if group == "block" else match.end()
        kind = {"block": Kind.COMMENT, "other": Kind.SYMBOL, "tag": Kind.DOLLAR}.get(group) or Kind(group)
        yield Token(kind, text[start:end], start, end)
        start = end


def _block_end(text: str, start: int) -> int:
    """Where a comment ends that may hold others."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a text, without its semicolon: `tokens` are those that matter, from first to last."""

    tokens: tuple[Token, ...]
    ended_by: str = ";"  # or psql's own: \g, \gexec, \gset

    @property
    def start(self) -> int:
        return self.tokens[0].start

    @property
    def end(self) -> int:
        return self.tokens[-1].end

    def words(self, count: int) -> str:
        """The first tokens in lower case, to compare: `create unique index`."""
        return " ".join(token.text.lower() for token in self.tokens[:count])


_COPY_END = re.compile(r"^\\\.[ \t]*$\n?", re.MULTILINE)


def commands(text: str, *, psql: bool = False) -> Iterator[Command]:
    r"""The commands of a text, cut at semicolons outside of parentheses and of BEGIN ATOMIC ... END.

    With `psql`, as psql reads a file: a \command is a command of one token, `\gexec` ends one, and the lines after
    COPY ... FROM stdin are data.
    """
    current: list[Token] = []
    depth = atomic = position = 0
    while position < len(text):
        for token in tokens(text, position):
            position = token.end
            if token.kind in BLANK:
                continue
            if psql and token.kind is Kind.META:
                if not current:
                    yield Command((token,), "\n")
                elif token.text.startswith(r"\g"):
                    yield Command(tuple(current), token.text.split()[0])
                    current = []
                continue
            word = token.word
            depth = max(0, depth + (word in ("(", "[")) - (word in (")", "]")))
            if word == "atomic" and current and current[-1].word == "begin":
                atomic = 1
            elif atomic:
                atomic += (word == "case") - (word == "end")
            if word != ";" or depth or atomic:
                current.append(token)
                continue
            done, current = Command(tuple(current)), []
            if done.tokens:
                yield done
            if psql and _copies_in(done.tokens):
                data = _COPY_END.search(text, position)
                position = data.end() if data else len(text)
                break
    if current:
        yield Command(tuple(current), "")


def _copies_in(tokens: Sequence[Token]) -> bool:
    words = [token.word for token in tokens]
    return words[:1] == ["copy"] and any(a == "from" and b == "stdin" for a, b in pairwise(words))
