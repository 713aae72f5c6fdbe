"""The smallest values of a Hypothesis generator, in a fixed order, each found once."""

from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import NoSuchExample, Unsatisfiable
from hypothesis.strategies import SearchStrategy

_QUIET = settings(
    database=None,
    derandomize=True,
    deadline=None,
    max_examples=200,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
_found: WeakKeyDictionary[SearchStrategy[Any], list[Any]] = WeakKeyDictionary()


def smallest(generator: SearchStrategy[Any]) -> Iterator[Any]:
    """Its minimal value, then the minimal value other than that, and so on until it has no more."""
    found = _found.setdefault(generator, [])
    position = 0
    while True:
        if position == len(found):
            try:
                found.append(find(generator, _other_than(tuple(found)), settings=_QUIET))
            except (NoSuchExample, Unsatisfiable):
                return
        yield found[position]
        position += 1


def _other_than(earlier: tuple[Any, ...]) -> Callable[[Any], bool]:
    return lambda value: value not in earlier
