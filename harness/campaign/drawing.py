"""Contests and schedules drawn by Hypothesis, run by the explorer: what the small scope does not have.

One choice sequence: the contest, its arguments, the schedule, the gates somebody is held at and the client that fails
are all draws of one example, so that one shrinker makes all of it small. Only the explorer runs in here, never the
hammer: an example has to fail again when it is run again (Hypothesis: Flaky).
"""

import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, reject, seed, settings
from hypothesis import strategies as st
from hypothesis.database import ExampleDatabase
from hypothesis.errors import Flaky, HypothesisException, Unsatisfiable
from hypothesis.strategies import SearchStrategy

from harness.campaign.judge import DoesNotRepeat, Judge
from harness.model.cell import Cell
from harness.model.contest import Contest
from harness.model.schedule import Failing, Fault
from harness.model.verdict import Violation
from harness.runners.explorer import Trial
from harness.schedulers.drawn import Drawn
from harness.sessions.control import SqlRefused
from harness.sessions.steering import OrderLost

SHRINKS_MAX = 8  # then the smaller contests are explored instead: from there on that is faster
COMMANDS_MAX = 12  # of one session: where a client may fail

Draw = Callable[[SearchStrategy[Any]], Any]


class Violated(AssertionError):
    """A drawn trial is a violation. Each kind has a subclass of its own: Hypothesis tells failures apart by type."""


class _Stop(KeyboardInterrupt):
    """Ends a run of Hypothesis where it is, as Ctrl-C does: an exception it would take for a failure of the example."""


@cache
def violated(kind: str) -> type[Violated]:
    return type(f"Violated_{re.sub('[^A-Za-z0-9]', '_', kind)}", (Violated,), {})


def kind_of(violation: Violation, trial: Trial) -> str:
    """What fails one call at a time is another fault than what fails in a race, by whatever name both go."""
    by_name = violation.kind == "wrong-alone" or trial.overlapped
    return violation.name if by_name else f"{violation.name} alone"


@dataclass(frozen=True, slots=True)
class Shown:
    """An example: what was drawn, and what it came to."""

    contest: Contest
    trial: Trial
    fault: Fault | None
    violation: Violation | None

    @property
    def kind(self) -> str:
        return kind_of(self.violation, self.trial) if self.violation else "passed"


@dataclass(frozen=True, slots=True)
class Found:
    """A failure as it was drawn first, and as Hypothesis left it."""

    first: Shown
    least: Shown
    drawn: int  # trials until the first one
    shrinks: int  # trials from there on
    found_s: float  # time.perf_counter() when the first one failed


@dataclass
class Drawing:
    """Draws in one cell. The arena's gates are as the cell has them; `meets` says whether sessions share a key."""

    judge: Judge
    contests: SearchStrategy[Contest]
    meets: Callable[[Contest], bool]
    check_budget: Callable[[], None] = lambda: None
    faults: bool = False
    database: ExampleDatabase | None = None
    drawn: int = 0  # trials that ran to their end
    met: int = 0  # of them, those in which two sessions work on a common key
    refused: int = 0  # examples whose arguments the operations themselves refuse, or whose state cannot be made
    not_explored: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # sessions and calls of what was drawn

    def shown(self, draw: Draw, ignored: frozenset[str] = frozenset()) -> Shown:
        """Draw a contest and run it while drawing its schedule. Rejects what cannot be run."""
        self.check_budget()
        contest = draw(self.contests)
        explorer, judge = self.judge.explorer, self.judge
        try:
            explorer.start(contest)
            judge.specification.prepare(contest)
        except SqlRefused:
            self.refused += 1
            reject()
        fault = self._fault(draw, contest) if self.faults else None
        scheduler = Drawn(lambda count: int(draw(_below(count))))
        scheduler.new_trial()
        try:
            trial = explorer.run(contest, scheduler, retryable=judge.retryable, fault=fault)
        except OrderLost:
            self.not_explored += 1
            reject()
        if judge.refuses(contest, trial):
            self.refused += 1
            reject()
        self.drawn += 1
        self.met += self.meets(contest)
        self.sizes[len(contest.sessions), len(contest.operations)] += 1
        shown = Shown(contest, trial, fault, judge.suspected(contest, trial, fault))
        if shown.kind in ignored:
            shown = replace(shown, violation=None)
        if shown.violation is None:
            for each in (explorer, judge.specification):
                each.forget(contest)
        return shown

    def _fault(self, draw: Draw, contest: Contest) -> Fault | None:
        if not draw(st.booleans()):
            return None
        session = draw(_below(len(contest.sessions)))
        return Fault(session, draw(_below(COMMANDS_MAX)), draw(st.sampled_from(Failing)))

    def search(self, examples: int, seeded: int) -> Iterator[Found]:
        """A failure of each kind that is found with so many examples in all.

        Raises DoesNotRepeat for a failure that does not fail again, and what the explorer and the budget raise.
        """
        ignored: set[str] = set()
        while self.drawn < examples:
            found = self._first(examples - self.drawn, seeded + len(ignored), frozenset(ignored))
            if found is None or found.least.violation is None:
                return
            ignored.add(found.least.kind)
            yield found

    def _first(self, examples: int, seeded: int, ignored: frozenset[str]) -> Found | None:
        failed: list[Shown] = []  # each simpler than the one before
        shrinks, drawn, found_s = 0, 0, 0.0
        stopped, unable = False, None

        @seed(seeded)
        @settings(_quietly(examples), database=self.database)
        @given(st.data())
        def example(data: st.DataObject) -> None:
            nonlocal shrinks, drawn, found_s, stopped, unable
            shrinks += bool(failed)
            if shrinks > SHRINKS_MAX:
                stopped = True
                raise _Stop
            try:
                shown = self.shown(data.draw, ignored)
            except HypothesisException:
                raise
            except Exception as error:  # nothing is known then of this example, and nothing more of the cell
                stopped, unable = True, error
                raise _Stop from error
            if shown.violation is not None:
                if not failed:
                    drawn, found_s = self.drawn, time.perf_counter()
                failed.append(shown)
                raise violated(shown.kind)(shown.violation.explanation)

        try:
            example()
        except (Violated, _Stop, Unsatisfiable):  # the last: every example was refused, and `refused` says so
            pass
        except Flaky as flaky:
            if not stopped:  # an example that was cut short by us has fewer draws than it had before
                raise DoesNotRepeat(f"a drawn trial does not repeat: {flaky}") from flaky
        if unable is not None:
            raise unable
        least = min(failed, key=_size, default=None)
        return None if least is None else Found(failed[0], least, drawn, shrinks, found_s)


def _size(shown: Shown) -> tuple[int, int, int]:
    """The last that failed is the least by Hypothesis' own order, unless it was stopped on its way."""
    contest = shown.contest
    return len(contest.sessions), len(contest.operations) + len(contest.prelude), len(shown.trial.order)


def seed_of(cell: Cell, seed: int) -> int:
    """Cells draw different contests, and the same ones in every run of the same seed."""
    return int.from_bytes(hashlib.sha256(f"{cell.id} {seed}".encode()).digest()[:8])


def _quietly(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        verbosity=Verbosity.quiet,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.reuse, Phase.generate, Phase.shrink),
    )


@cache
def _below(count: int) -> SearchStrategy[int]:
    return st.integers(0, count - 1)
