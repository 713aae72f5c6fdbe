"""A session is a greenlet that runs application code and stops before every command it would send."""

import ctypes
import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

import greenlet
from psycopg.pq import TransactionStatus

from harness.sessions.statement import Kind, Statement, describe

if TYPE_CHECKING:
    from harness.sessions.connection import GatedConnection


class State(Enum):
    BETWEEN = "between operations"  # nothing of the next operation has run
    READY = "ready to send"
    BLOCKED = "waits for a lock"
    GATED = "held at a gate"
    POOLED = "waits for a pool slot"
    DONE = "done"


class TrialAborted(BaseException):
    """Thrown into a session whose trial is given up. Not an Exception: code under test must not swallow it."""


_REFUSALS_MAX = 100  # a retry loop that catches BaseException, too

Operation = Callable[["Session"], None]


class Session(greenlet.greenlet):
    """One client of a trial. The hub owns it; application code only meets its connection."""

    def __init__(self, index: int, operations: Sequence[Operation], hub: greenlet.greenlet) -> None:
        super().__init__(self._main, hub)
        self.index = index
        self.operations = operations
        self.hub = hub
        self.state = State.BETWEEN
        self.position = 0  # of the operation that runs, or runs next
        self.told = 0  # operations whose answer the client has
        self.generator: Any = None
        self.connection: GatedConnection = None  # type: ignore[assignment]  # of the command in flight
        self.failure: BaseException | None = None  # to be thrown into the code: the command's own error
        self.value: Any = None
        self.gate: str | None = None  # set by the notice of a gate while a command is driven
        self.gate_key = 0
        self.autonomous = False  # the command in flight is a transaction of its own
        self.blockers: frozenset[int] = frozenset()  # backend pids
        self.waits_since = 0  # waits before this one: who waits longest wakes first
        self.stopped = False
        self.draining = False
        self.cut_off = False  # from the server, by us
        self.commands = 0  # sent, of those that others can see
        self.refused = 0  # commands of a session that would not end
        self.pool: Any = None  # of which a slot is waited for
        self.sent: Statement | None = None
        self.cursor: Any = None  # that the command came from, while a trace is recorded
        self.operation: object = None  # that runs; seeds what its code draws at random
        self.random: Any = None
        self.clock = 0.0  # seconds slept
        self.deadline = math.inf  # by time.monotonic(): then its code is interrupted, wherever it is
        self.out_of_time: BaseException | None = None  # with which it was
        self.repeats = 0  # of the same statement with nobody else stepping: a session that spins
        self.last_text: str | None = None
        self.parameters: Any = None
        self.last_parameters: Any = None

    def _main(self) -> None:
        for position, operation in enumerate(self.operations):
            self.position = position
            self.state = State.BETWEEN
            self.hub.switch()
            operation(self)
        self.position = len(self.operations)
        self.state = State.DONE

    def ask(self, connection: "GatedConnection", generator: Any) -> Any:
        """Application code wants to send a command: stop here until the hub has driven it."""
        self.connection = connection
        self.generator = generator
        self.state = State.READY
        self.hub.switch()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return self.value

    def yield_turn(self) -> None:
        """A scheduling point without a command: a sleep."""
        self.generator = None
        self.state = State.READY
        self.hub.switch()

    def wait_for_slot(self, pool: Any) -> None:
        self.pool = pool
        self.generator = None
        self.state = State.POOLED
        self.hub.switch()
        self.pool = None

    def drain(self, connection: "GatedConnection", generator: Any, wait: Callable[[Any], Any]) -> Any:
        """The trial is over: let roll back what was begun, and nothing else (a retry loop must end, too)."""
        if describe(generator).kind is Kind.ROLLBACK:
            return wait(generator)
        self.refused += 1
        if self.refused > _REFUSALS_MAX:
            self.hub.switch()  # for good: the hub leaves us here
        raise TrialAborted

    def forsake(self) -> None:
        """Never go on, nor be collected: at its end a greenlet is thrown an exception, and this code catches all."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    def pending(self) -> Statement | None:
        """The command that the session's next step begins with, if it is known."""
        return describe(self.generator) if self.state is State.READY and self.generator is not None else None

    @property
    def rolls_back_a_failed_transaction(self) -> bool:
        return (
            self.state is State.READY
            and self.generator is not None
            and self.connection.pgconn.transaction_status == TransactionStatus.INERROR
            and describe(self.generator).kind is Kind.ROLLBACK
        )
