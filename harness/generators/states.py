"""How a start state is made for a contest: its SQL once for each combination of the keys that it mentions."""

from itertools import product

from harness.generators.contests import AnyOperation, fill
from harness.model.contest import Call, Contest
from harness.scenario.language import Scenario
from harness.scenario.parameters import Own
from harness.scenario.sql import keys_in, split

Statement = tuple[str, dict[str, object]]


def key_bindings(contest: Contest, scenario: Scenario, names: tuple[str, ...]) -> tuple[tuple[object, ...], ...]:
    """The distinct combinations of these keys in the contest, from the calls that have all of them; () of no names."""
    found: dict[tuple[object, ...], None] = {} if names else {(): None}
    for call in (*contest.prelude, *(call for calls in contest.sessions for call in calls)):
        keys = scenario.operations[call.operation].keys
        arguments = dict(call.arguments)
        choices = [[arguments[p] for p, key in keys.items() if key == name and p in arguments] for name in names]
        found.update(dict.fromkeys(product(*choices)) if names else {})
    return tuple(found)


def state_statements(scenario: Scenario, contest: Contest) -> list[Statement | Call]:
    """What to run, in order, on empty tables: single statements with their parameters, and calls of operations.

    Statements without keys have no parameters: run those without any, so that `%` in them stands for itself.
    """
    todo: list[Statement | Call] = []
    own = _own_values(scenario, contest)
    for step in scenario.states[contest.state]:
        if isinstance(step, Call):
            todo += _calls(scenario, contest, step, own)
            continue
        for statement in split(step):
            names = keys_in(statement)
            for values in key_bindings(contest, scenario, names):
                todo.append((statement, dict(zip(names, values, strict=True))))
    return [*todo, *contest.prelude]


def _calls(scenario: Scenario, contest: Contest, call: Call, own: list[object]) -> list[Call]:
    """The call once for each combination of the keys that it leaves out."""
    operation: AnyOperation = scenario.operations[call.operation]
    given = dict(call.arguments)
    left_out = {parameter: name for parameter, name in operation.keys.items() if parameter not in given}
    calls = []
    for values in _parallel(scenario, contest, operation, left_out):
        calls.append(fill(operation, {**given, **values}, own))
    return calls


def _parallel(
    scenario: Scenario, contest: Contest, operation: AnyOperation, left_out: dict[str, str]
) -> list[dict[str, object]]:
    # Two parameters of one kind (source, target) take two entities of a combination, never one entity twice.
    names = tuple(left_out.values())
    found = key_bindings(contest, scenario, names)
    fitting = [values for values in found if len(set(zip(names, values, strict=True))) == len(names)]
    return [dict(zip(left_out, values, strict=True)) for values in fitting]


def _own_values(scenario: Scenario, contest: Contest) -> list[object]:
    """The values that belong to calls of the contest: a call of the start state must have others."""
    return [
        value
        for calls in (contest.prelude, *contest.sessions)
        for call in calls
        for name, value in call.arguments
        if isinstance(scenario.operations[call.operation].parameters[name], Own)
    ]
