"""What an operation's parameters mean (Key, Own, free, tried) and what a call is given to talk to the server."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol
from uuid import UUID

from hypothesis.strategies import SearchStrategy
from psycopg import Connection as Connection


class Pool(Protocol):
    """The annotation by which code under test asks for a pool instead of one connection.

    Behaves as `psycopg_pool.ConnectionPool` does: leaving `connection()` commits, or rolls back after an exception.
    """

    def connection(self, timeout: float | None = None) -> AbstractContextManager[Connection]: ...

    def getconn(self, timeout: float | None = None) -> Connection: ...

    def putconn(self, conn: Connection) -> None: ...


@dataclass(frozen=True, slots=True, init=False)
class Key:
    """Which entity a call is about: calls of one contest meet on equal keys, or miss each other.

    `Key(int)`, `Key(str)`, `Key(uuid.UUID)`; or the values themselves: `Key(["basic", "pro"])`, `Key(Platform)`.
    Parameters of one name share their values across operations; `name=` says so where the parameter is called
    differently.
    """

    kind: type | None
    values: tuple[object, ...]
    name: str | None

    def __init__(self, type_or_values: type | Sequence[object], name: str | None = None) -> None:
        if isinstance(type_or_values, type) and not issubclass(type_or_values, Enum):
            object.__setattr__(self, "kind", type_or_values)
            object.__setattr__(self, "values", ())
        else:
            object.__setattr__(self, "kind", None)
            object.__setattr__(self, "values", tuple(type_or_values))
        object.__setattr__(self, "name", name)

    def value(self, number: int, name: str) -> object:
        """Its value of that number, from 1, small and readable: 1, 'user1', UUID(int=1), or the one given.

        Raises LookupError when the values given have run out, or the type is one we know no values of.
        """
        if self.kind is None:
            return self.values[number - 1]
        if self.kind not in _VALUES:
            raise LookupError(f"no values known of {self.kind.__name__}")
        return _VALUES[self.kind](number, name)


_VALUES: Mapping[type, Callable[[int, str], object]] = {
    int: lambda number, _: number,
    str: lambda number, name: f"{name}{number}",
    UUID: lambda number, _: UUID(int=number),
}


@dataclass(frozen=True, slots=True)
class Own:
    """A value that no other call of the contest has, so that a lost write shows."""

    generator: SearchStrategy[Any]


@dataclass(frozen=True, slots=True)
class Column:
    """Any value of a column's type, NULL too where the column takes it: `Column("customer.note")`.

    A parameter that is not declared at all and is called as a column is one of these.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Free:
    """Any value of a Hypothesis generator: the scenario does not care which."""

    generator: SearchStrategy[Any]


@dataclass(frozen=True, slots=True)
class Tried:
    """Every value is tried: an Enum, a list, a tuple."""

    values: tuple[object, ...]


Parameter = Key | Own | Free | Tried
Declaration = Key | Own | Column | SearchStrategy[Any] | type[Enum] | Sequence[object]
CHOICES = 'Key(type), Own(generator), Column("table.column"), a Hypothesis generator, an Enum or a list of values'


def parameter(declared: object) -> Parameter | None:
    """What a declaration means; None when it is no declaration at all."""
    match declared:
        case Key() | Own():
            return declared
        case SearchStrategy():
            return Free(declared)
        case type() if issubclass(declared, Enum):
            return Tried(tuple(declared))
        case list() | tuple() if declared:
            return Tried(tuple(declared))
    return None


@dataclass(frozen=True, slots=True, init=False)
class Identity:
    """At most one live row for each value of the columns `by`: more of them are duplicates."""

    table: str
    by: tuple[str, ...]
    live: str | None
    nulls_distinct: bool

    def __init__(
        self, table: str, by: str | Sequence[str], live: str | None = None, *, nulls_distinct: bool = True
    ) -> None:
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "by", (by,) if isinstance(by, str) else tuple(by))
        object.__setattr__(self, "live", live)
        object.__setattr__(self, "nulls_distinct", nulls_distinct)
