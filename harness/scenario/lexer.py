"""SQL cut into tokens and commands, as PostgreSQL's own lexer and psql cut it (src/backend/parser/scan.l, psqlscan.l).

Placeholders of drivers are tokens too: they are no SQL, but that is how SQL stands in programs.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

HOLE = "\ufffc"  # OBJECT REPLACEMENT CHARACTER: stands in a text for a part that only the running program knows


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
CONSTANTS = (Kind.STRING, Kind.DOLLAR, Kind.NUMBER)
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

    @property
    def name(self) -> str:
        """The name that it is, as the server folds it; empty for what is none."""
        if self.kind is Kind.NAME and not self.text.startswith(":"):
            return self.text[self.text.index('"') + 1 : -1].replace('""', '"')
        return self.text.lower() if self.kind is Kind.WORD else ""


Tokens = Sequence[Token]


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
_KINDS = {kind.value: kind for kind in Kind} | {"block": Kind.COMMENT, "other": Kind.SYMBOL, "tag": Kind.DOLLAR}
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def tokens(text: str, start: int = 0) -> Iterator[Token]:
    """Every token from `start` on, blanks and comments included: together they are the text."""
    while start < len(text):
        match = _TOKEN.match(text, start)
        assert match is not None  # the last alternative takes anything
        group = match.lastgroup or ""
        end = _block_end(text, start) if group == "block" else match.end()
        yield Token(_KINDS[group], text[start:end], start, end)
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


def _copies_in(tokens: Tokens) -> bool:
    words = [token.word for token in tokens]
    return words[:1] == ["copy"] and any(a == "from" and b == "stdin" for a, b in pairwise(words))


# ---- what can be said of a text from its tokens alone ----------------------------------------------------------------


def significant(text: str) -> list[Token]:
    """The tokens that are neither blanks nor comments."""
    return [token for token in tokens(text) if token.kind not in BLANK]


def closing(tokens: Tokens, opening: int) -> int:
    """The number of the token that closes the parenthesis opened there; the last one's where none does."""
    depth = 0
    for at in range(opening, len(tokens)):
        depth += (tokens[at].text in ("(", "[")) - (tokens[at].text in (")", "]"))
        if depth == 0:
            return at
    return len(tokens) - 1


def split_at(word: str, tokens: Tokens) -> Iterator[Tokens]:
    """What stands between these words (commas, say) outside of parentheses."""
    depth = start = 0
    for at, token in enumerate(tokens):
        depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
        if token.word == word and depth == 0:
            yield tokens[start:at]
            start = at + 1
    if start < len(tokens):
        yield tokens[start:]


def written(text: str, tokens: Tokens) -> str:
    """How the text has it, from the first of these tokens to the last."""
    return text[tokens[0].start : tokens[-1].end] if tokens else ""


def numbers_in(sql: str) -> tuple[int, ...]:
    """The n of its $n, each once, in order."""
    return tuple(dict.fromkeys(int(token.text[1:]) for token in tokens(sql) if token.kind is Kind.NUMBERED))


def unwrapped(expression: str) -> str:
    """Without parentheses around the whole, and without what stands around those."""
    own = significant(expression)
    while len(own) > 1 and own[0].text == "(" and closing(own, 0) == len(own) - 1:
        own = own[1:-1]
    return written(expression, own)


def normal(expression: str) -> str:
    """For comparison: without comments, case, spaces, and parentheses around the whole."""
    return " ".join(quoted(one.name) if one.name else one.text for one in significant(unwrapped(expression)))


def quoted(name: str) -> str:
    """A name as it must be written: quoted where folding or a keyword would change it."""
    plain = re.fullmatch(r"[a-z_][a-z0-9_$]*", name) and name not in _RESERVED
    return name if plain else '"' + name.replace('"', '""') + '"'


# Appendix C, "reserved" in the column PostgreSQL: what must be quoted to be a column's or a table's name.
_RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema
    current_time current_timestamp current_user default deferrable desc distinct do else end except false fetch for
    foreign freeze from full grant group having ilike in initially inner intersect into is isnull join lateral
    leading left like limit localtime localtimestamp natural not notnull null offset on only or order outer overlaps
    placing primary references returning right select session_user similar some symmetric system_user table
    tablesample then to trailing true union unique user using variadic verbose when where window with
    """,
    )
)
