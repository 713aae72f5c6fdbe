"""Every driver's placeholders as the server's own: $1, $2, ...; what is no placeholder is not touched."""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType

from harness.doctor.sources.text import Text, words
from harness.scenario.lexer import BLANK, HOLE, Kind, Token, tokens

# The styles, by precedence: a statement that has one of them has none of the others, so that `?` beside $1 is jsonb's.
_STYLES = ((Kind.NUMBERED,), (Kind.HOLE,), (Kind.PYFORMAT, Kind.FORMAT), (Kind.NAMED,), (Kind.AT,), (Kind.QUESTION,))
_NUMBERED_QUESTION = re.compile(r"\?\d+")
_NAME = re.compile(r"(?:%\(|:'?|@|\#\{\s*(?:\w+\.)*|sqlc\.n?arg\(\s*'?|)([A-Za-z_]\w*)")
# After these an operand comes, so that ? is one. After any other word, and after operands, it is an operator.
_BEFORE_OPERAND = words(
    "all and any array between by case distinct else from having ilike in is limit like not offset on or returning "
    "select set similar some then to using values when where"
)


@dataclass(frozen=True, slots=True)
class Numbered:
    """A statement for the server, how many parameters it has, and what in it is neither SQL nor a parameter."""

    sql: str
    parameters: int
    dynamic: tuple[str, ...]


def numbered(
    text: Text,
    *,
    names: Set[int] = frozenset(),
    variables: Mapping[int, str] = MappingProxyType({}),
    hidden: Set[int] = frozenset(),
) -> Numbered:
    """Number the placeholders of a statement. Its tokens are told by number, blanks not counted.

    `names` name tables and columns: what is no name there cannot be known. `variables` are those of the function
    around the statement, each with its name: parameters, too. `hidden` is for that function, not for the server: it
    becomes a comment, so that tokens still correspond.
    """
    every = list(tokens(text.chars))
    style = _style(text, every)
    holes = iter(text.holes)
    numbers: dict[str, int] = {}
    parts: list[str] = []
    dynamic: list[str] = []
    placeholder = False  # whether the token before was one
    for position, before, token in _with_neighbours(every):
        inside = [next(holes) for _ in range(token.text.count(HOLE))] if text.holes else []
        known = not inside or (token.kind is Kind.HOLE and inside[0].parameter)
        named = position in names
        if token.kind in BLANK:
            parts.append(Text(token.text, (), tuple(inside)).written)
            continue
        stands = token.kind in style and (bool(inside) or _is_placeholder(before, token, operand=placeholder))
        placeholder = position in variables or stands
        if position in hidden:
            parts.append(f"/*{token.text}*/")
        elif not known or (named and placeholder) or token.kind is Kind.TEMPLATE or token.text.startswith(':"'):
            dynamic += [hole.source for hole in inside] or [token.text]
            parts.append(Text(token.text, (), tuple(inside)).written)
        elif placeholder:
            # The same name is the same parameter; every ?, every %s and every ${...} is another one.
            key = variables.get(position) or (token.text if _has_name(token) else f"#{len(numbers)}")
            parts.append(f"${numbers.setdefault(key, _number(token, len(numbers) + 1))}")
        else:
            parts.append(token.text.replace("%%", "%") if Kind.FORMAT in style else token.text)
    return Numbered("".join(parts), max(numbers.values(), default=0), tuple(dict.fromkeys(dynamic)))


def _with_neighbours(every: list[Token]) -> Iterator[tuple[int, Token | None, Token]]:
    """Its number among the tokens that matter (-1 for blanks), the one before it, the token."""
    position, before = -1, None
    for token in every:
        blank = token.kind in BLANK
        position += not blank
        yield -1 if blank else position, before, token
        before = before if blank else token


def _style(text: Text, every: list[Token]) -> tuple[Kind, ...]:
    kinds = {token.kind for token in every}
    for style in _STYLES:
        if style == (Kind.HOLE,):
            if any(hole.parameter for hole in text.holes):
                return style
        elif kinds & set(style):
            return style
    return ()


def _is_placeholder(before: Token | None, token: Token, *, operand: bool) -> bool:
    """Whether a ? is one, by what stands before it; `operand` says of another ? that it was one."""
    if token.kind is not Kind.QUESTION or _NUMBERED_QUESTION.fullmatch(token.text):
        return True
    if before is not None and before.kind is Kind.QUESTION:
        return not operand
    if before is None or before.kind is Kind.WORD:
        return before is not None and before.word in _BEFORE_OPERAND
    return before.kind is Kind.SYMBOL and before.text not in (")", "]")


def _has_name(token: Token) -> bool:
    return token.kind in (Kind.NUMBERED, Kind.PYFORMAT, Kind.NAMED, Kind.AT) or token.text[:1] == "?" != token.text


def _number(token: Token, free: int) -> int:
    """$7 is the seventh, ?2 the second; others take the next that is free."""
    return int(token.text[1:]) if re.fullmatch(r"[$?]\d+", token.text) else free


def names_in(text: str, sql: str) -> dict[int, str]:
    """What the parameters of `sql` are called in `text`, from which it was made: those that have a name there."""
    names: dict[int, str] = {}
    there = 0
    for token in tokens(sql):
        original = next(tokens(text, there), None)
        if original is None:
            break
        if token.kind is Kind.NUMBERED and original.kind is not Kind.NUMBERED:
            name = _NAME.match(original.text)
            if name is not None:
                names.setdefault(int(token.text[1:]), name[1])
        there = original.end
    return names


def without_hidden(text: str, sql: str) -> str:
    """The statement without the comments into which words of a function were made."""
    parts, there, gone = [], 0, False
    for token in tokens(sql):
        original = next(tokens(text, there), token)
        there = original.end
        hidden = token.kind is Kind.COMMENT and original.kind is not Kind.COMMENT
        if not hidden and not (gone and token.kind is Kind.SPACE):
            parts.append(token.text)
        gone = hidden
    return "".join(parts).rstrip()
