"""One way to write the operations: the upsert under test, and the processes it runs in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from harness.model.cell import Isolation
from harness.scenario.bodies import wants_pool as wants_pool
from harness.scenario.errors import Place
from harness.scenario.expectations import Rule

Body = Callable[..., Any]
Processes = Literal["one", "each"]


class HasBody(Protocol):
    """An operation, as far as strategies are concerned."""

    @property
    def body(self) -> Body: ...


@dataclass(frozen=True, eq=False)
class Strategy:
    """What a strategy declares. Nothing in it changes while trials run: what is remembered lives in its processes."""

    name: str
    doc: str
    place: Place
    isolation: Isolation | None = None  # None: all three levels
    expect: tuple[Rule, ...] = ()
    retryable: tuple[str, ...] | None = None
    autocommit: bool = True
    processes: Processes = "one"
    functions: Mapping[str, Body] = field(default_factory=dict)  # operation -> function (of a class: unbound)
    process: Callable[[], object] | None = None  # makes one application process; None: functions remember nothing
    operations: Mapping[str, HasBody] = field(default_factory=dict, repr=False)  # the scenario's

    @property
    def replaces(self) -> tuple[str, ...]:
        """The operations it replaces, in the scenario's order."""
        return tuple(name for name in self.operations if name in self.functions)

    @property
    def levels(self) -> tuple[Isolation, ...]:
        """The isolation levels it is to be run at."""
        return tuple(Isolation) if self.isolation is None else (self.isolation,)

    def retryable_at(self, isolation: Isolation) -> tuple[str, ...]:
        """The SQLSTATEs after which its caller may call again."""
        if self.retryable is not None:
            return self.retryable
        return () if isolation is Isolation.READ_COMMITTED else ("40001",)

    def bind(self) -> dict[str, Body]:
        """What to call for each operation, in one new process; operations it does not replace are their own bodies."""
        bodies: dict[str, Body] = {name: operation.body for name, operation in self.operations.items()}
        process = self.process() if self.process else None
        for name in self.replaces:
            bodies[name] = self.functions[name] if process is None else getattr(process, name)
        return bodies

    def bind_sessions(self, sessions: int) -> tuple[dict[str, Body], ...]:
        """`bind()` for a trial: one process for all sessions, or one each, as declared."""
        if self.processes == "each":
            return tuple(self.bind() for _ in range(sessions))
        return (self.bind(),) * sessions
