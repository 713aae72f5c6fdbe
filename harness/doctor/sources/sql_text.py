"""SQL as files hold it: commands, and the static statements inside functions, whose variables are parameters."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from harness.doctor.sources.found import Found, made_of
from harness.doctor.sources.outline import Outline, name_end
from harness.doctor.sources.text import Source, Text
from harness.scenario.lexer import Command, Kind, Token, Tokens, closing, commands, split_at

_ROUTINE = re.compile(r"create (or replace )?(function|procedure)\b|do\b")
_BODY_QUOTES = re.compile(r"\$\w*\$|'")
_MODES = ("in", "out", "inout", "variadic")
_STARTERS = ("insert", "merge", "update", "delete", "select", "with", "perform")
# plpgsql: after these a statement may begin (src/pl/plpgsql/src/pl_gram.y, proc_sect and its kin).
_BEFORE_STATEMENT = (";", "begin", "then", "else", "loop", "query", ">", "in", "for")
_RECORDS = ("new", "old")


def groups_in(source: Source) -> Iterator[tuple[Found, ...]]:
    """The statements of a text of SQL: those of one function together, others alone."""
    text = source.whole()
    for command in commands(text.chars, psql=True):
        if _ROUTINE.match(command.words(4)):
            inside = tuple(_inside(command, text, source))
            if inside:
                yield inside
        else:
            found = made_of(command.tokens, text, source)
            if found is not None:
                yield (found,)


@dataclass(frozen=True, slots=True)
class Routine:
    """A function's names: what they mean in its statements, as plpgsql_post_column_ref would resolve them."""

    name: str
    names: frozenset[str]
    records: frozenset[str]

    def variables(self, tokens: Tokens, outline: Outline) -> Mapping[int, str]:
        """The tokens that are variables. Columns to write to and names of tables are none, whatever they are called."""
        found: dict[int, str] = {}
        for at, token in enumerate(tokens):
            name, before = token.name, tokens[at - 1].text if at else ""
            after = tokens[at + 1].text if at + 1 < len(tokens) else ""
            if at in outline.names or after == "(" or before in (".", "::"):
                continue
            if self._is_qualified(tokens, at):
                found[at] = tokens[at + 2].name
            if name not in self.names | self.records:
                continue
            if before.lower() in ("set", "as") or (before == "," and after == "="):
                continue
            if after != ".":
                found[at] = name
            elif name in self.records and at + 2 < len(tokens):
                found[at] = f"{name}.{tokens[at + 2].name}"
        return found

    def hidden(self, tokens: Tokens) -> frozenset[int]:
        """What is not for the server: INTO a variable, and the field of a record that has become a parameter."""
        words = [token.word for token in tokens]
        hidden: set[int] = set()
        for at, word in enumerate(words):
            if word == "into" and at and words[at - 1] not in ("insert", "merge"):
                end = at + 1 + (words[at + 1 : at + 2] == ["strict"])
                end = name_end(tokens, end)
                while words[end : end + 1] == [","] and tokens[end + 1].name in self.names | self.records:
                    end = name_end(tokens, end + 1)
                hidden.update(range(at, end))
            elif words[at + 1 : at + 2] == ["."] and (
                tokens[at].name in self.records or self._is_qualified(tokens, at)
            ):
                hidden.update((at + 1, at + 2))
        return frozenset(hidden)

    def _is_qualified(self, tokens: Tokens, at: int) -> bool:
        """`my_function.argument`"""
        after = tokens[at + 1 : at + 3]
        return tokens[at].name == self.name and len(after) == 2 and after[0].text == "." and after[1].name in self.names


def _inside(command: Command, text: Text, source: Source) -> Iterator[Found]:
    routine = _head(command.tokens)
    for body in _bodies(command.tokens):
        quotes = _BODY_QUOTES.match(body.text)
        if quotes is None:
            continue
        # A quoted body keeps its doubled quotes: statements with strings in them are rare there, and told as they are.
        inner = text[body.start + quotes.end() : body.end - quotes.end()]
        own = _declared(routine, list(_all_tokens(inner)))
        for tokens in _statements(list(_all_tokens(inner))):
            found = made_of(tokens, inner, source, scope=own)
            if found is not None:
                yield found
    if (atomic := _atomic(command.tokens)) is not None:
        for tokens in _statements(atomic):
            found = made_of(tokens, text, source, scope=routine)
            if found is not None:
                yield found


