"""How far a campaign is: a bar on a terminal, a line now and then in a log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from harness.campaign.campaign import Note, Progress
from harness.model.verdict import CellResult, Verdict

LINE_EVERY_S = 10.0


class Listener(Protocol):
    """What a campaign tells its progress to."""

    def __call__(self, event: CellResult | Progress | Note, /) -> None: ...


@contextmanager
def progress(console: Console) -> Iterator[Listener]:
    """A listener for the time of the block. Cells that are worse than expected are named as soon as they are known."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("exploring"),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        yield _Live(bar)


def worse(result: CellResult) -> str:
    kinds = ", ".join(dict.fromkeys(finding.violation.name for finding in result.findings))
    return f"worse than expected: {result.cell.id}: {result.verdict}{f' {kinds}' if kinds else ''}"


def _is_worse(result: CellResult) -> bool:
    """Unknown cells are told in the end: out of time, there may be hundreds."""
    return not result.as_expected and result.verdict is not Verdict.UNKNOWN


class _Live:
    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def __call__(self, event: CellResult | Progress | Note, /) -> None:
        if isinstance(event, Progress):
            # Not markup: a cell's id has brackets.
            self._bar.update(
                self._task, completed=event.done, total=event.total, description=event.text.replace("[", r"\[")
            )
        elif isinstance(event, Note) or _is_worse(event):
            text = event.text if isinstance(event, Note) else worse(event)
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = time.monotonic()

    def __call__(self, event: CellResult | Progress | Note, /) -> None:
        if isinstance(event, Note):
            self._say(event.text)
        elif isinstance(event, CellResult):
            if _is_worse(event):
                self._say(worse(event))
        elif time.monotonic() - self._said >= LINE_EVERY_S or event.done == event.total:
            self._said = time.monotonic()
            self._say(f"{event.done}/{event.total} {event.text}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
