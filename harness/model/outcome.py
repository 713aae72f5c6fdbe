"""What a trial came to: canonical live rows, and what every client was told."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from harness.model.contest import OpRef
from harness.model.sqlstate import describe


@dataclass(frozen=True, slots=True)
class Ok:
    value: object = None

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, slots=True)
class Refused:
    """A failure that the scenario lists as a normal answer, such as AlreadyPurchased."""

    reason: str

    def __str__(self) -> str:
        return f"refused: {self.reason}"


@dataclass(frozen=True, slots=True)
class Failed:
    sqlstate: str
    message: str = ""

    def __str__(self) -> str:
        return describe(self.sqlstate)

    # Two failures are the same answer if their SQLSTATE is: messages carry ids and depend on lc_messages.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Failed) and other.sqlstate == self.sqlstate

    def __hash__(self) -> int:
        return hash(self.sqlstate)


@dataclass(frozen=True, slots=True)
class Crashed:
    exception: str  # "KeyError: 'token'"

    def __str__(self) -> str:
        return f"crashed: {self.exception}"


@dataclass(frozen=True, slots=True)
class Unknown:
    """The connection died in COMMIT: the client cannot know, and neither can we."""

    def __str__(self) -> str:
        return "unknown: the connection was lost"


Answer = Ok | Refused | Failed | Crashed | Unknown

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one table in canonical form: generated ids renamed, times of the trial `<now>`, sorted."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


Rows = tuple[Table, ...]

_MADE_UP = re.compile(r"\w+#\d+")  # a generated id, renamed by first appearance


def change(before: Rows, after: Rows) -> Counter[tuple[str, Row]]:
    """How often each row was added (negative: taken away); generated ids are all alike."""

    def counted(rows: Rows) -> Counter[tuple[str, Row]]:
        return Counter((table.name, tuple(map(_without_id, row))) for table in rows for row in table.rows)

    changed = counted(after)
    changed.subtract(counted(before))
    return Counter({row: count for row, count in changed.items() if count})


def _without_id(value: object) -> object:
    return "#" if isinstance(value, str) and _MADE_UP.fullmatch(value) else value


@dataclass(frozen=True, slots=True)
class Outcome:
    rows: Rows
    answers: tuple[tuple[OpRef, Answer], ...]  # sorted by operation; operations left out have none

    def answer(self, ref: OpRef) -> Answer:
        return dict(self.answers)[ref]

    @property
    def told(self) -> Mapping[OpRef, Answer]:
        return dict(self.answers)
