"""Contests beyond the small scope, drawn by Hypothesis: more sessions, more calls, keys that meet by design.

Every draw is arranged so that its simplest choice is the simplest contest: fewer calls, the first operation, a key that
is in use already, the smallest value. Hypothesis then shrinks contests as it shrinks everything else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial, prod
from typing import Any, TypeVar

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from harness.generators.contests import Form, described, forms, tests
from harness.model.contest import Call, Contest
from harness.scenario.language import Scenario
from harness.scenario.parameters import Free, Key, Own
from harness.scenario.strategy import Strategy

T = TypeVar("T")
Draw = Callable[[SearchStrategy[T]], T]

FREE, BURST, CHURN = "free", "burst", "churn"


@dataclass(frozen=True, slots=True)
class Scope:
    """What contests may be drawn."""

    sessions_max: int = 5
    calls_max: int = 4  # of one session
    prelude_max: int = 3  # operations run one after the other before the sessions begin
    keys_max: int = 3  # different values of one key
    orders_max: int = 180  # serial orders of the calls: a trial that none of them explains is compared with all

    def __post_init__(self) -> None:
        for name, least in (("sessions_max", 2), ("calls_max", 1), ("prelude_max", 0), ("keys_max", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: expected {least} or more")


def drawn_contests(
    scenario: Scenario, strategy: Strategy, state: str, scope: Scope | None = None
) -> SearchStrategy[Contest]:
    """A generator of contests in which the strategy has a part. 2 to 5 sessions with 1 to 4 calls each, by default."""
    return _contests(scenario, strategy, state, scope or Scope())


@st.composite
def _contests(draw: Draw[Any], scenario: Scenario, strategy: Strategy, state: str, scope: Scope) -> Contest:
    known = sorted(forms(scenario), key=lambda form: form.operation.name not in strategy.replaces)
    shape = draw(st.sampled_from((FREE, BURST, CHURN)))
    values = _Values(draw, scope.keys_max, same=shape != FREE)
    counts = _session_sizes(draw, shape, scope)
    prelude = tuple(values.call(draw(st.sampled_from(known))) for _ in range(draw(st.integers(0, scope.prelude_max))))
    tested = [form for form in known if form.operation.name in strategy.replaces]
    mixed = draw(st.integers(0, len(counts) - 1))  # the session that calls the others, too
    sessions = tuple(
        tuple(
            values.call(form) for form in _forms_of_session(draw, shape, known if session == mixed else tested, count)
        )
        for session, count in enumerate(counts)
    )
    assume(tests([[call.operation for call in calls] for calls in sessions], strategy))
    return Contest(state, sessions, described(scenario, sessions), prelude)


def _session_sizes(draw: Draw[Any], shape: str, scope: Scope) -> list[int]:
    """How many calls each session makes, within the number of serial orders that can be compared with."""
    sessions = draw(st.integers(2, scope.sessions_max))
    if shape == BURST:
        return [1] * sessions
    counts: list[int] = []
    for left in range(sessions - 1, -1, -1):
        most = scope.calls_max
        while most > 1 and serial_orders([*counts, most, *[1] * left]) > scope.orders_max:
            most -= 1
        counts.append(draw(st.integers(1, most)))
    return counts


def serial_orders(counts: Sequence[int]) -> int:
    """In how many orders the calls of sessions with so many of them can be run one at a time."""
    return factorial(sum(counts)) // prod(factorial(count) for count in counts)


def _forms_of_session(draw: Draw[Any], shape: str, known: Sequence[Form], count: int) -> list[Form]:
    """A burst: everybody the same once. Churn: what is there goes and comes back, so operations take turns."""
    if shape == BURST:
        return [known[0]] * count
    first = draw(st.integers(0, len(known) - 1))
    if shape == CHURN:
        return [known[(first + i) % len(known)] for i in range(count)]
    return [known[first], *(draw(st.sampled_from(known)) for _ in range(count - 1))]


class _Values:
    """Draws the arguments of one contest's calls: keys from pools that they share, own values that they do not."""

    def __init__(self, draw: Draw[Any], keys_max: int, *, same: bool) -> None:
        self._draw, self._keys_max, self._same = draw, keys_max, same
        self._used: dict[str, int] = {}  # key -> how many different values are in use
        self._own: list[object] = []

    def call(self, form: Form) -> Call:
        tried = dict(form.tried)
        taken: dict[str, set[int]] = {}  # within one call two keys of one kind are two entities
        arguments: list[tuple[str, object]] = []
        for name, meaning in form.operation.parameters.items():
            match meaning:
                case Key():
                    kind = meaning.name or name
                    value = self._key(meaning, kind, taken.setdefault(kind, set()))
                case Own(generator):
                    value = self._draw(generator.filter(lambda drawn: drawn not in self._own))
                    self._own.append(value)
                case Free(generator):
                    value = self._draw(generator)
                case _:
                    value = tried[name]
            arguments.append((name, value))
        return Call(form.operation.name, tuple(arguments))

    def _key(self, key: Key, kind: str, taken: set[int]) -> object:
        """Three times of four one that is in use: keys that never meet show nothing, however many there are."""
        used = self._used.setdefault(kind, 0)
        most = max(len(taken) + 1, 1 if self._same else self._keys_max)
        fresh = used < most and (used <= len(taken) or self._draw(st.integers(0, 3)) == 3)
        numbers = [number for number in range(1, used + 1) if number not in taken]
        number = used + 1 if fresh or not numbers else self._draw(st.sampled_from(numbers))
        try:
            value = key.value(number, kind)
        except LookupError:
            numbers = numbers or [1]
            number = numbers[0]
            value = key.value(number, kind)
        taken.add(number)
        self._used[kind] = max(used, number)
        return value
