"""Every contest of a small scope: which operations meet, on which common keys, with which values."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations_with_replacement, product
from typing import Any, NamedTuple

from harness.generators.minimal import smallest
from harness.model.contest import Call, Contest
from harness.scenario.errors import ScenarioError
from harness.scenario.language import Operation, Scenario
from harness.scenario.parameters import Free, Key, Own, Tried
from harness.scenario.strategy import Strategy

AnyOperation = Operation[Any, ..., Any]


class Form(NamedTuple):
    """An operation with one value for each parameter of which every value is tried."""

    operation: AnyOperation
    tried: tuple[tuple[str, object], ...]


def contests(scenario: Scenario, strategy: Strategy, state: str, sessions: int = 2) -> tuple[Contest, ...]:
    """Every multiset of operations that the strategy has a part in x every collision pattern, one call a session.

    A multiset, since sessions differ in nothing: (purchase, refund) is there, (refund, purchase) is not. Collisions on
    every common key come first: that is where things go wrong.
    """
    if sessions < 1:
        raise ValueError(f"sessions={sessions}: a contest needs at least one session")
    return tuple(
        contest
        for chosen in combinations_with_replacement(forms(scenario), sessions)
        if tests([[form.operation.name] for form in chosen], strategy)
        for contest in _collisions(state, chosen)
    )


def tests(sessions: Iterable[Iterable[str]], strategy: Strategy) -> bool:
    """Whether a contest whose sessions call these operations tests the strategy, and nothing else.

    The others run their own bodies. They are in at most one session, for what they do to each other in a race would be
    told of a strategy that has no part in it.
    """
    tested = [{name in strategy.replaces for name in names} for names in sessions]
    return any(True in kinds for kinds in tested) and sum(False in kinds for kinds in tested) <= 1


def forms(scenario: Scenario) -> tuple[Form, ...]:
    """Every operation with every value of what is tried."""
    return tuple(form for operation in scenario.operations.values() for form in _forms(operation))


def _forms(operation: AnyOperation) -> Iterator[Form]:
    tried = {name: meaning.values for name, meaning in operation.parameters.items() if isinstance(meaning, Tried)}
    for values in product(*tried.values()):
        yield Form(operation, tuple(zip(tried, values, strict=True)))


# How the calls that have a key use its values. `crossed` needs calls with two entities of one kind, such as
# transfer(source, target): each call then takes them in the other order, as the classical deadlock wants it.
SAME, CROSSED, OTHER = "same", "crossed", "other"
SOME = "partly the same"  # of larger contests: some calls share a value


def _collisions(state: str, forms: Sequence[Form]) -> Iterator[Contest]:
    uses = [Counter(form.operation.keys.values()) for form in forms]
    names = list(dict.fromkeys(name for use in uses for name in use))
    shared = [name for name in names if sum(name in use for use in uses) >= 2]
    manners = [(SAME, CROSSED, OTHER) if sum(use[name] >= 2 for use in uses) >= 2 else (SAME, OTHER) for name in shared]
    for chosen in product(*manners):
        pattern = dict(zip(shared, chosen, strict=True))
        try:
            keys = [_key_values(form, session, pattern) for session, form in enumerate(forms)]
        except LookupError:
            continue  # a key with fewer values than the pattern needs: two calls cannot differ in it
        yield Contest(state, tuple((call,) for call in _calls(forms, keys)), _describe(pattern))


def described(scenario: Scenario, sessions: Sequence[Sequence[Call]]) -> str:
    """The collision pattern of any contest, as `contests` names those of the small scope."""
    used: dict[str, list[tuple[object, ...]]] = {}  # key -> the values of each call that has it, in its order
    for call in (call for calls in sessions for call in calls):
        arguments = dict(call.arguments)
        mine: dict[str, tuple[object, ...]] = {}
        for parameter, name in scenario.operations[call.operation].keys.items():
            mine[name] = (*mine.get(name, ()), arguments[parameter])
        for name, values in mine.items():
            used.setdefault(name, []).append(values)
    return _describe({name: _manner(calls) for name, calls in used.items() if len(calls) > 1})


def common_key(contest: Contest, scenario: Scenario) -> bool:
    """Whether two sessions of the contest work on an equal key; operations without keys always do."""
    seen: list[set[tuple[str, str]]] = []
    for calls in contest.sessions:
        mine: set[tuple[str, str]] = set()
        for call in calls:
            keys = scenario.operations[call.operation].keys
            mine |= {(keys[name], repr(value)) for name, value in call.arguments if name in keys}
        seen.append(mine)
    return any(not a or not b or a & b for i, a in enumerate(seen) for b in seen[i + 1 :])


def _manner(calls: Sequence[tuple[object, ...]]) -> str:
    sets = [frozenset(map(repr, values)) for values in calls]
    if len(set(calls_ := [tuple(map(repr, values)) for values in calls])) == 1:
        return SAME
    if len(set(sets)) == 1 and len(calls_[0]) > 1:
        return CROSSED
    return SOME if len(frozenset().union(*sets)) < sum(map(len, sets)) else OTHER


def _describe(pattern: dict[str, str]) -> str:
    if all(manner == OTHER for manner in pattern.values()):
        return "no common key"
    return ", ".join(f"{manner} {name}" for name, manner in pattern.items())


def _key_values(form: Form, session: int, pattern: dict[str, str]) -> dict[str, object]:
    """The values of the keys of one call: entities of one kind are numbered within the call, or on across calls."""
    values: dict[str, object] = {}
    keys = form.operation.keys
    for name, count in Counter(keys.values()).items():
        numbers = list(range(1, count + 1))
        match pattern.get(name, SAME):
            case "crossed" if session % 2:
                numbers.reverse()
            case "other":
                numbers = [number + session * count for number in numbers]
        for parameter, number in zip((p for p, n in keys.items() if n == name), numbers, strict=True):
            declared = form.operation.parameters[parameter]
            assert isinstance(declared, Key)
            values[parameter] = declared.value(number, name)
    return values


def _calls(forms: Sequence[Form], keys: Sequence[dict[str, object]]) -> Iterator[Call]:
    own: list[object] = []
    for form, values in zip(forms, keys, strict=True):
        yield fill(form.operation, {**values, **dict(form.tried)}, own)


def fill(operation: AnyOperation, given: dict[str, object], own: list[object]) -> Call:
    """A call with the values given and, for the other parameters, the smallest; `own` collects those nobody shares.

    Raises ScenarioError when a generator has too few values for every call to have its own.
    """
    arguments = dict(given)
    for name, meaning in operation.parameters.items():
        if name in arguments:
            continue
        match meaning:
            case Free(generator):
                arguments[name] = _first(operation, name, generator, [])
            case Own(generator):
                arguments[name] = _first(operation, name, generator, own)
                own.append(arguments[name])
            case Tried(values):
                arguments[name] = values[0]
            case Key():
                arguments[name] = meaning.value(1, meaning.name or name)
    return Call(operation.name, tuple((name, arguments[name]) for name in operation.parameters))


def _first(operation: AnyOperation, name: str, generator: Any, taken: list[object]) -> object:
    for value in smallest(generator):
        if value not in taken:
            return value
    raise ScenarioError(
        f"operation {operation.name}, {name}: {generator!r} has too few values: found none but {taken!r}",
        *operation.place,
    )
