"""SQL cut into tokens by the rules of chapter 4.1, and what can be said of a text from its tokens alone."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*)
  | (?P<string>[eE]'(?:[^'\\]|\\.|'')*' | (?:[bBxXnN]|[uU]&)?'(?:[^']|'')*'
      | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag))
  | (?P<quoted>(?:[uU]&)?"(?:[^"]|"")*")
  | (?P<parameter>\$\d+)
  | (?P<number>\d[\w.]*)
  | (?P<word>[^\W\d][\w$]*)
  | (?P<mark>::|[^\w\s])
    """,
    re.VERBOSE | re.DOTALL,
)


class Unreadable(ValueError):
    """A shape that this reader does not know: what it expected, and what it found."""


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int
    end: int

    @property
    def keyword(self) -> str:
        return self.text.upper() if self.kind == "word" else ""

    @property
    def name(self) -> str | None:
        """As the catalogue spells it: folded to lower case unless quoted."""
        match self.kind:
            case "word":
                return self.text.lower()
            case "quoted":
                return self.text.removeprefix("U&").removeprefix("u&")[1:-1].replace('""', '"')
            case _:
                return None


def tokens_of(sql: str) -> Iterator[Token]:
    at = 0
    while at < len(sql):
        if sql.startswith("/*", at):  # nests, as no regular expression can tell
            end = _end_of_comment(sql, at)
            yield Token("space", sql[at:end], at, end)
        else:
            match = _TOKEN.match(sql, at)
            assert match is not None  # the last alternative takes any character
            end = match.end()
            yield Token(match.lastgroup if match.lastgroup != "tag" else "string", match[0], at, end)  # type: ignore[arg-type]
        at = end


def _end_of_comment(sql: str, at: int) -> int:
    depth = 0
    for mark in re.finditer(r"/\*|\*/", sql[at:]):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return at + mark.end()
    return len(sql)


def normal(text: str) -> str:
    """An expression for comparison: without comments, case, spaces, and parentheses around the whole."""
    tokens = [token for token in tokens_of(text) if token.kind != "space"]
    while len(tokens) > 1 and tokens[0].text == "(" and closing(tokens, 0) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return " ".join(quoted(token.name) if token.name is not None else token.text for token in tokens)


def quoted(name: str) -> str:
    """A name as it must be written: quoted where folding or a keyword would change it."""
    return (
        name
        if re.fullmatch(r"[a-z_][a-z0-9_$]*", name) and name not in RESERVED
        else '"' + name.replace('"', '""') + '"'
    )


def parameters_in(text: str) -> tuple[int, ...]:
    return tuple(int(token.text[1:]) for token in tokens_of(text) if token.kind == "parameter")


def closing(tokens: Sequence[Token], at: int) -> int:
    depth = 0
    for number in range(at, len(tokens)):
        if tokens[number].text in "([":
            depth += 1
        elif tokens[number].text in ")]":
            depth -= 1
            if depth == 0:
                return number
    raise Unreadable(f"expected a closing parenthesis for the one at character {tokens[at].start + 1}, found none")


# Appendix C, "reserved" in the column PostgreSQL: what must be quoted to be a column's or a table's name.
RESERVED = frozenset(
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
