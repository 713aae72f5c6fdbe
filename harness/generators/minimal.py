"""Values of a Hypothesis generator, the same ones every time: the smallest, in order; and some that lie far apart."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
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


EXAMPLES = 60  # looked at for values that are not minimal

_SOME = settings(_QUIET, max_examples=EXAMPLES, phases=(Phase.generate,))
_various: WeakKeyDictionary[SearchStrategy[Any], list[Any]] = WeakKeyDictionary()


def various(generator: SearchStrategy[Any], count: int) -> list[Any]:
    """Distinct values that lie far apart: in the order of their size, as evenly spread as the examples allow.

    The same ones every time. Fewer than `count` where the generator has no more.
    """
    if generator not in _various:
        seen: dict[str, Any] = {}

        def never(value: Any) -> bool:
            seen.setdefault(repr(value), value)
            return False

        with suppress(NoSuchExample, Unsatisfiable):
            find(generator, never, settings=_SOME, random=Random(0))
        _various[generator] = sorted(seen.values(), key=_size)
    known = _various[generator]
    if len(known) <= count:
        return list(known)
    last = len(known) - 1
    return [known[round(number * last / (count - 1))] for number in range(count)] if count > 1 else known[:1]


def _size(value: Any) -> tuple[float, int, str]:
    """Numbers by their value, others by the length of their text."""
    number = float(value) if isinstance(value, int | float) and value == value else 0.0
    return number, len(repr(value)), repr(value)
