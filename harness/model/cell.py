"""A cell is what gets a verdict: scenario x strategy x layout x state x isolation x server; and its canonical id."""

import re
from dataclasses import dataclass, field
from enum import StrEnum


class Isolation(StrEnum):
    """The isolation levels PostgreSQL distinguishes (chapter 13.2), spelt as in ids and JSON."""

    READ_COMMITTED = "read_committed"
    REPEATABLE_READ = "repeatable_read"
    SERIALIZABLE = "serializable"

    @property
    def sql(self) -> str:
        """As `default_transaction_isolation` spells it."""
        return self.value.replace("_", " ")


class IdError(ValueError):
    """A cell id or pattern that cannot be read; the message shows it and what was expected."""


@dataclass(frozen=True, slots=True)
class Cell:
    scenario: str
    strategy: str
    layout: str
    state: str
    isolation: Isolation
    server: str  # "pg18"; "pg18.4" where two servers of one major version are explored together
    version: str = field(default="", compare=False)  # of the server, with its minor, where that is known: "18.4"

    @property
    def id(self) -> str:
        """`purchases::ShippedFix[partial,owned,read_committed,pg18]`"""
        return f"{self.scenario}::{self.strategy}[{self.layout},{self.state},{self.isolation},{self.server}]"


@dataclass(frozen=True, slots=True)
class CellPattern:
    """A cell id of which any part may be left out: None matches everything."""

    source: str | None = None  # a scenario's name, or the path of its file
    strategy: str | None = None
    words: tuple[str, ...] = ()  # what stood between the brackets; each names a layout, state, isolation or server

    def matches(self, cell: Cell) -> bool:
        """Whether the cell is one of those meant. The source is compared by whoever resolved it to a scenario."""
        parts = (cell.layout, cell.state, cell.isolation.value, cell.server)
        return self.strategy in (None, cell.strategy) and all(word in parts for word in self.words)


_ID = re.compile(r"(?P<source>[^\[\]]*?)(?:::(?P<strategy>\w+))?(?:\[(?P<words>[^\[\]]*)\])?", re.ASCII)


def parse_pattern(text: str) -> CellPattern:
    """Read `purchases`, `purchases::ShippedFix`, `file.py::ShippedFix[partial]`...

    Raises IdError when the text is none of these.
    """
    match = _ID.fullmatch(text.strip())
    if match is None:
        raise IdError(
            f"{text!r} is no cell: expected scenario::strategy[layout,state,isolation,server], parts may be left out"
        )
    words = tuple(word.strip() for word in (match["words"] or "").split(",") if word.strip())
    return CellPattern(match["source"] or None, match["strategy"], words)
