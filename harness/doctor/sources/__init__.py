"""Where statements and schemas come from: for now .sql files, texts and standard input."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import psycopg

from harness.doctor.statement import Statement
from harness.scenario.sql import split
from harness.servers.server import one_line

_IGNORE = re.compile(r"--\s*harness:\s*ignore([ \tD0-9,]*)")
_LEADING = re.compile(r"(?:\s+|--[^\n]*\n?|/\*.*?\*/)*", re.DOTALL)


class SourceError(Exception):
    """A source that cannot be read, or a schema that cannot be loaded: which, and why."""


def statements(paths: Sequence[str], texts: Sequence[str], stdin: TextIO | None) -> Iterator[Statement]:
    """Every statement of the files, of the texts, and of standard input where it is given."""
    for path in paths:
        yield from _of(path, Path(path).read_text(encoding="utf-8"))
    for text in texts:
        yield from _of("-e", text)
    if stdin is not None:
        yield from _of("<stdin>", stdin.read())


def _of(file: str, text: str) -> Iterator[Statement]:
    end = 0
    for part in split(text):
        start = text.index(part, end)
        end = start + len(part)
        leading = _LEADING.match(part)
        first = start + (leading.end() if leading else 0)
        sql = text[first:end]
        line = text.count("\n", 0, first) + 1
        column = first - text.rfind("\n", 0, first)
        numbers = [int(number) for number in re.findall(r"\$(\d+)", sql)]
        ignored = frozenset(code for told in _IGNORE.findall(part) for code in (re.findall(r"D\d+", told) or ["*"]))
        yield Statement(file, line, column, sql, sql, max(numbers, default=0), ignored)


def load_schema(connection: psycopg.Connection[Any], paths: Sequence[str]) -> None:
    """Replays schema files, or the .sql files of a folder in the order of their names. Raises SourceError."""
    for path in map(Path, paths):
        for file in sorted(path.glob("*.sql")) if path.is_dir() else [path]:
            try:
                connection.execute(file.read_bytes())
            except psycopg.Error as error:
                raise SourceError(f"{file}: {one_line(error)}") from None
