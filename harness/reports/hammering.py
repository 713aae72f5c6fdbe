"""How a hammer is doing: rate, failures, violations, the time left; live on a terminal, by lines in a log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from harness.campaign.hammered import HammerResult, Racing

LINE_EVERY_S = 10.0


class Listener(Protocol):
    def __call__(self, event: HammerResult | Racing, /) -> None: ...


@contextmanager
def hammering(console: Console) -> Iterator[Listener]:
    """A listener for the time of the block. Cells that are worse than expected are named as soon as they are known."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.fields[place]}"), BarColumn(16), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Live(bar)


def doing(event: Racing) -> str:
    """`12,300/s 23505 x17, duplicate x3; 4 s left`"""
    told = [f"{name} x{count:,}" for name, count in (*event.failures, *event.violations)]
    return f"{event.calls_per_s:,.0f}/s{' ' if told else ''}{', '.join(told)}; {event.left_s:.0f} s left"


def worse(result: HammerResult) -> str:
    return f"worse than expected: {result.cell.id}: {result.verdict} {', '.join(result.names) or result.reason}"


class _Live:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, place="")

    def __call__(self, event: HammerResult | Racing, /) -> None:
        if isinstance(event, Racing):
            words = f"{event.cell.id} {doing(event)}".replace("[", r"\[")  # not markup
            self._bar.update(
                self._task,
                completed=event.number - 1,
                total=event.cells,
                place=f"{event.number}/{event.cells}",
                description=words,
            )
        elif not event.as_expected:
            self._bar.console.print(worse(event), markup=False, highlight=False, soft_wrap=True)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = time.monotonic()

    def __call__(self, event: HammerResult | Racing, /) -> None:
        if isinstance(event, HammerResult):
            if not event.as_expected:
                self._say(worse(event))
        elif time.monotonic() - self._said >= LINE_EVERY_S:
            self._said = time.monotonic()
            self._say(f"{event.number}/{event.cells} {event.cell.id} {doing(event)}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
