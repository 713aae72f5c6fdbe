"""The calls whose cost is measured, the entities that are there before, and the order in which blocks take turns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, cycle, islice
from random import Random
from typing import Any, TypeVar

from harness.generators.contests import AnyOperation
from harness.generators.minimal import smallest
from harness.model.cost import Mix
from harness.scenario.language import Scenario
from harness.scenario.parameters import Free, Key, Own, Tried
from harness.scenario.strategy import Strategy

T = TypeVar("T")
Arguments = dict[str, object]

EXISTING = 64  # entities that are there before a block that is about existing ones
_OWN_VALUES = 5  # enough for an UPDATE to change something; finding them all would take seconds


def subject(strategy: Strategy) -> str:
    """The operation whose calls are measured: of those that the strategy replaces, the first of the scenario."""
    return strategy.replaces[0]


def setter(scenario: Scenario, operation: str) -> str:
    """The operation whose body makes the entities that are there before: the first that is about the same keys."""
    wanted = set(scenario.operations[operation].keys.values())
    return next(name for name, other in scenario.operations.items() if set(other.keys.values()) == wanted)


@dataclass(frozen=True, slots=True)
class Workload:
    """One block's work: the same for every contestant of a round."""

    before: tuple[Arguments, ...]  # calls of the setter, one after another
    clients: tuple[tuple[Arguments, ...], ...]  # calls of the subject


def workload(scenario: Scenario, operation: str, mix: Mix, *, clients: int, calls: int, seed: int) -> Workload:
    """`calls` calls for each of the clients; equal seeds give equal workloads.

    Where the keys have too few values for every call to have a new entity, calls share them.
    """
    draws = Random(f"{seed} {mix}")
    subject_calls, setter_calls = (
        _Calls(scenario.operations[operation]),
        _Calls(scenario.operations[setter(scenario, operation)]),
    )
    there = {Mix.NEW: 0, Mix.HOT: 1}.get(mix, EXISTING)
    new = count(there)

    def entities() -> Iterator[int]:
        while True:
            match mix:
                case Mix.NEW:
                    yield next(new)
                case Mix.HOT:
                    yield 0
                case Mix.EXISTING:
                    yield draws.randrange(there)
                case Mix.MOSTLY_EXISTING:
                    # Exactly one in ten, at a place of its own: short blocks have no room for luck.
                    place = draws.randrange(10)
                    yield from (next(new) if i == place else draws.randrange(there) for i in range(10))

    drawn = [list(islice(entities(), calls)) for _ in range(clients)]
    return Workload(
        tuple(setter_calls.about(number) for number in range(there)),
        tuple(tuple(subject_calls.about(number) for number in mine) for mine in drawn),
    )


class _Calls:
    """Arguments of one operation, by the number of the entity that a call is about."""

    def __init__(self, operation: AnyOperation) -> None:
        self._operation = operation
        self._own = {
            name: cycle(_some(meaning.generator))
            for name, meaning in operation.parameters.items()
            if isinstance(meaning, Own)
        }

    def about(self, number: int) -> Arguments:
        arguments: Arguments = {}
        of_a_kind: dict[str, int] = {}
        for name, meaning in self._operation.parameters.items():
            match meaning:
                case Key():
                    kind = meaning.name or name
                    position = of_a_kind[kind] = of_a_kind.get(kind, -1) + 1
                    uses = list(self._operation.keys.values()).count(kind)
                    arguments[name] = _value(meaning, number * uses + position + 1, kind)
                case Own():
                    arguments[name] = next(self._own[name])
                case Tried(values):
                    # By the entity: a call that finds a row is to find one of its own sort.
                    arguments[name] = values[number % len(values)]
                case Free(generator):
                    arguments[name] = _some(generator)[0]
        return arguments


def _value(key: Key, number: int, name: str) -> object:
    return key.value((number - 1) % len(key.values) + 1 if key.values else number, name)


def _some(generator: Any) -> list[object]:
    return list(islice(smallest(generator), _OWN_VALUES))


def turns(things: Sequence[T], seed: int) -> Iterator[list[T]]:
    """Orders in which all take turns, without end: each comes equally often in each place, and after each other.

    Rows of Williams squares (Australian Journal of Scientific Research 2, 1949), so that what a block leaves behind (a
    warm cache, a checkpoint to come) does not always hit the same successor. With an odd number of things the square
    needs its mirror too. Names are dealt anew for each square.
    """
    size = len(things)
    if not size:
        return
    draws = Random(seed)
    zigzag = [*chain.from_iterable(zip(range((size + 1) // 2), range(size - 1, -1, -1), strict=False))][:size]
    while True:
        dealt = draws.sample(list(things), size)
        rows = [[(place + shift) % size for place in zigzag] for shift in range(size)]
        if size % 2:
            rows += [row[::-1] for row in rows]
        draws.shuffle(rows)
        yield from ([dealt[number] for number in row] for row in rows)
