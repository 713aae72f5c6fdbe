"""Mistakes in one strategy: methods that replace nothing, parameters that differ, expectations of what is not there."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from harness.model.cell import Isolation
from harness.model.sqlstate import is_sqlstate
from harness.model.verdict import KINDS, Verdict
from harness.scenario.bodies import check_body, takes
from harness.scenario.errors import Place, ScenarioError, guess, known_ones, listed
from harness.scenario.expectations import Rule
from harness.scenario.language import Operation, Scenario
from harness.scenario.sql import PlaceholderError, SqlBody
from harness.scenario.strategy import Strategy


def check_strategy(scenario: Scenario, strategy: Strategy) -> None:
    title = f"strategy {strategy.name}"
    if strategy.process is not None:
        _check_process(strategy, title)
    if not set(strategy.functions) & set(scenario.operations):
        near = _slips(strategy.functions, scenario.operations)
        raise ScenarioError(
            f"{title} has no method of any operation{near}; operations are: {listed(scenario.operations)}",
            *strategy.place,
        )
    for name, function in strategy.functions.items():
        operation = scenario.operations.get(name)
        if operation is None:
            raise ScenarioError(
                f"{title}: {name} is no operation{known_ones('operations', name, scenario.operations)}; "
                "the name of a helper starts with _",
                *strategy.place,
            )
        _check_replacement(strategy, operation, function)
    if strategy.processes not in ("one", "each"):
        raise ScenarioError(f"{title}: processes={strategy.processes!r}: expected 'one' or 'each'", *strategy.place)
    for sqlstate in strategy.retryable or ():
        if not is_sqlstate(sqlstate):
            raise ScenarioError(
                f"{title}: retryable={sqlstate!r}: expected a SQLSTATE such as '40001'", *strategy.place
            )


def _slips(functions: Mapping[str, object], operations: Mapping[str, object]) -> str:
    guesses = (guess(name, operations) for name in functions)
    return next((text for text in guesses if text), "")


def _check_process(strategy: Strategy, title: str) -> None:
    assert strategy.process is not None
    required = [
        name
        for name, parameter in inspect.signature(strategy.process).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if required:
        raise ScenarioError(
            f"{title} cannot be made without {listed(required)}: an object of it is made anew for every trial",
            *strategy.place,
        )


def _check_replacement(strategy: Strategy, operation: Operation[Any, ..., Any], function: Callable[..., Any]) -> None:
    title = f"strategy {strategy.name}"
    if isinstance(function, SqlBody):
        try:
            statements = function.statements
        except PlaceholderError as error:
            raise ScenarioError(f"{title}, {operation.name}: {error}", *strategy.place) from error
        if not statements:
            raise ScenarioError(f"{title}, {operation.name}: no SQL statement in {function.sql!r}", *strategy.place)
        return
    method = strategy.process is not None and not isinstance(
        inspect.getattr_static(strategy.process, operation.name), staticmethod
    )
    place = strategy.place if not method else Place(function.__code__.co_filename, function.__code__.co_firstlineno)
    check_body(f"{title}, {operation.name}", function, place)
    taken = takes(function, bound=not method)
    signature = list(inspect.signature(function).parameters.values())[-len(taken) :] if taken else []
    optional = {p.name for p in signature if p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    anything = any(p.kind is p.VAR_KEYWORD for p in signature)
    missing = [name for name in operation.parameters if name not in taken and not anything]
    extra = [name for name in taken if name not in operation.parameters and name not in optional]
    if missing or extra:
        slip = guess(extra[0], missing) if extra and missing else ""
        expected = f"operation {operation.name} has ({listed(operation.parameters)})"
        raise ScenarioError(f"{title} takes ({listed(taken)}), but {expected}{slip}", *place)


def check_rule(scenario: Scenario, strategy: Strategy, rule: Rule) -> None:
    for what, found, known in (
        ("layout", rule.layout, scenario.layouts),
        ("state", rule.state, scenario.states),
        ("isolation", rule.isolation, [level.value for level in Isolation]),
    ):
        for word in found or ():
            if word not in known:
                raise ScenarioError(
                    f"strategy {strategy.name} expects {rule}: unknown {what} {word!r}{guess(word, known)}; "
                    f"known are: {listed(known)}",
                    *strategy.place,
                )
    for kind in rule.kinds:
        if kind not in KINDS and not is_sqlstate(kind):
            raise ScenarioError(
                f"strategy {strategy.name} expects {rule}: unknown kind {kind!r}{guess(kind, KINDS)}; "
                f"known are: {listed(KINDS)}, and SQLSTATEs",
                *strategy.place,
            )
    if rule.verdict is Verdict.UNSAFE and not rule.kinds:
        raise ScenarioError(
            f"strategy {strategy.name} expects {rule}: name the kinds, as in unsafe('duplicate')", *strategy.place
        )
    if rule.isolation is not None and not set(rule.isolation) & set(strategy.levels):
        raise ScenarioError(
            f"strategy {strategy.name} expects {rule}, but runs at {listed(strategy.levels)} only", *strategy.place
        )
