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

    return replace(contest, sessions=tuple(map(moved, contest.sessions)))


def _moved(scenario: Scenario, call: Call, base: int) -> Call:
    arguments = fresh_call(scenario, call).arguments(base)
    return Call(call.operation, tuple((name, arguments[name]) for name, _ in call.arguments))


def stride(scenario: Scenario, contest: Contest) -> int:
    """How far apart the bases of two rounds must be at least, for no key to be common to them."""
    numbers = [
        number for calls in contest.sessions for call in calls for _, number, _ in fresh_call(scenario, call).keys
    ]
    return max(numbers, default=0) + 1


def is_separate(scenario: Scenario, contest: Contest) -> bool:
    """Whether every call has a key that can be fresh: else two rounds meet, whatever their bases are."""
    return all(fresh_call(scenario, call).keys for calls in contest.sessions for call in calls)


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
