"""One order of each class of equivalent orders: depth first; what was tried sleeps until something depends on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from harness.schedulers.protocol import Departure, Pruned, names

Touched = TypeVar("Touched")
"""What a step touched, as the dependence relation takes it. Schedulers need not know what that is."""


@dataclass
class _Point(Generic[Touched]):
    """A choice on the path from the root to where the trial is."""

    options: tuple[int, ...]
    event: str
    asleep: dict[int, Touched]  # whose next step would only repeat, in another order, what was explored already
    chosen: int
    tried: set[int] = field(default_factory=set)
    touched: Touched | None = None  # by the step that was chosen last


class SleepSets(Generic[Touched]):
    """Sleep sets (Godefroid, Partial-Order Methods for the Verification of Concurrent Systems, LNCS 1032, chapter 5).

    Two orders are equivalent if one becomes the other by swapping neighbouring steps that are independent; of each
    class exactly one is run to its end. A step that was explored at a point sleeps in what is explored there after it,
    until a step that depends on it is taken. A trial in which everybody who could go on sleeps is Pruned.

    Differs from the book in that a step's transition is known only after it was taken (`observe`): a point is revisited
    by running its prefix again, and what a session touches is what it touched when it was tried there. Who loses a
    deadlock is a choice without a step of its own: all of its options are taken.
    """

    def __init__(self, dependent: Callable[[Touched, Touched], bool]) -> None:
        self._dependent = dependent
        self._path: list[_Point[Touched]] = []
        self._begun = False
        self._depth = 0
        self._last: _Point[Touched] | None = None  # whose step is being taken
        self.classes = 0  # trials run to their end
        self.pruned = 0  # begun, and given up as equivalent to an earlier one

    def new_trial(self) -> bool:
        self._depth, self._last = 0, None
        if not self._begun:
            self._begun = True
            return True
        path = self._path
        while path:
            point = path[-1]
            point.tried.add(point.chosen)
            if point.touched is not None:
                point.asleep[point.chosen] = point.touched
            left = [o for o in point.options if o not in point.tried and o not in point.asleep]
            if left:
                point.chosen, point.touched = left[0], None
                return True
            path.pop()
        return False

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        depth, self._depth = self._depth, self._depth + 1
        if depth < len(self._path):
            point = self._path[depth]
            if (options, event) != (point.options, point.event):
                raise Departure(depth + 1, f"{names(point.options)} to be able to go on", names(options))
        else:
            asleep = self._asleep() if event == "run" else {}
            awake = [o for o in options if o not in asleep]
            if not awake:
                self.pruned += 1
                raise Pruned
            point = _Point(options, event, asleep, current if current in awake else awake[0])
            self._path.append(point)
        if event == "run":
            self._last = point
        return point.chosen

    def _asleep(self) -> dict[int, Touched]:
        """Who slept before the last step, without whom it woke."""
        last = self._last
        if last is None or last.touched is None:
            return {}
        touched, dependent = last.touched, self._dependent
        return {s: t for s, t in last.asleep.items() if s != last.chosen and not dependent(t, touched)}

    @property
    def progress(self) -> float:
        """Which part of the tree is behind us, if all that can be chosen at a point has equally much below it.

        After Kilby, Slaney, Thiebaux and Walsh, Estimating search tree size (AAAI 2006).
        """
        done, share = 0.0, 1.0
        for point in self._path:
            awake = sum(o in point.tried or o not in point.asleep for o in point.options)
            done += share * len(point.tried) / awake
            share /= awake
        return done

    def observe(self, touched: Touched) -> None:
        """What the step that was chosen last has touched, with all that it set going."""
        if self._last is not None:
            self._last.touched = touched

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        if len(choices) < len(self._path):
            raise Departure(len(choices) + 1, names((self._path[len(choices)].chosen,)), "the end")
        self.classes += 1
