"""Writes down what happened in a trial: the events of the interleaving table, and a fingerprint for each step."""

import hashlib

from harness.model.trace import Event, Happening, Trace
from harness.sessions.statement import Statement


class Recorder:
    """An Observer of the hub. Costs more than the trial itself, so only findings and replays are recorded."""

    one_by_one = False

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._step = -1
        self._prints: list[list[str]] = []
        self.column: int | None = None  # whose operation runs, where one greenlet runs everybody's, one at a time

    def step_begins(self, session: int) -> None:
        self._step += 1
        self._prints.append([])

    def settled(self) -> None: ...

    def sent(self, session: int, statement: Statement, result: str) -> None:
        self._add(session, Happening.SENT, statement, result)

    def waiting(self, session: int, statement: Statement, why: str) -> None:
        self._add(session, Happening.WAITING, statement, why)

    def completed(self, session: int, statement: Statement, result: str) -> None:
        self._add(session, Happening.COMPLETED, statement, result)

    def answered(self, session: int, call: str, answer: str) -> None:
        self._events.append(Event(max(self._step, 0), session, Happening.ANSWERED, call, answer))

    def _add(self, session: int, happening: Happening, statement: Statement, result: str) -> None:
        session = session if self.column is None else self.column
        self._events.append(Event(max(self._step, 0), session, happening, str(statement), result))
        if self._prints:
            # The statement's text, not its parameters: an id that the server made is no departure.
            self._prints[-1].append(f"{session} {happening} {statement.text}")

    @property
    def trace(self) -> Trace:
        return tuple(self._events)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Four hexadecimal digits for each step."""
        return tuple(hashlib.sha256("\n".join(lines).encode()).hexdigest()[:4] for lines in self._prints)
