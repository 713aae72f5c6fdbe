"""A string literal read as its language reads it: escapes, doubled quotes, margins, template parts; places are kept."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.doctor.sources.languages import Escapes, Language
from harness.doctor.sources.text import Source, Text, join, made
from harness.scenario.lexer import HOLE

if TYPE_CHECKING:
    from tree_sitter import Node

_DELIMITERS = ('"', "'", "`", '"""', "string_start", "raw_string_start", "interpolation_start", "interpolation_quote")
_WITH_BODY = ("heredoc", "nowdoc")
_CONTENT = re.compile(r"content|fragment|escape|nowdoc_string")
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "0": "\0", "a": "\a"}
_ESCAPE = re.compile(
    r"""\\(?:
        x(?P<hex>[0-9a-fA-F]{1,2}) | u\{(?P<braced>[0-9a-fA-F]+)\} | [uU](?P<unicode>[0-9a-fA-F]{8}|[0-9a-fA-F]{4})
      | (?P<octal>[0-7]{2,3}) | (?P<newline>\r?\n) | (?P<other>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_QUOTE_ESCAPE = re.compile(r"\\(?P<other>[\\'])")
_NO_ESCAPE = re.compile(r"(?!)")


class Reader:
    """The literals of one parsed file."""

    def __init__(self, source: Source, language: Language, root: "Node") -> None:
        self.source, self.language = source, language
        content = source.content
        # Trees count bytes of UTF-8, places are characters.
        self._at = None if content.isascii() else [*_character_of_byte(content)]
        self._openings = _heredoc_openings(root)

    def span(self, node: "Node") -> tuple[int, int]:
        if self._at is None:
            return node.start_byte, node.end_byte
        return self._at[node.start_byte], self._at[node.end_byte]

    def written(self, node: "Node") -> str:
        start, end = self.span(node)
        return self.source.content[start:end]

    def pieces(self, node: "Node") -> Iterator["Text | tuple[int, str, list[Node]]"]:
        """What a literal is made of, in order: texts, and template parts (their place, source and expressions)."""
        opening = self._openings.get(node.id) or self.written(node)
        escapes = next(kind for pattern, kind in self.language.escapes if re.match(pattern, opening))
        braces = self.language.braces is not None and re.match(self.language.braces, opening) is not None
        start, end = self._inside(node)
        for first, last, nodes in self._parts(node):
            yield self._decoded(start, first, escapes, braces)
            yield first, self.source.content[first:last], nodes
            start = last
        yield self._decoded(start, end, escapes, braces)

    def is_block(self, node: "Node") -> bool:
        """Whether its margin is no part of it."""
        opening = self._openings.get(node.id) or self.written(node)
        return self.language.blocks is not None and re.match(self.language.blocks, opening) is not None

    def _inside(self, node: "Node") -> tuple[int, int]:
        """Where its content begins and ends, without quotes."""
        start, end = self.span(node)
        if node.type in _WITH_BODY:  # its body is a child; an empty one has none
            body = node.child_by_field_name("value")
            return self.span(body) if body is not None else (end, end)
        if node.type == "heredoc_body":
            return start, self.span(node.children[-1])[0]
        if not node.children:  # C#'s @"..." is one token
            return start + 2, end - 1
        leading = 0
        while leading < len(node.children) - 1 and node.children[leading].type in _DELIMITERS:
            leading += 1
        return self.span(node.children[leading - 1])[1] if leading else start, self.span(node.children[-1])[0]

    def _parts(self, node: "Node") -> Iterator[tuple[int, int, "list[Node]"]]:
        """The template parts: from, to, and the expressions in them."""
        body = node.child_by_field_name("value") if node.type in _WITH_BODY else node
        braced: list[Node] = []
        opened = None
        for child in body.children if body is not None else ():
            first, last = self.span(child)
            if child.type == "{":  # PHP's {$x->y}
                opened, braced = first, []
            elif child.type == "}" and opened is not None:
                yield opened, last, braced
                opened = None
            elif opened is not None:
                braced.append(child)
            elif child.is_named and not _CONTENT.search(child.type) and child.type not in _NOT_PARTS:
                inner = child.named_children if child.type in ("interpolation", "template_substitution") else [child]
                yield first, last, list(inner)

    def _decoded(self, start: int, end: int, escapes: Escapes, braces: bool) -> Text:
        raw = Text(self.source.content[start:end].replace(HOLE, " "), range(start, end))
        match escapes:
            case Escapes.NONE:
                pattern = _NO_ESCAPE
            case Escapes.DOUBLED:
                pattern = re.compile(r'"(?P<other>")')
            case Escapes.QUOTES:
                pattern = _QUOTE_ESCAPE
            case _:
                pattern = _ESCAPE
        if braces:
            pattern = re.compile(rf"{pattern.pattern}|(?P<brace>\{{\{{|\}}\}})", pattern.flags)
        if not pattern.search(raw.chars):
            return raw
        parts, done = [], 0
        for match in pattern.finditer(raw.chars):
            parts += [raw[done : match.start()], made(_meaning(match, escapes), start + match.start())]
            done = match.end()
        return join([*parts, raw[done : end - start]])


_NOT_PARTS = (*_DELIMITERS, "string_end", "raw_string_end", "heredoc_end", "heredoc_start")


def _meaning(match: re.Match[str], escapes: Escapes) -> str:
    """What an escape stands for."""
    found = {name: text for name, text in match.groupdict().items() if text is not None}
    match found:
        case {"brace": brace}:
            return brace[0]
        case {"hex": digits} | {"unicode": digits} | {"braced": digits}:
            return chr(int(digits, 16)) if int(digits, 16) < 0x11_0000 else " "
        case {"octal": digits}:
            return chr(int(digits, 8))
        case {"newline": _}:
            return ""
    other = found["other"]
    if escapes in (Escapes.DOUBLED, Escapes.QUOTES) or other in "\\'\"`$":
        return other
    return _SIMPLE.get(other) or (other if escapes is Escapes.ALL else match[0])


def _character_of_byte(content: str) -> Iterator[int]:
    for number, character in enumerate(content):
        yield from (number,) * len(character.encode())
    yield len(content)


def _heredoc_openings(root: "Node") -> dict[int, str]:
    """Ruby's heredocs say at another place how they are to be read: bodies come in the order of the beginnings."""
    beginnings: list[str] = []
    bodies: list[int] = []
    todo = [root] if b"<<" in (root.text or b"") else []
    while todo:
        node = todo.pop()
        if node.type == "heredoc_beginning":
            beginnings.append((node.text or b"").decode())
        elif node.type == "heredoc_body":
            bodies.append(node.id)
        todo += reversed(node.children)
    return dict(zip(bodies, beginnings, strict=False))
