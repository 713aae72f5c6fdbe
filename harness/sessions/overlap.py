"""All sessions at once, each as fast as it can: what the server does when nobody is held anywhere.

The opposite of the hub it builds on: commands are sent without waiting for anybody else's answer, so that two of them
are truly in flight together. What comes of it is luck; it confirms with a rate what the hub found with a gate.
"""

from collections.abc import Sequence
from select import select

from harness.sessions.hub import Hub
from harness.sessions.session import Operation, Session, State
from harness.sessions.steering import Ended, Uncontrolled

_READ = 1
_SILENCE_S = 2e-3  # nobody answers: either all wait for each other, or the machine is slow; then the server is asked


class Overlap(Hub):
    """Runs programs that nobody schedules."""

    def race(self, programs: Sequence[Sequence[Operation]], *, first: int = 0) -> Ended:
        """Run all programs to their end; the commands of session `first` are sent first. Raises as Hub.run does."""
        self._begin(programs, _AnyVictim())
        order = self.sessions[first:] + self.sessions[:first]
        try:
            for session in order:
                session.deadline = self.deadline
                session.switch()
            for session in order:
                self._resume(session)  # all have something to send before the first of them sends it
            while any(session.state is not State.DONE for session in order):
                for session in order:
                    self._send(session)
                self._hear()
        except BaseException:
            self._drain()
            raise
        return self.ended

    def _send(self, session: Session) -> None:
        """Let the session go on until a command of its is in flight."""
        while session.state in (State.READY, State.BETWEEN) or (
            session.state is State.POOLED and session.pool.has_slot()
        ):
            if session.generator is None:
                self._resume(session)
                continue
            session.sent = statement = session.pending()
            if statement is not None and statement.leaves_traces:
                session.connection.traces = True
            try:
                wait = session.generator.send(None)
                while wait != _READ:
                    socket = session.connection.pgconn.socket
                    readable, writable, _ = select([socket], [socket], (), 1)
                    wait = session.generator.send(bool(readable) | 2 * bool(writable))
            except StopIteration as end:
                session.value = end.value
            except Exception as error:  # of the command: the application's to handle
                session.failure = error
            else:
                session.state = State.BLOCKED  # for all that is known
                return
            self._resume(session)

    def _hear(self) -> None:
        """Take the answers that have come; the sessions go on with them."""
        by_fd = {s.connection.pgconn.socket: s for s in self.sessions if s.state is State.BLOCKED}
        if not by_fd:
            if any(session.state is not State.DONE for session in self.sessions):
                raise Uncontrolled(f"the sessions wait for each other: {self.waits.standing()}")
            return
        readable = select(list(by_fd), (), (), _SILENCE_S)[0]
        for fd in readable:
            self._pump(by_fd[fd])
        if not readable:
            self._check_time()
            self._settle()

    def _finish(self, session: Session, status: str) -> None:
        self._after(session, status, resumed=True)  # what it sends next, it sends with the others


class _AnyVictim:
    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        return options[0]
