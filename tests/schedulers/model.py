"""A model of sessions without a server: so many steps each, one lock at most; and all orders, by plain recursion."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as generators

from harness.model.cell import Cell, Isolation
from harness.model.contest import Contest
from harness.model.schedule import Choice, Gates, Schedule
from harness.schedulers.protocol import Scheduler

Choices = list[tuple[int, tuple[int, ...], str]]
Order = tuple[int, ...]


class Model:
    """Sessions of so many steps each. `locks`: a session holds the one lock from its first step to its last."""

    def __init__(self, steps: Sequence[int], locks: bool = False) -> None:
        self._left, self._steps, self._locks = list(steps), tuple(steps), locks

    def options(self) -> tuple[int, ...]:
        able = [s for s, left in enumerate(self._left) if left]
        holder = [s for s in able if self._left[s] < self._steps[s]]
        return tuple(holder if self._locks and holder else able)

    def go(self, session: int) -> None:
        self._left[session] -= 1


def follow(model: Model, scheduler: Scheduler) -> Choices:
    """One trial, as the hub runs it."""
    choices: Choices = []
    current: int | None = None
    while options := model.options():
        chosen = scheduler.choose(options, current if current in options else None, "run")
        assert chosen in options
        choices.append((chosen, options, "run"))
        model.go(chosen)
        current = chosen
    scheduler.finished(choices)
    return choices


def explored(steps: Sequence[int], scheduler: Scheduler, *, locks: bool = False) -> list[Choices]:
    found = []
    while scheduler.new_trial():
        found.append(follow(Model(steps, locks), scheduler))
    return found


def order(choices: Choices) -> Order:
    return tuple(session for session, _, _ in choices)


def preemptions(choices: Choices) -> int:
    """Switches away from a session that could have gone on."""
    pairs = pairwise(choices)
    return sum(after != before and before in options for (before, _, _), (after, options, _) in pairs)


def schedule(choices: Choices) -> Schedule:
    cell = Cell("scenario", "strategy", "none", "new", Isolation.READ_COMMITTED, "pg18")
    return Schedule(cell, Contest("new", (), ""), tuple(Choice(*choice) for choice in choices), Gates.NONE, False, "")


def every_order(steps: Sequence[int], *, locks: bool = False) -> list[Choices]:
    """All there are, by plain recursion."""

    def extend(done: Choices) -> list[Choices]:
        model = Model(steps, locks)
        for session, _, _ in done:
            model.go(session)
        options = model.options()
        return [full for one in options for full in extend([*done, (one, options, "run")])] if options else [done]

    return extend([])


few_sessions = generators.lists(generators.integers(0, 3), min_size=1, max_size=3)
