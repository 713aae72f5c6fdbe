"""A contest with one argument varied: the same calls with other values in the place of those that need not be these."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from harness.generators.minimal import various
from harness.model.contest import Call, Contest, OpRef
from harness.scenario.language import Scenario
from harness.scenario.parameters import Free, Own, Tried

VALUES = 4  # of a generator, each tried in turn


class Varied(NamedTuple):
    """`parameter` is given `values` throughout: one for each call that takes it, in the order of the contest."""

    parameter: str
    values: tuple[object, ...]
    contest: Contest


def argument_variations(scenario: Scenario, contest: Contest) -> Iterator[Varied]:
    """For each parameter that is no key: the calls' own values the other way round, then values that lie far apart.

    What is `Own` stays different in every call; what every value is tried of takes each of the others. Only values of
    the scenario's generators: others it does not claim to handle.
    """
    for name in dict.fromkeys(name for _, name in _arguments(scenario, contest)):
        takers = [ref for ref, own in _arguments(scenario, contest) if own == name]
        now = tuple(dict(contest.call(ref).arguments)[name] for ref in takers)
        seen = {repr(now)}
        for values in _values(scenario, contest, name, takers, now):
            if repr(values) not in seen:
                seen.add(repr(values))
                yield Varied(name, values, _with(contest, name, dict(zip(takers, values, strict=True))))


def _arguments(scenario: Scenario, contest: Contest) -> Iterator[tuple[OpRef, str]]:
    for ref in contest.operations:
        call = contest.call(ref)
        for name, _ in call.arguments:
            if isinstance(scenario.operations[call.operation].parameters.get(name), Free | Own | Tried):
                yield ref, name


def _values(
    scenario: Scenario, contest: Contest, name: str, takers: Sequence[OpRef], now: tuple[object, ...]
) -> Iterator[tuple[object, ...]]:
    yield now[::-1]
    match scenario.operations[contest.call(takers[0]).operation].parameters[name]:
        case Tried(values):
            for value in values:
                yield (value,) * len(now)
        case Free(generator):
            for value in various(generator, VALUES):
                yield (value,) * len(now)
        case Own(generator):
            taken = {repr(value) for call in contest.prelude for _, value in call.arguments}
            some = [value for value in various(generator, max(VALUES, len(now))) if repr(value) not in taken]
            for first in range(len(some) if len(some) > len(now) else 0):
                yield tuple(some[(first + number) % len(some)] for number in range(len(now)))


def _with(contest: Contest, name: str, values: dict[OpRef, object]) -> Contest:
    def call(ref: OpRef) -> Call:
        made = contest.call(ref)
        given = values.get(ref)
        return Call(made.operation, tuple((n, given if n == name and ref in values else v) for n, v in made.arguments))

    sessions = tuple(
        tuple(call(OpRef(session, position)) for position in range(len(calls)))
        for session, calls in enumerate(contest.sessions)
    )
    return replace(contest, sessions=sessions)
