"""What a scenario file says: tables, layouts, states, identities, operations, and the strategies that write them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypedDict, TypeVar, Unpack, overload

from harness.model.cell import Isolation
from harness.model.contest import Call
from harness.scenario.bodies import place_of, takes
from harness.scenario.columns import columns_of
from harness.scenario.errors import Place, ScenarioError, caller, guess, listed
from harness.scenario.expectations import Rule
from harness.scenario.parameters import (
    CHOICES,
    Column,
    Connection,
    Declaration,
    Free,
    Identity,
    Key,
    Parameter,
    Pool,
    parameter,
)
from harness.scenario.sql import SqlBody
from harness.scenario.strategy import Processes, Strategy
from harness.scenario.values import values_of

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=Connection[Any] | Pool)
T = TypeVar("T", bound=type)

Refusal = type[BaseException] | str
Setup = str | Call


class Declared(TypedDict, total=False):
    """What every strategy may declare."""

    expect: Sequence[Rule]
    isolation: Isolation | None
    retryable: Sequence[str] | None
    autocommit: bool


class Operation(Generic[C, P, R]):
    """One call of the application. Its body, run alone on layout `none`, is the specification of what a call does."""

    def __init__(
        self,
        scenario: "Scenario",
        body: Callable[Concatenate[C, P], R],
        parameters: Mapping[str, Parameter],
        refusals: tuple[Refusal, ...],
    ) -> None:
        self.scenario = scenario
        self.body = body
        self.name = body.__name__
        self.doc = inspect.getdoc(body) or ""
        self.place = place_of(body)
        # In the order of the function, which is that of $1, $2...; what it does not have comes last: `check` says so.
        order = [name for name in takes(body) if name in parameters]
        self.parameters = {name: parameters[name] for name in (*order, *parameters)}
        self.refusals = refusals
        self.__doc__ = body.__doc__

    def __call__(self, connection: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.body(connection, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<operation {self.scenario.name}.{self.name}({', '.join(self.parameters)})>"

    @property
    def keys(self) -> dict[str, str]:
        """Parameter -> the name under which the contest knows this key."""
        return {name: declared.name or name for name, declared in self.parameters.items() if isinstance(declared, Key)}

    def call(self, **arguments: object) -> Call:
        """A call for a start state. Keys left out are those of the contest: one call for each that occurs there."""
        for name in arguments:
            if name not in self.parameters:
                raise ScenarioError(
                    f"{self.name}.call({name}=...): no such parameter{guess(name, self.parameters)}; "
                    f"parameters are: {listed(self.parameters)}",
                    *caller(),
                )
        return Call(self.name, tuple(arguments.items()))

    @overload
    def strategy(self, function: Callable[Concatenate[C, P], R], /) -> Callable[Concatenate[C, P], R]: ...

    @overload
    def strategy(
        self, /, **declared: Unpack[Declared]
    ) -> "Callable[[Callable[Concatenate[D, P], R]], Callable[Concatenate[D, P], R]]": ...

    def strategy(self, function: Any = None, /, **declared: Unpack[Declared]) -> Any:
        """Another way to write this operation: the function under test, unchanged by being named so."""

        def add(function: Any) -> Any:
            self.scenario.add_strategy(
                function.__name__, function, place_of(function), {self.name: function}, **declared
            )
            return function

        return add if function is None else add(function)


D = TypeVar("D", bound=Connection[Any] | Pool)


class Scenario:
    """A situation in which an upsert can go wrong."""

    def __init__(
        self,
        name: str,
        *,
        tables: str | Path,
        layouts: Mapping[str, str] | None = None,
        states: Mapping[str, Setup | Sequence[Setup]] | None = None,
        identity: Identity | Sequence[Identity] = (),
        schemas: str | Sequence[str] = (),
        extensions: str | Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        observe: Mapping[str, str] | None = None,
        invariants: Mapping[str, str] | None = None,
        reference: str | None = None,
    ) -> None:
        self.place = caller()
        self.name = name
        self.doc = ""  # the paragraph its file opens with; discovery knows it
        self.tables = _read(tables, self.place)
        self.columns = columns_of(self.tables)
        if (layouts or {}).get("none", "").strip():
            raise ScenarioError("layout 'none' is the bare tables: give this one another name", *self.place)
        self.layouts = {**(layouts or {}), "none": ""}
        self.states: dict[str, tuple[Setup, ...]] = {}
        for state, steps in ({"new": ""} if states is None else states).items():
            self.state(state, *((steps,) if isinstance(steps, str | Call) else steps))
        self.identity = (identity,) if isinstance(identity, Identity) else tuple(identity)
        self.schemas = (schemas,) if isinstance(schemas, str) else tuple(schemas)
        self.extensions = (extensions,) if isinstance(extensions, str) else tuple(extensions)
        self.settings = dict(settings or {})
        self.observe = None if observe is None else dict(observe)
        self.invariants = dict(invariants or {})
        self.reference = reference  # the strategy that costs are multiples of; None: the first that is safe
        self.operations: dict[str, Operation[Any, ..., Any]] = {}
        self.strategies: list[Strategy] = []

    def __repr__(self) -> str:
        return f"<scenario {self.name}>"

    @property
    def path(self) -> str:
        return self.place.path

    def _of_column(self, name: str, place: Place) -> Free:
        """The values of the column of that name. Raises ScenarioError where there is none, or no values are known."""
        table, _, column = name.rpartition(".")
        found = [c for c in self.columns if c.name == column and table in ("", c.table)]
        if not found:
            raise ScenarioError(
                f"Column({name!r}): no such column{guess(column, [c.name for c in self.columns])}; "
                f"columns are: {listed(f'{c.table}.{c.name}' for c in self.columns)}",
                *place,
            )
        values = values_of(found[0].type, nullable=found[0].nullable)
        if values is None:
            raise ScenarioError(
                f"column {found[0].table}.{column}: no values are known of type {found[0].type!r}; declare {CHOICES}",
                *place,
            )
        return Free(values)

    def state(self, name: str, *steps: Setup) -> None:
        """A further start state: SQL with the keys as %(name)s, or `operation.call()`, one after another."""
        self.states[name] = tuple(step for step in steps if isinstance(step, Call) or step.strip())

    def specification(self) -> dict[str, Callable[..., Any]]:
        """The operations' own bodies: run alone on layout `none`, what each call does and answers."""
        return {name: operation.body for name, operation in self.operations.items()}

    def operation(
        self, *, refusals: Sequence[Refusal] | Refusal = (), **parameters: Declaration
    ) -> Callable[[Callable[Concatenate[C, P], R]], Operation[C, P, R]]:
        """Declare what each parameter means, and the failures that are normal answers (classes or SQLSTATEs)."""
        place = caller()
        declared: dict[str, Parameter] = {}
        for name, value in parameters.items():
            meaning = self._of_column(value.name, place) if isinstance(value, Column) else parameter(value)
            if meaning is None:
                raise ScenarioError(f"parameter {name}={value!r}: expected {CHOICES}", *place)
            declared[name] = meaning
        refused = (refusals,) if isinstance(refusals, str | type) else tuple(refusals)

        def add(body: Callable[Concatenate[C, P], R]) -> Operation[C, P, R]:
            taken = takes(body)
            left = [] if set(declared) - set(taken) else [name for name in taken if name not in declared]
            columns = {column.name for column in self.columns}
            by_name = {name: self._of_column(name, place) for name in left if name in columns}
            operation = Operation(self, body, {**declared, **by_name}, refused)
            if operation.name in self.operations:
                first = self.operations[operation.name].place
                raise ScenarioError(
                    f"operation {operation.name} is there already, at {first.path}:{first.line}", *operation.place
                )
            self.operations[operation.name] = operation
            return operation

        return add

    @overload
    def strategy(self, process: T, /) -> T: ...

    @overload
    def strategy(self, /, *, processes: Processes = "one", **declared: Unpack[Declared]) -> Callable[[T], T]: ...

    def strategy(self, process: Any = None, /, *, processes: Processes = "one", **declared: Unpack[Declared]) -> Any:
        """A class whose methods replace the operations of their names; an object of it is one application process."""
        place = caller()

        def add(process: Any) -> Any:
            functions = {
                name: function
                for name, function in inspect.getmembers(process, inspect.isfunction)
                if not name.startswith("_")
            }
            self.add_strategy(process.__name__, process, place, functions, process, processes, **declared)
            return process

        return add if process is None else add(process)

    def sql_strategy(
        self,
        name: str,
        *,
        expect: Sequence[Rule] = (),
        isolation: Isolation | None = None,
        retryable: Sequence[str] | None = None,
        doc: str = "",
        **statements: str,
    ) -> Strategy:
        """Straight-line SQL for one or several operations: `purchase="INSERT ... VALUES ($1, $2) ON CONFLICT ..."`.

        Placeholders are `$1` (the operation's parameters in order) or `:name`. Several statements are separated by
        `;` and run one after another. The answer is the first column of the row the last one returns, else whether it
        changed a row.
        """
        bodies = {
            name: SqlBody(sql, tuple(self.operations[name].parameters) if name in self.operations else ())
            for name, sql in statements.items()
        }
        declared = Declared(expect=expect, isolation=isolation, retryable=retryable)
        return self.add_strategy(name, None, caller(), bodies, doc=doc, **declared)

    def add_strategy(
        self,
        name: str,
        source: object,
        place: Place,
        functions: Mapping[str, Callable[..., Any]],
        process: Callable[[], object] | None = None,
        processes: Processes = "one",
        doc: str | None = None,
        *,
        expect: Sequence[Rule] = (),
        isolation: Isolation | None = None,
        retryable: Sequence[str] | None = None,
        autocommit: bool = True,
    ) -> Strategy:
        """What the decorators come to; scenario files use those."""
        strategy = Strategy(
            name=name,
            doc=(inspect.getdoc(source) or "") if doc is None else doc,
            place=place,
            isolation=None if isolation is None else Isolation(isolation),
            expect=(expect,) if isinstance(expect, Rule) else tuple(expect),
            retryable=None if retryable is None else (retryable,) if isinstance(retryable, str) else tuple(retryable),
            autocommit=autocommit,
            processes=processes,
            functions=dict(functions),
            process=process,
            operations=self.operations,
        )
        self.strategies.append(strategy)
        return strategy


def _read(tables: str | Path, place: Place) -> str:
    if isinstance(tables, str):
        return tables
    path = tables if tables.is_absolute() else Path(place.path).parent / tables
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(f"tables={str(tables)!r} cannot be read: {error.strerror}", *place) from error
