"""For tests of your own: trials that Hypothesis draws and the explorer runs; findings that must not come back.

    @given(trials("purchases::ShippedFix[partial,new,read_committed]"))
    def test_no_course_is_sold_twice(trial: Trial) -> None:
        trial.check()

A trial is one contest under one schedule, both drawn, so that Hypothesis shrinks both, keeps what failed in its
database, and replays it first. It runs while it is drawn: all that is left to do is to look at it. `replay` is for
findings that must not come back; `harness export --format pytest` writes tests that call it.
"""

import atexit
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from harness.campaign.campaign import Options, select
from harness.campaign.drawing import Drawing, Shown, violated
from harness.campaign.job import Arenas, current_cpu, explorers_for
from harness.campaign.judge import DoesNotRepeat, Judge
from harness.campaign.regression import regression
from harness.campaign.replay import schedule_of
from harness.generators.contests import common_key
from harness.generators.drawn import Scope, drawn_contests
from harness.model.contest import Contest
from harness.model.outcome import Outcome
from harness.model.verdict import Violation
from harness.pytest_plugin import plugin
from harness.reports.witness import witness
from harness.runners.virtual import virtual
from harness.scenario.discovery import digest
from harness.scenario.errors import ScenarioError
from harness.servers.choose import recorded_on, running
from harness.servers.server import Server

__all__ = ["Scope", "StillWrong", "Trial", "Undecided", "replay", "trials"]


@dataclass(frozen=True)
class Trial:
    """One contest under one schedule, and what it came to."""

    contest: Contest
    outcome: Outcome
    order: tuple[int, ...]  # sessions, from 0, in the order of their steps
    violation: Violation | None
    kind: str  # the violation's name; with "alone" where it needs no race; "passed"
    _witness: Callable[[], str] = field(repr=False, compare=False)

    def check(self) -> None:
        """Raises an AssertionError, of one class for each kind of violation, unless an order of the calls explains it.

        So Hypothesis tells failures of different kinds apart, and shrinks each to itself.
        """
        if self.violation is not None:
            raise violated(self.kind)(f"{self.violation.name}: {self.violation.explanation}")

    def __repr__(self) -> str:
        if self.violation is not None:
            return f"<trial\n{self._witness()}\n>"
        return f"<trial of {self.contest}, in the order {' '.join(f's{s + 1}' for s in self.order)}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """As Hypothesis prints the arguments of a failing test (the protocol is IPython's)."""
        for number, line in enumerate(repr(self).splitlines()):
            if number:
                printer.break_()
            printer.text(line)


def trials(cell: str, *, scope: Scope | None = None, faults: bool = False) -> SearchStrategy[Trial]:
    """A generator of trials of one cell: `purchases::ShippedFix[partial,new,read_committed]`, or the path of a file.

    `scope`: what contests may be drawn; by default 2 to 5 sessions with 1 to 4 calls each. `faults`: one client may
    fail. The server is the one of the pytest run, or else started when the first trial is drawn, and gone with this
    process.

    Raises ScenarioError when the first trial is drawn, for a text that means no cell or several.
    """
    return _trials(cell, scope or Scope(), faults)


@st.composite
def _trials(draw: Callable[[SearchStrategy[Any]], Any], cell: str, scope: Scope, faults: bool) -> Trial:
    laboratory = _laboratory(cell, scope, faults)
    with virtual():
        shown = laboratory.drawing.shown(draw)
    event(f"{len(shown.contest.sessions)} sessions")
    event("on a common key" if laboratory.drawing.meets(shown.contest) else "without a common key")
    return Trial(
        shown.contest,
        shown.trial.seen.outcome,
        tuple(shown.trial.order),
        shown.violation,
        shown.kind,
        lambda: laboratory.told(shown),
    )


@dataclass(frozen=True)
class _Laboratory:
    drawing: Drawing
    source: str  # path of the scenario's file

    def told(self, shown: Shown) -> str:
        """The interleaving table; its serial orders are run anew, and twice, as those of every finding."""
        judge, contest, trial = self.drawing.judge, shown.contest, shown.trial
        assert shown.violation is not None
        for each in (judge.explorer, judge.specification):
            each.forget(contest)
        try:
            with virtual():
                judge.explorer.start(contest)
                violation = judge.violation(contest, trial.seen.outcome, trial.before, trial, shown.fault)
                return witness(judge.finding(contest, trial, violation or shown.violation, shown.fault), self.source)
        except DoesNotRepeat as why:
            return f"{contest}: {shown.violation.name}, but {why}"


@cache
def _laboratory(pattern: str, scope: Scope, faults: bool) -> _Laboratory:
    server = _server()
    selections = select([pattern], Options(), [server.id])
    cells = [cell for selection in selections for cell in selection.cells]
    if len(cells) != 1:
        raise ScenarioError(
            f"{pattern!r} means {len(cells)} cells: expected one, such as {cells[0].id!r}; 'harness list' shows them"
        )
    scenario, cell = selections[0].scenario, cells[0]
    strategy = next(s for s in scenario.strategies if s.name == cell.strategy)
    arenas = Arenas(current_cpu())
    _stack.callback(arenas.close)
    explorer, specification = explorers_for(arenas, server, scenario, strategy, cell, gates=Options().gates)
    explorer.arena.gated = True
    for each in (explorer, specification):
        each.begin_again(truncates=True)  # Hypothesis runs examples again: code may see where rows lie on the heap
    retryable = frozenset(strategy.retryable_at(cell.isolation))
    judge = Judge(cell, explorer, specification, retryable, digest(scenario, cell.layout))
    contests = drawn_contests(scenario, strategy, cell.state, scope)
    drawing = Drawing(judge, contests, lambda contest: common_key(contest, scenario), faults=faults)
    return _Laboratory(drawing, scenario.path)


# Findings that must not come back.


class StillWrong(AssertionError):
    """The interleaving, or another one of the same calls, still comes to something wrong; the text is its table."""


class Undecided(AssertionError):
    """Nobody can say whether it is mended: that is no pass."""


def replay(line: str, *, scenario_file: str | Path | None = None, server: str | None = None) -> None:
    """Pass if what this schedule line shows is mended.

    The schedule is run again. Where it shows nothing any more, or the code no longer goes its way, every order of the
    same calls is explored, and any finding counts. `server` is as for `harness --server`; without it HARNESS_SERVER
    decides, then [tool.harness] in pyproject.toml, then the version of the line.

    Raises StillWrong; Undecided; ScenarioError when the scenario, strategy, layout or state is gone; CodecError for a
    line that cannot be read; ServerError.
    """
    __tracebackhide__ = True  # of pytest: the text says it all
    source = None if scenario_file is None else str(scenario_file)
    schedule = schedule_of(line, source)
    came_to = regression(schedule, _started(server or recorded_on(schedule.cell.server)), source=source)
    if came_to.finding is not None:
        raise StillWrong("\n" + witness(came_to.finding, source or ""))
    if came_to.undecided:
        raise Undecided(f"{schedule.cell.id}: {came_to.undecided}")


# Servers.

_stack = ExitStack()  # databases, and servers that are ours
atexit.register(_stack.close)


@cache
def _server() -> Server:
    return plugin.server_of_this_run(_stack.close) or _started("auto")


@cache
def _started(spec: str) -> Server:
    """One for all tests of a process: to start one takes longer than a test."""
    return _stack.enter_context(running(spec))
