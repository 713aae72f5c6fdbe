"""Lets a generator draw each choice: 0 is "the running session goes on", so that smaller draws have fewer switches."""

from collections.abc import Callable, Sequence


class Drawn:
    """One trial whose choices are the draws of a generator, such as Hypothesis' own.

    Hypothesis shrinks a choice towards 0 and deletes what it can (MacIver and Donaldson, ECOOP 2020). Here 0 means that
    whoever went last goes on, or else the first who can: shrinking a schedule takes preemptions out of it.
    """

    def __init__(self, draw: Callable[[int], int]) -> None:
        """`draw(n)` gives a number from 0 up to and without n."""
        self._draw, self._fresh = draw, True

    def new_trial(self) -> bool:
        fresh, self._fresh = self._fresh, False
        return fresh

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        if len(options) == 1:
            return options[0]
        first = options[0] if current is None else current
        return (first, *(option for option in options if option != first))[self._draw(len(options))]

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        """Nothing is learned from one trial for the next: that is the generator's part."""
