"""Where in a file a diagnosis points to: the words of the statement that it is about."""

from dataclasses import dataclass

from harness.doctor.anatomy import Unreadable, shapes
from harness.doctor.examine import Diagnosis
from harness.doctor.statement import Statement

_ON_ACTION = ("D111", "D203", "D204", "D205", "D208")
_ON_ROWS = ("D116", "D303")
_ON_TABLE = ("D109", "D114", "D117", "D118", "D301", "D302")


@dataclass(frozen=True, slots=True)
class Place:
    """Lines and columns from 1, as editors count; the end is behind the last character."""

    line: int
    column: int
    end_line: int
    end_column: int


def place_of(statement: Statement, diagnosis: Diagnosis) -> Place:
    """Of the part that the diagnosis is about; of the first word where the parts cannot be told."""
    start, end = _span(statement.text, diagnosis)
    line, column = _position(statement, start)
    end_line, end_column = _position(statement, end)
    return Place(line, column, end_line, end_column)


def _position(statement: Statement, offset: int) -> tuple[int, int]:
    before = statement.text[:offset]
    line = statement.line + before.count("\n")
    behind = len(before) - before.rfind("\n") - 1
    return line, behind + (statement.column if "\n" not in before else 1)


def _span(text: str, diagnosis: Diagnosis) -> tuple[int, int]:
    try:
        shape = shapes(text)[diagnosis.number]
    except (Unreadable, IndexError):
        first = text.split(maxsplit=1)[0] if text.split() else ""
        return 0, len(first)
    if shape.conflict is None or diagnosis.code in _ON_TABLE[1:] or diagnosis.code == "D199":
        return shape.written
    if diagnosis.code in _ON_ACTION:
        return _trimmed(text, shape.conflict.act)
    if diagnosis.code in _ON_ROWS and shape.query is not None:
        return shape.query
    found = _trimmed(text, shape.conflict.target)
    return found if found[0] < found[1] else _trimmed(text, shape.conflict.act)


def _trimmed(text: str, span: tuple[int, int]) -> tuple[int, int]:
    inside = text[slice(*span)]
    start = span[0] + len(inside) - len(inside.lstrip())
    return start, max(start, span[0] + len(inside.rstrip()))
