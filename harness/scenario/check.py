"""Mistakes in a scenario that can be told before any server starts, each with its line and what was probably meant."""

import re
from typing import Any

from harness.model.contest import Call
from harness.model.sqlstate import is_sqlstate
from harness.scenario.bodies import check_body, takes
from harness.scenario.check_strategy import check_rule, check_strategy
from harness.scenario.discovery import NAME
from harness.scenario.errors import Place, ScenarioError, guess, known_ones, listed
from harness.scenario.language import Operation, Scenario
from harness.scenario.parameters import CHOICES, Identity, Key
from harness.scenario.sql import keys_in


def check(scenario: Scenario) -> None:
    """Raises ScenarioError for the first mistake found, top down."""
    _check_names(scenario)
    _check_identities(scenario)
    if not scenario.operations:
        raise ScenarioError(
            f"scenario {scenario.name} has no operations: add @{scenario.name}.operation(...)", *scenario.place
        )
    for operation in scenario.operations.values():
        _check_operation(operation)
    _check_keys(scenario)
    _check_states(scenario)
    if not scenario.strategies:
        first = next(iter(scenario.operations))
        raise ScenarioError(f"scenario {scenario.name} has no strategies: add @{first}.strategy", *scenario.place)
    names = [strategy.name for strategy in scenario.strategies]
    if scenario.reference is not None and scenario.reference not in names:
        raise ScenarioError(
            f"scenario {scenario.name}: reference={scenario.reference!r} is no strategy"
            f"{known_ones('strategies', scenario.reference, names)}",
            *scenario.place,
        )
    for strategy in scenario.strategies:
        check_strategy(scenario, strategy)
        for rule in strategy.expect:
            check_rule(scenario, strategy, rule)


def _check_names(scenario: Scenario) -> None:
    _check_name("scenario", scenario.name, scenario.place)
    for layout in scenario.layouts:
        _check_name("layout", layout, scenario.place)
    for state in scenario.states:
        _check_name("state", state, scenario.place)
    for both in sorted(set(scenario.layouts) & set(scenario.states)):
        raise ScenarioError(
            f"{both!r} is both a layout and a state: {scenario.name}[{both}] could mean either; rename one",
            *scenario.place,
        )
    first: dict[str, Place] = {}
    for strategy in scenario.strategies:
        _check_name("strategy", strategy.name, strategy.place)
        if strategy.name in first:
            path, line = first[strategy.name]
            raise ScenarioError(
                f"a second strategy called {strategy.name!r}; the first is at {path}:{line}", *strategy.place
            )
        first[strategy.name] = strategy.place


def _check_name(what: str, name: str, place: Place) -> None:
    if not NAME.fullmatch(name):
        raise ScenarioError(f"{what} {name!r}: names are made of letters, digits and _", *place)


def _check_identities(scenario: Scenario) -> None:
    text = "\n".join((scenario.tables, *scenario.layouts.values()))
    for identity in scenario.identity:
        if not isinstance(identity, Identity):
            raise ScenarioError(f'identity {identity!r}: expected Identity("table", by=["column"])', *scenario.place)
        table = identity.table.rpartition(".")[2].strip('"')
        if not _mentions(scenario.tables, table):
            tables = re.findall(
                r"CREATE\s+(?:\w+\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?([\w.\"]+)", scenario.tables, re.I
            )
            raise ScenarioError(
                f"identity names table {identity.table!r}{guess(identity.table, tables)}; tables are: {listed(tables)}",
                *scenario.place,
            )
        for column in identity.by:
            if re.fullmatch(r"\w+", column) and not _mentions(text, column):
                words = sorted(set(re.findall(r"\w+", scenario.tables)))
                raise ScenarioError(
                    f"identity of {identity.table} names column {column!r}{guess(column, words)}, which no table has",
                    *scenario.place,
                )


def _mentions(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _check_operation(operation: Operation[Any, ..., Any]) -> None:
    check_body(f"operation {operation.name}", operation.body, operation.place)
    taken = takes(operation.body)
    for name in taken:
        if name not in operation.parameters:
            raise ScenarioError(
                f"operation {operation.name} does not say what its parameter {name!r} means"
                f"{guess(name, set(operation.parameters) - set(taken))}: declare {name}= as {CHOICES}",
                *operation.place,
            )
    for name in operation.parameters:
        if name not in taken:
            raise ScenarioError(
                f"operation {operation.name} declares {name}=, which its function does not take"
                f"{guess(name, set(taken) - set(operation.parameters))}; it takes: {listed(taken)}",
                *operation.place,
            )
    for refusal in operation.refusals:
        if not (isinstance(refusal, type) or is_sqlstate(refusal)):
            raise ScenarioError(
                f"operation {operation.name}: refusals={refusal!r}: expected an exception class or a SQLSTATE",
                *operation.place,
            )


def _check_keys(scenario: Scenario) -> None:
    first: dict[str, tuple[str, Key]] = {}
    for operation in scenario.operations.values():
        for parameter, name in operation.keys.items():
            key = operation.parameters[parameter]
            assert isinstance(key, Key)
            try:
                key.value(1, name)
            except LookupError as error:
                raise ScenarioError(
                    f"operation {operation.name}, {parameter}=Key(...): {error}: list them, as in Key(['a', 'b'])",
                    *operation.place,
                ) from error
            known_to, known = first.setdefault(name, (operation.name, key))
            if (known.kind, known.values) != (key.kind, key.values):
                raise ScenarioError(
                    f"key {name!r} has other values in {operation.name} than in {known_to}; "
                    "name one of them differently with Key(..., name=)",
                    *operation.place,
                )


def _check_states(scenario: Scenario) -> None:
    keys = sorted({key for operation in scenario.operations.values() for key in operation.keys.values()})
    for state, steps in scenario.states.items():
        for step in steps:
            if isinstance(step, Call):
                _check_call(scenario, state, step)
                continue
            for name in keys_in(step):
                if name not in keys:
                    raise ScenarioError(
                        f"state {state!r} uses %({name})s, which is no key{known_ones('keys', name, keys)}",
                        *scenario.place,
                    )


def _check_call(scenario: Scenario, state: str, call: Call) -> None:
    operation = scenario.operations.get(call.operation)
    if operation is None:
        raise ScenarioError(
            f"state {state!r} calls {call.operation}{known_ones('operations', call.operation, scenario.operations)}",
            *scenario.place,
        )
    for name, _ in call.arguments:
        if name not in operation.parameters:
            raise ScenarioError(
                f"state {state!r} calls {call.operation}({name}=...)"
                f"{known_ones('parameters', name, operation.parameters)}",
                *scenario.place,
            )
