"""Rows and their marks, as a table of 100 columns and as JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .rows import Bench


class NotMeasured(Exception):
    """Why a row has no value here."""


@dataclass(frozen=True, slots=True)
class Mark:
    sign: str  # "<=" or ">="
    bound: float

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"

    def met(self, value: float) -> bool:
        return value <= self.bound if self.sign == "<=" else value >= self.bound


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    unit: str
    mark: Mark | None
    measure: "Callable[[Bench], float]"


ROWS: list[Row] = []


def row(
    name: str, unit: str, *, at_most: float | None = None, at_least: float | None = None
) -> "Callable[[Callable[[Bench], float]], Callable[[Bench], float]]":
    """Adds a row: a function that measures one figure, or raises NotMeasured."""
    mark = Mark("<=", at_most) if at_most is not None else Mark(">=", at_least) if at_least is not None else None

    def add(measure: "Callable[[Bench], float]") -> "Callable[[Bench], float]":
        ROWS.append(Row(name, unit, mark, measure))
        return measure

    return add


@dataclass(frozen=True, slots=True)
class Measured:
    row: Row
    value: float | None
    why_not: str = ""

    @property
    def met(self) -> bool | None:
        """None: not measured, or there is no mark."""
        return None if self.value is None or self.row.mark is None else self.row.mark.met(self.value)

    def json(self) -> dict[str, object]:
        mark = None if self.row.mark is None else str(self.row.mark)
        told: dict[str, object] = {"value": self.value, "unit": self.row.unit, "mark": mark, "met": self.met}
        return told | ({"why_not": self.why_not} if self.why_not else {})

    def line(self) -> str:
        if self.value is None:
            return f"{self.row.name:<50} {self.why_not:>35} {'not measured':>13}"
        mark = str(self.row.mark or "")
        met = {True: "yes", False: "no", None: ""}[self.met]
        return f"{self.row.name:<50} {shown(self.value):>9} {self.row.unit:<15} {mark:>9} {met:>13}"


def heading() -> str:
    return f"{'name':<50} {'value':>9} {'unit':<15} {'mark':>9} {'met':>13}"


def shown(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def put(page: str, text: str, begin: str, end: str) -> str:
    """The page with the text between its marks. Raises ValueError where it has none."""
    before, first, rest = page.partition(begin)
    _, last, after = rest.partition(end)
    if not first or not last:
        raise ValueError(f"no marks in this page: expected {begin} and {end}, each on a line of its own")
    return f"{before}{begin}\n{text}\n{end}{after}"
