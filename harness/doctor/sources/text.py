"""Text that knows where it came from: every character has its place in a source, every template part its own."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from harness.scenario.lexer import HOLE


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class SourceError(Exception):
    """A source that cannot be used: what was expected, what was found, what to do."""


class SourceWarning(UserWarning):
    """A source of which a part could not be understood; what could be is used."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A part of a text that only the running program knows, as it stands in the source."""

    source: str
    parameter: bool = False  # the driver sends it beside the statement: sql`... ${name}`


@dataclass(frozen=True)
class Source:
    """A file, or something read like one."""

    file: str
    content: str

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.content))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """A line without its end; lines that are not there are empty."""
        if not 1 <= number <= len(self._line_starts):
            return ""
        ends = [*self._line_starts[number : number + 1], len(self.content) + 1]
        return self.content[self._line_starts[number - 1] : ends[0] - 1].rstrip("\r")

    def whole(self) -> "Text":
        return Text(self.content.replace(HOLE, " "), range(len(self.content)))


@dataclass(frozen=True, slots=True)
class Text:
    """Characters, the offset in the source of each, and what stands behind each HOLE among them."""

    chars: str
    offsets: Sequence[int]
    holes: tuple[Hole, ...] = ()

    def __getitem__(self, part: slice) -> "Text":
        start, stop, _ = part.indices(len(self.chars))
        before = self.chars.count(HOLE, 0, start) if self.holes else 0
        inside = self.chars.count(HOLE, start, stop) if self.holes else 0
        return Text(self.chars[start:stop], self.offsets[start:stop], self.holes[before : before + inside])

    @property
    def written(self) -> str:
        """The characters, with the source of the holes in their places."""
        parts = self.chars.split(HOLE) if self.holes else [self.chars]
        return "".join(chain.from_iterable(zip(parts, (*(hole.source for hole in self.holes), ""), strict=True)))

    def replaced(self, pattern: re.Pattern[str], *, parameter: bool = False) -> "Text":
        """With a hole in the place of every match; `%%` is no part but a percent sign."""
        parts, end = [], 0
        for match in pattern.finditer(self.chars):
            offset = self.offsets[match.start()]
            known = made("%", offset) if match[0] == "%%" else hole(offset, match[0], parameter=parameter)
            parts += [self[end : match.start()], known]
            end = match.end()
        return join([*parts, self[end : len(self.chars)]])

    def dedented(self) -> "Text":
        """Without the margin that all its lines share, as text blocks and heredocs are read."""
        starts = [0, *(match.end() for match in re.finditer("\n", self.chars))]
        lines = [self[a:b] for a, b in zip(starts, [*starts[1:], len(self.chars)], strict=True)]
        # What stands on the line of the opening quotes has no margin.
        margins = [len(line.chars) - len(line.chars.lstrip(" \t")) for line in lines[1:] if line.chars.strip()]
        cut = min(margins, default=0)
        return join([lines[0], *(line[min(cut, _indent(line.chars)) :] for line in lines[1:])])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def hole(offset: int, source: str, *, parameter: bool = False) -> Text:
    return Text(HOLE, (offset,), (Hole(source, parameter),))


def made(chars: str, offset: int) -> Text:
    """Characters that stand nowhere in the source, such as the separator of a join: they point to where they arise."""
    return Text(chars, (offset,) * len(chars))


def join(texts: Iterable[Text]) -> Text:
    parts = [text for text in texts if text.chars]
    if len(parts) == 1:
        return parts[0]
    offsets = tuple(chain.from_iterable(text.offsets for text in parts))
    return Text("".join(text.chars for text in parts), offsets, tuple(chain.from_iterable(t.holes for t in parts)))
