"""A mistake in a scenario file: what is wrong, where it stands, and what was probably meant."""

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

_HERE = str(Path(__file__).parent)


class Place(NamedTuple):
    """A line of a scenario file."""

    path: str
    line: int


class ScenarioError(Exception):
    """Something in a scenario file that must be mended before anything can run."""

    def __init__(self, message: str, path: str | Path | None = None, line: int | None = None) -> None:
        self.message = message
        self.path = None if path is None else str(path)
        self.line = line
        super().__init__(message)

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.path, self.line) if part is not None)
        return f"{place}: {self.message}" if place else self.message


def caller() -> Place:
    """Where the scenario file is that called into the language."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)


def guess(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'owned'?)`, or nothing when no known word is close."""
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def listed(words: Iterable[str]) -> str:
    """`owned, refunded`; `none` when there are none."""
    return ", ".join(words) or "none"


def known_ones(what: str, word: str, known: Iterable[str]) -> str:
    """` (did you mean 'purchase'?); operations are: purchase, refund`"""
    words = list(known)
    return f"{guess(word, words)}; {what} are: {listed(words)}"
