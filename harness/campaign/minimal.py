"""From a contest that fails to the smallest that fails in the same way: fewer sessions, calls, keys, simpler values.

Delta debugging (Zeller and Hildebrandt, TSE 2002) over the parts of a contest. What Hypothesis shrinks is one run by
one schedule; here each candidate is explored, so that a part may go although the order that showed the failure goes
with it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any, TypeVar

from harness.campaign.judge import Judge, cannot_be_retried
from harness.generators.contests import described, fill, tests
from harness.model.contest import Call, Contest, OpRef
from harness.model.outcome import Crashed, Failed
from harness.model.schedule import Fault
from harness.model.verdict import Violation
from harness.runners.explorer import Trial
from harness.scenario.parameters import Key, Tried
from harness.schedulers.preemptions import Preemptions
from harness.schedulers.protocol import Scheduler
from harness.schedulers.replay import Following
from harness.sessions.control import SqlRefused
from harness.sessions.steering import Uncontrolled

PREEMPTIONS_MAX = 2
TRIALS_MAX = 40  # of one candidate; most that show it do so in the order that is known
ENOUGH = 1000  # trials in all: what needs many sessions has many candidates that do not show it

T = TypeVar("T")
Choices = Sequence[tuple[int, tuple[int, ...], str]]
"""Of a trial: chosen, options, event."""
Kept = dict[int, int]
"""Where the sessions of a contest are in a smaller one; those that are not in it were taken away."""


@dataclass(frozen=True, slots=True)
class Minimal:
    """The smallest contest that shows a violation of the name, and its first trial, with the fewest preemptions."""

    contest: Contest
    trial: Trial
    violation: Violation
    candidates: int  # contests that were tried on the way
    trials: int
    smaller: int  # contests of the small scope that are simpler, and do not show it


class Minimiser:
    """Of violations of one suspected name, in the cell of the judge; the arena's gates are as the cell has them."""

    def __init__(self, judge: Judge, name: str, small: Sequence[Contest] = (), *, passed: bool = False) -> None:
        """`small` is the scope in which every simpler contest is to pass, the simplest first; `passed`: all did."""
        self._judge, self._name, self._small = judge, name, tuple(small)
        scenario = judge.explorer.scenario
        self._operations = scenario.operations
        self._strategy = next(s for s in scenario.strategies if s.name == judge.cell.strategy)
        self._passed = self._small if passed else ()
        self._shown: dict[Contest, tuple[Trial, Violation] | None] = dict.fromkeys(self._passed)
        self._trials = 0

    def smallest(self, contest: Contest, choices: Choices, fault: Fault | None = None) -> Minimal | None:
        """From a contest that failed by these choices. None: it does not fail again.

        What fails in a race is made smaller as a race, unless the smallest fails one call at a time, too. Where all
        oracles call the smallest by another name than was suspected, that one is made as small as it can be.
        """
        self._fault = fault
        minimal = self._of_name(contest, choices)
        settled = minimal and self._settled(minimal)
        if minimal and settled and settled.name != self._name:
            self._name = settled.name
            self._shown = dict.fromkeys(self._passed)
            minimal = self._of_name(minimal.contest, minimal.trial.ended.choices) or minimal
            settled = self._settled(minimal) or settled
        return minimal and replace(minimal, violation=settled or minimal.violation)

    def _settled(self, minimal: Minimal) -> Violation | None:
        judge, contest, trial = self._judge, minimal.contest, minimal.trial
        for each in (judge.explorer, judge.specification):
            each.forget(contest)  # serial orders were run once; from here on it takes two that agree
        judge.explorer.start(contest)
        found = judge.violation(contest, trial.seen.outcome, trial.before, trial, self._fault)
        return found or cannot_be_retried(trial)

    def _of_name(self, contest: Contest, choices: Choices) -> Minimal | None:
        self._raced: bool | None = None
        found = next(self._showing(contest, choices), None)
        if found is None:
            return None
        if found[1].kind != "wrong-alone":
            self._raced = found[0].overlapped
        minimal = self._smallest(contest, found[0])
        if minimal and self._raced:
            self._raced = False
            self._shown = dict.fromkeys(self._passed)
            if alone := self._shows(minimal.contest):
                return self._smallest(minimal.contest, alone[0])
        return minimal

    def _smallest(self, contest: Contest, trial: Trial) -> Minimal | None:
        smaller = True
        while smaller:
            smaller = False
            for candidate, choices in self._candidates(contest, trial):
                if self._rank(candidate) >= self._rank(contest) or not self._tests(candidate):
                    continue
                found = self._shows(candidate, choices)
                if found is not None:
                    contest, trial, smaller = candidate, found[0], True
                    break
        for simpler in self._simpler_of_the_scope(contest):
            if found := self._shows(simpler):
                contest, trial = simpler, found[0]
                break
        # By the fewest preemptions, wherever it was found.
        simplest = next(self._showing(contest, ()), None) or next(self._showing(contest, trial.ended.choices), None)
        passing = sum(self._shown.get(simpler, ()) is None for simpler in self._simpler_of_the_scope(contest))
        return simplest and Minimal(contest, *simplest, len(self._shown), self._trials, passing)

    def _tests(self, contest: Contest) -> bool:
        return tests([[call.operation for call in calls] for calls in contest.sessions], self._strategy)

    def _simpler_of_the_scope(self, contest: Contest) -> Iterator[Contest]:
        for simpler in self._small:
            if simpler == contest:
                return
            if self._rank(simpler) < self._rank(contest):
                yield simpler

    # ---- whether it shows -----------------------------------------------------------------------------------------

    def _shows(self, contest: Contest, choices: Choices = ()) -> tuple[Trial, Violation] | None:
        if contest not in self._shown and self._trials < ENOUGH:
            self._shown[contest] = next(self._showing(contest, choices), None)
        return self._shown.get(contest)

    def _showing(self, contest: Contest, choices: Choices) -> Iterator[tuple[Trial, Violation]]:
        """Its trials that are violations of the name: by the choices that are known, then with few preemptions."""
        judge, explorer = self._judge, self._judge.explorer
        try:
            explorer.start(contest)
            judge.specification.prepare(contest)
        except SqlRefused:  # there is no such start state
            return
        known: list[Scheduler] = [Following(choices)] if choices else []
        for scheduler in (*known, Preemptions(bound=0 if self._raced is False else PREEMPTIONS_MAX)):
            for _ in range(TRIALS_MAX):
                if not scheduler.new_trial():
                    break
                self._trials += 1
                try:
                    trial = explorer.run(contest, scheduler, retryable=judge.retryable, fault=self._fault)
                except Uncontrolled:
                    continue
                violation = judge.suspected(contest, trial, self._fault)
                if violation is None or violation.name != self._name or self._raced not in (None, trial.overlapped):
                    continue
                yield trial, violation

    # ---- what is smaller ------------------------------------------------------------------------------------------

    def _rank(self, contest: Contest) -> tuple[Any, ...]:
        """Fewest sessions first, then calls, then what had to happen before, then operations, keys and values."""
        calls = [call for session in contest.sessions for call in session]
        known = list(self._operations)
        values: set[str] = set()
        choices: list[int] = []  # of values that the scenario lists: the earlier, the simpler
        for call in (*contest.prelude, *calls):
            for name, value in call.arguments:
                meaning = self._operations[call.operation].parameters[name]
                if isinstance(meaning, Tried):
                    choices.append(meaning.values.index(value))
                else:
                    values.add(repr(value))
        return (
            len(contest.sessions),
            len(calls),
            len(contest.prelude),
            [[known.index(call.operation) for call in session] for session in contest.sessions],
            len(self._keys(contest)),
            choices,
            sum(map(len, values)),
            sorted(values),
            [repr(value) for call in (*contest.prelude, *calls) for _, value in call.arguments],
        )

    def _keys(self, contest: Contest) -> set[tuple[str, str]]:
        return {
            (kind, repr(dict(call.arguments)[parameter]))
            for call in (*contest.prelude, *(call for calls in contest.sessions for call in calls))
            for parameter, kind in self._operations[call.operation].keys.items()
        }

    def _candidates(self, contest: Contest, trial: Trial) -> Iterator[tuple[Contest, Choices]]:
        """Smaller contests, those that take most away first, and the choices of the trial that are left of each."""
        yield from self._cores(contest, trial)
        for candidate, kept in self._with_less(contest):
            choices = trial.ended.choices
            yield candidate, [(kept[session], (), event) for session, _, event in choices if session in kept]

    def _cores(self, contest: Contest, trial: Trial) -> Iterator[tuple[Contest, Choices]]:
        """One call, or two that raced, and before them what had been answered by then: those that failed come first."""
        answers = dict(trial.seen.outcome.answers)
        refs = sorted(contest.operations, key=lambda ref: not isinstance(answers.get(ref), Failed | Crashed))
        spans = {OpRef(*key): span for key, span in trial.ended.spans.items()}
        pairs = (tuple(sorted(pair)) for pair in combinations(refs, 2) if pair[0].session != pair[1].session)
        cores: Iterable[tuple[OpRef, ...]] = pairs if self._raced else ((ref,) for ref in refs)
        for core in cores:
            if any((a, b) in trial.before or (b, a) in trial.before or a not in spans for a in core for b in core):
                continue
            first = [ref for ref in spans if all((ref, one) in trial.before for one in core)]
            prelude = [contest.call(ref) for ref in sorted(first, key=lambda ref: spans[ref][1])]
            sessions = self._made(contest, tuple((contest.call(ref),) for ref in core))
            places = {ref.session: (place, spans[ref]) for place, ref in enumerate(core)}
            yield (
                replace(sessions, prelude=(*contest.prelude, *prelude)),
                [
                    (places[session][0], (), event)
                    for step, (session, _, event) in enumerate(trial.ended.choices)
                    if session in places and places[session][1][0] <= step <= places[session][1][1]
                ],
            )

    def _with_less(self, contest: Contest) -> Iterator[tuple[Contest, Kept]]:
        everybody = {s: s for s in range(len(contest.sessions))}
        yield from ((simpler, everybody) for simpler in self._with_shorter_prelude(contest))
        for gone in everybody if len(everybody) > 1 else ():
            kept = {s: i for i, s in enumerate(s for s in everybody if s != gone)}
            yield self._made(contest, _without(contest.sessions, gone)), kept
        for session, calls in enumerate(contest.sessions):
            for gone in range(len(calls)) if len(calls) > 1 else ():
                yield self._made(contest, _with(contest.sessions, session, _without(calls, gone))), everybody
        yield from self._merged(contest)
        yield from ((simpler, everybody) for simpler in self._with_longer_prelude(contest))
        yield from ((simpler, everybody) for simpler in self._with_other_operations(contest))
        for order in permutations(everybody):
            sessions = tuple(contest.sessions[s] for s in order)
            kept = {s: i for i, s in enumerate(order)}
            for one_key, tried in ((True, False), (True, True), (False, False), (False, True)):
                yield self._simplest(self._made(contest, sessions), one_key=one_key, tried=tried), kept

    def _merged(self, contest: Contest) -> Iterator[tuple[Contest, Kept]]:
        """One session makes the calls of two: what needs less concurrency than it has."""
        for first, second in permutations(range(len(contest.sessions)), 2):
            calls = contest.sessions[first] + contest.sessions[second]
            kept = {s: s - (s > second) for s in range(len(contest.sessions))}
            kept[second] = kept[first]
            yield self._made(contest, _without(_with(contest.sessions, first, calls), second)), kept

    def _with_shorter_prelude(self, contest: Contest) -> Iterator[Contest]:
        if contest.prelude:
            yield replace(contest, prelude=())
            yield from (replace(contest, prelude=_without(contest.prelude, i)) for i in range(len(contest.prelude)))

    def _with_longer_prelude(self, contest: Contest) -> Iterator[Contest]:
        """A session's first call made before the sessions begin: what need not be concurrent is part of the start."""
        for session, (first, *rest) in enumerate(contest.sessions):
            if rest:
                shorter = self._made(contest, _with(contest.sessions, session, tuple(rest)))
                yield replace(shorter, prelude=(*contest.prelude, first))

    def _with_other_operations(self, contest: Contest) -> Iterator[Contest]:
        """A call replaced by one of an operation that the scenario has earlier."""
        known = list(self._operations)
        for session, calls in enumerate(contest.sessions):
            for position, call in enumerate(calls):
                for name in known[: known.index(call.operation)]:
                    other = _with(calls, position, fill(self._operations[name], {}, []))
                    changed = self._made(contest, _with(contest.sessions, session, other))
                    yield self._simplest(changed, one_key=True, tried=False)

    def _made(self, contest: Contest, sessions: tuple[tuple[Call, ...], ...]) -> Contest:
        pattern = described(self._judge.explorer.scenario, sessions)
        return replace(contest, sessions=sessions, pattern=pattern)

    def _simplest(self, contest: Contest, *, one_key: bool, tried: bool) -> Contest:
        """The same calls with the values that the small scope would give them: canonical, whatever they were before.

        Keys are numbered by first appearance, or all calls put on the first of each kind; `tried` values are kept.
        """
        numbers: dict[tuple[str, str], int] = {}
        own: list[object] = []

        def simplest(call: Call) -> Call:
            operation = self._operations[call.operation]
            seen = {} if one_key else numbers
            given: dict[str, object] = {}
            for name, value in call.arguments:
                meaning = operation.parameters[name]
                if isinstance(meaning, Key):
                    kind = operation.keys[name]
                    number = seen.setdefault((kind, repr(value)), 1 + sum(known == kind for known, _ in seen))
                    given[name] = meaning.value(number, kind)
                elif isinstance(meaning, Tried) and tried:
                    given[name] = value
            return fill(operation, given, own)

        prelude = tuple(map(simplest, contest.prelude))
        sessions = tuple(tuple(map(simplest, calls)) for calls in contest.sessions)
        return replace(self._made(contest, sessions), prelude=prelude)


def _without(values: tuple[T, ...], position: int) -> tuple[T, ...]:
    return (*values[:position], *values[position + 1 :])


def _with(values: tuple[T, ...], position: int, value: T) -> tuple[T, ...]:
    return (*values[:position], value, *values[position + 1 :])
