"""What the operation of a written scenario is called with: names, types and values for the statement's $1, $2, ..."""

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

from harness.doctor.parts import Insert, lone_parameter
from harness.doctor.scenario_text import Parameter
from harness.doctor.sources.placeholders import names_in
from harness.doctor.statement import Statement
from harness.doctor.table_facts import Table
from harness.scenario.lexer import numbers_in


def parameter_names(statement: Statement, parts: Insert, values: Mapping[str, str]) -> dict[int, str]:
    """What the operation calls each $n: as the program does, else as the column it goes to.

    Drivers that count placeholders (`%s`, `?`) are given one value twice for `VALUES (?) ... SET name = ?`: two
    numbers, one parameter.
    """
    named = {number: python_name(name) for number, name in names_in(statement.text, statement.sql).items()}
    goes_to: dict[int, str] = {}
    for column, value in (*values.items(), *parts.assignments):
        for number in numbers_in(value):
            goes_to.setdefault(number, column)
    counted = "$" not in statement.text
    called: dict[int, str] = {}
    for number in range(1, statement.parameters + 1):
        name = named.get(number) or python_name(goes_to.get(number, f"value{number}"))
        same = counted and name in called.values() and _is_same(number, goes_to.get(number), parts, values)
        called[number] = name if number in named or same else _free(name, called.values())
    return called


def _is_same(number: int, column: str | None, parts: Insert, values: Mapping[str, str]) -> bool:
    """Whether it is assigned to the column into which another parameter was to be inserted."""
    new = dict(parts.assignments).get(column or "", "")
    return lone_parameter(new) == number and lone_parameter(values.get(column or "", "")) is not None


def python_name(name: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    made = re.sub(r"\W", "_", snake.lower()).strip("_") or "value"
    if made[0].isdigit():
        return f"value{made}"
    return f"{made}_" if keyword.iskeyword(made) or made in ("connection", "call", "found", "row", "store") else made


def _free(name: str, taken: Iterable[str]) -> str:
    names = set(taken)
    return next(n for n in (name, *(f"{name}{i}" for i in range(2, 99))) if n not in names)


def parameters_of(
    called: Mapping[int, str], types: Sequence[str], table: Table, values: Mapping[str, str], keys: set[int]
) -> tuple[Parameter, ...]:
    found: dict[str, Parameter] = {}
    for number, name in called.items():
        column = next((c for c, value in values.items() if number in numbers_in(value)), None)
        length = None if column is None else table.column(column).length
        kind = types[number - 1]
        if name in found:
            found[name] = replace(found[name], key=found[name].key or number in keys)
        else:
            found[name] = Parameter(name, kind, number in keys, length, table.labels.get(kind, ()))
    return tuple(found.values())


def earlier_values(
    values: Mapping[str, str], parameters: Sequence[Parameter], called: Mapping[int, str], apart: Set[str]
) -> str:
    """The values of a row that was there before: keys stay parameters, what a call would bring is something else.

    There is such a row for each key of a contest. In the columns `apart`, which are of another unique index, each
    therefore has a value of its own, made of the key.
    """
    by_name = {parameter.name: parameter for parameter in parameters}
    keys = {name: number for number, name in sorted(called.items(), reverse=True) if by_name[name].key}
    made = "|| '/' ||".join(f" ${number}::text " for number in keys.values()).strip()

    def earlier(column: str, number: int) -> str:
        parameter = by_name[called[number]]
        if parameter.key:
            return f"${number}"
        if column not in apart:
            return parameter.earlier
        as_type = {"uuid": f"md5({made})::uuid", "int8": f"hashtext({made})", "int4": f"hashtext({made})"}
        return as_type.get(parameter.type, f"{parameter.earlier} || {made}")

    def before(column: str, value: str) -> str:
        return re.sub(r"\$(\d+)", lambda match: earlier(column, int(match[1])), value)

    return ", ".join(before(column, value) for column, value in values.items())