def _all_tokens(text: Text) -> Iterator[Token]:
    """The tokens of a body, semicolons put back between its commands."""
    for command in commands(text.chars):
        yield from command.tokens
        yield Token(Kind.SYMBOL, ";", command.end, command.end)


def _head(tokens: Tokens) -> Routine:
    """The names that CREATE FUNCTION gives to arguments and results."""
    words = [token.word for token in tokens]
    start = next((at for at, word in enumerate(words) if word in ("function", "procedure")), None)
    if start is None:
        return Routine("", frozenset(), frozenset())
    end = name_end(tokens, start + 1)
    names: set[str] = set()
    lists = [end] if words[end : end + 1] == ["("] else []
    lists += [at + 2 for at in range(end, len(tokens) - 2) if words[at : at + 3] == ["returns", "table", "("]]
    for opening in lists:
        for element in split_at(",", tokens[opening + 1 : closing(tokens, opening)]):
            named = element[1:] if element[0].word in _MODES else element
            names.update(filter(None, [named[0].name] if len(named) > 1 else []))
    return Routine(tokens[end - 1].name, frozenset(names), frozenset())


def _bodies(tokens: Tokens) -> Iterator[Token]:
    for before, token in pairwise(tokens):
        if before.word in ("as", "do") and token.kind in (Kind.DOLLAR, Kind.STRING):
            yield token
    if tokens[0].word == "do" and tokens[1].word == "language":
        yield from (token for token in tokens if token.kind is Kind.DOLLAR)


def _atomic(tokens: Tokens) -> Tokens | None:
    """The inside of BEGIN ATOMIC ... END."""
    for at, token in enumerate(tokens):
        if token.word == "atomic" and tokens[at - 1].word == "begin":
            return tokens[at + 1 : -1]
    return None


def _declared(routine: Routine, tokens: Tokens) -> Routine:
    """With what DECLARE and FOR ... IN add."""
    names, records = set(routine.names), set(_RECORDS)
    declaring = False
    for at, token in enumerate(tokens):
        before = tokens[at - 1].word if at else ""
        declaring = token.word == "declare" or (declaring and token.word != "begin")
        if declaring and before in ("declare", ";") and token.kind in (Kind.WORD, Kind.NAME):
            rest = [other.word for other in tokens[at + 1 : at + 12]]
            kind = rest[: rest.index(";")] if ";" in rest else rest
            (records if "record" in kind or "rowtype" in kind else names).add(token.name)
        elif before == "for" and tokens[at + 1 : at + 2] and tokens[at + 1].word == "in":
            records.add(token.name)
    return Routine(routine.name, frozenset(names - {""}), frozenset(records - {""}))


def _statements(tokens: Tokens) -> Iterator[Tokens]:
    """The SQL among a function's own control flow, in order."""
    at = 0
    while at < len(tokens):
        before = tokens[at - 1].word if at else ";"
        if tokens[at].word in _STARTERS and before in (*_BEFORE_STATEMENT, "("):
            end = _statement_end(tokens, at, looping=before == "in")
            yield _performed(tokens[at:end])
            at = end
        at += 1


def _statement_end(tokens: Tokens, start: int, *, looping: bool) -> int:
    """One past its last token: up to a semicolon, the LOOP it feeds, or the parenthesis it stands in."""
    depth = 0
    for at in range(start, len(tokens)):
        text = tokens[at].text
        depth += (text in ("(", "[")) - (text in (")", "]"))
        if depth < 0 or (depth == 0 and (text == ";" or (looping and tokens[at].word == "loop"))):
            return at
    return len(tokens)


def _performed(tokens: Tokens) -> Tokens:
    """PERFORM is plpgsql's SELECT whose result nobody wants."""
    first = tokens[0]
    return tokens if first.word != "perform" else (first._replace(text="SELECT"), *tokens[1:])
