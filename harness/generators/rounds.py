"""Contests made templates of rounds: as many sessions as are wanted, and fresh keys for every round."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from harness.generators.contests import fill
from harness.model.contest import Call, Contest
from harness.scenario.errors import ScenarioError
from harness.scenario.language import Scenario
from harness.scenario.parameters import Key, Own


@dataclass(frozen=True, slots=True)
class FreshCall:
    """A call of a template; `arguments(base)` are those of the round whose keys are numbered from `base` on."""

    operation: str
    fixed: Mapping[str, object]
    keys: tuple[tuple[str, int, Callable[[int], object]], ...]  # parameter, its number in the template, its values

    def arguments(self, base: int) -> dict[str, object]:
        arguments = dict(self.fixed)
        for name, number, value in self.keys:
            arguments[name] = value(base + number)
        return arguments


def number_of(declared: Key, value: object, name: str) -> int | None:
    """The number of a key's value, as `Key.value` counts them; None for a value that cannot be made fresh."""
    match value:
        case bool():
            return None
        case int() if declared.kind is int:
            return value
        case UUID() if declared.kind is UUID:
            return value.int
        case str() if declared.kind is str and (found := re.fullmatch(re.escape(name) + r"(\d+)", value)):
            return int(found[1])
    return None


def fresh_call(scenario: Scenario, call: Call) -> FreshCall:
    """How to make the call again with other keys. Keys whose values the scenario lists stay as they are."""
    fixed: dict[str, object] = {}
    keys = []
    for parameter, value in call.arguments:
        declared = scenario.operations[call.operation].parameters[parameter]
        number = None
        if isinstance(declared, Key):
            name = declared.name or parameter
            number = number_of(declared, value, name)
            if number is not None:
                keys.append((parameter, number, _values(declared, name)))
        if number is None:
            fixed[parameter] = value
    return FreshCall(call.operation, fixed, tuple(keys))


def _values(declared: Key, name: str) -> Callable[[int], object]:
    return lambda number: declared.value(number, name)


def fresh(scenario: Scenario, contest: Contest, base: int) -> Contest:
    """The contest with each key's number moved on by `base`."""

    def moved(calls: tuple[Call, ...]) -> tuple[Call, ...]:
        return tuple(_moved(scenario, call, base) for call in calls)

    return replace(contest, sessions=tuple(map(moved, contest.sessions)), prelude=moved(contest.prelude))


def _moved(scenario: Scenario, call: Call, base: int) -> Call:
    arguments = fresh_call(scenario, call).arguments(base)
    return Call(call.operation, tuple((name, arguments[name]) for name, _ in call.arguments))


def stride(scenario: Scenario, contest: Contest) -> int:
    """How far apart the bases of two rounds must be at least, for no key to be common to them."""
    calls = [call for calls in (contest.prelude, *contest.sessions) for call in calls]
    numbers = [number for call in calls for _, number, _ in fresh_call(scenario, call).keys]
    return max(numbers, default=0) + 1


def is_separate(scenario: Scenario, contest: Contest) -> bool:
    """Whether every call has a key that can be fresh: else two rounds meet, whatever their bases are."""
    return all(fresh_call(scenario, call).keys for calls in contest.sessions for call in calls)


@dataclass(frozen=True, slots=True)
class Unit:
    """Calls of a round that are judged together: nobody else has their keys."""

    place: int  # in the round; the keys of the next place are a step further
    contest: Contest  # with the keys of the first place
    numbers: tuple[int, ...]  # of its calls among those of the round, in the order of `contest.operations`


@dataclass(frozen=True, slots=True)
class Template:
    """What all sessions of a round do."""

    model: Contest  # of few sessions, as the explorer runs it
    contest: Contest  # of all of them
    units: tuple[Unit, ...]


def template(scenario: Scenario, model: Contest, sessions: int, step: int) -> Template:
    """The contest for as many sessions: those beyond its own run copies of it.

    Where all calls are alike, all copies have the same keys: nothing can happen then that cannot between two, and it
    happens more often. Else each copy has keys of its own, so that a round stays within what the explorer speaks of:
    two purchases and a refund are another contest than one and one. A step of 0 says that there are no keys to tell
    copies apart: the other sessions then do nothing.
    """
    if _alike(scenario, model):
        whole = spread(scenario, model, sessions)
        return Template(model, whole, (Unit(0, whole, tuple(range(len(whole.operations)))),))
    programs: list[tuple[Call, ...]] = []
    units: list[Unit] = []
    while len(programs) < sessions and (step or not programs):
        mine = replace(model, sessions=model.sessions[: sessions - len(programs)])
        first = sum(map(len, programs))
        numbers = tuple(range(first, first + len(mine.operations)))
        programs += fresh(scenario, mine, len(units) * step).sessions
        units.append(Unit(len(units), mine, numbers))
    programs += [()] * (sessions - len(programs))
    return Template(model, replace(model, sessions=tuple(programs)), tuple(units))


def places(sessions: int) -> int:
    """How many copies of a contest a round can hold."""
    return max(1, (sessions + 1) // 2)


def _alike(scenario: Scenario, model: Contest) -> bool:
    """Whether the sessions differ in nothing but values of their own."""
    common = [tuple((call.operation, _shared(scenario, call)) for call in calls) for calls in model.sessions]
    return all(one == common[0] for one in common)


def _shared(scenario: Scenario, call: Call) -> list[tuple[str, object]]:
    parameters = scenario.operations[call.operation].parameters
    return [(name, value) for name, value in call.arguments if not isinstance(parameters[name], Own)]


def spread(scenario: Scenario, contest: Contest, sessions: int) -> Contest:
    """The contest for as many sessions: those beyond its own run copies of it, with values of their own.

    Where a generator has no further values, copies share those of the original: less shows, nothing is wrong.
    """
    own: list[object] = [value for calls in contest.sessions for call in calls for value in _owned(scenario, call)]
    programs = list(contest.sessions[:sessions])
    while len(programs) < sessions:
        model = contest.sessions[len(programs) % len(contest.sessions)]
        programs.append(tuple(_copy(scenario, call, own) for call in model))
    return replace(contest, sessions=tuple(programs))


def _owned(scenario: Scenario, call: Call) -> list[Any]:
    parameters = scenario.operations[call.operation].parameters
    return [value for name, value in call.arguments if isinstance(parameters[name], Own)]


def _copy(scenario: Scenario, call: Call, own: list[object]) -> Call:
    operation = scenario.operations[call.operation]
    given = {name: value for name, value in call.arguments if not isinstance(operation.parameters[name], Own)}
    try:
        return fill(operation, given, own)
    except ScenarioError:
        return call
