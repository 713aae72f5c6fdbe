"""The hub: takes one step of one session, then waits until every session has its answer or is seen to wait.

Nothing here is decided by a sleep: a session counts as blocked only when the server said so, in an answer to a question
that was sent after the last thing that happened (an error message reaches the client before its locks are released).
"""

import os
import signal
import time
from collections.abc import Sequence
from select import select
from typing import Any

import greenlet
from psycopg import OperationalError, errors
from psycopg.pq import TransactionStatus

from harness.model.schedule import Failing, Fault
from harness.model.sqlstate import describe as describe_sqlstate
from harness.sessions.control import Control
from harness.sessions.gates import GATE_KEYS, INDEX, ROW
from harness.sessions.session import Operation, Session, State, TrialAborted
from harness.sessions.statement import Kind, Statement, cursor_of, parameters_of, with_parameters
from harness.sessions.steering import Ended, Observer, OrderLost, OutOfTime, Scheduler, Steering, Tracker, Uncontrolled
from harness.sessions.waits import Waits

# How late an answer is before the server is asked whether it will come. Measured: 40 to 200 us make no difference.
_LATE_S = 80e-6
_READ = 1  # psycopg.waiting.Ready.R, as the generators of psycopg take it
_SPIN_LIMIT = 4  # equal statements in a row, with nobody else stepping, before a session has to let others go


class Hub:
    def __init__(
        self,
        control: Control,
        steering: Steering,
        owners: dict[int, Session],
        observer: Observer | None = None,
        tracker: Tracker | None = None,
        fault: Fault | None = None,
    ) -> None:
        self.fault = fault
        self.control = control
        self.steering = steering
        self.owners = owners  # backend pid -> session, for this trial
        self.observer = observer
        self.tracker = tracker
        self.sessions: list[Session] = []
        self.completions = 0
        self.ended = Ended()
        self.deadline = 0.0

    # ---- the loop -------------------------------------------------------------------------------------------------

    def run(self, programs: Sequence[Sequence[Operation]], scheduler: Scheduler) -> Ended:
        """Run all programs to their end under the scheduler. Raises what the scheduler raises, after draining."""
        self._begin(programs, scheduler)
        if self.tracker:
            self.tracker.trial_begins()
        for session in self.sessions:
            session.deadline = self.deadline
            session.switch()  # up to its first operation; none of it runs
        choices, current = self.ended.choices, None
        try:
            while options := self._runnable():
                if len(choices) >= self.steering.steps_max:
                    raise Uncontrolled(f"the sessions did not finish within {self.steering.steps_max} steps")
                last = current if current in options else None
                chosen = scheduler.choose(options, last, "run")
                choices.append((chosen, options, "run"))
                self._step(self.sessions[chosen], len(choices) - 1)
                current = chosen
            if any(session.state is not State.DONE for session in self.sessions):
                self.ended.hang = self.waits.why_stuck()
                self._drain()
            for session in self.sessions:  # code may have swallowed it, and answered all the same
                if session.out_of_time is not None:
                    raise session.out_of_time
        except BaseException:
            self._drain()
            raise
        return self.ended

    def _begin(self, programs: Sequence[Sequence[Operation]], scheduler: Scheduler) -> None:
        me = greenlet.getcurrent()
        self.sessions = [Session(index, program, me) for index, program in enumerate(programs)]
        self.waits = Waits(self.sessions, self.owners)
        self.deadline = time.monotonic() + self.steering.deadline_s
        self.scheduler = scheduler

    def _runnable(self) -> tuple[int, ...]:
        sessions = self.sessions
        able = [
            s.index
            for s in sessions
            if s.state is State.READY
            or s.state is State.BETWEEN
            or s.state is State.GATED
            or (s.state is State.POOLED and s.pool.has_slot())
        ]
        if len(able) > 1:  # a session that spins (a retry loop on a try-lock) lets the others go first
            fair = [i for i in able if sessions[i].repeats < _SPIN_LIMIT]
            if self.tracker and 0 < len(fair) < len(able):
                self.tracker.spins()
            able = fair or able
        elif able and sessions[able[0]].repeats >= 50 * _SPIN_LIMIT:
            raise Uncontrolled(f"s{able[0] + 1} repeats the same statement for ever: {sessions[able[0]].last_text}")
        return tuple(able)

    def _step(self, session: Session, number: int) -> None:
        if self.observer:
            self.observer.step_begins(session.index)
        waiters = self.waits.waiters_of(session)
        if self.tracker:
            self.tracker.step_begins(session, self.sessions, waiters)
        held_back = self._hold_back(waiters)
        span = self.ended.spans.setdefault((session.index, session.position), [number, number])
        if session.state is State.GATED:
            self._release_gate(session)
            self._finish(session, self._drive(session))
        else:
            if session.state is not State.READY or session.generator is None:
                self._resume(session)  # the first operation's code, a slot of a pool, the end of a sleep
            self._advance(session)
        if waiters:
            self._settle()
        if self.observer:
            self.observer.settled()
        self._let_go(held_back)
        self._mark_ends(number)
        if self.tracker:
            self.tracker.step_ends()
        self._count_repeats(session)
        span[1] = number

    def _mark_ends(self, number: int) -> None:
        spans = self.ended.spans
        for s in self.sessions:
            while s.told < s.position:
                span = spans.get((s.index, s.told))
                if span is not None:
                    span.append(number)  # the step in which the client was told
                s.told += 1

    def _advance(self, session: Session) -> None:
        """Send commands of one session up to the end of one schedulable step."""
        while session.state is State.READY and session.generator is not None:
            transaction = session.connection.pgconn.transaction_status
            kind = (statement := session.pending() or _NOTHING).kind
            session.sent, session.parameters = statement, parameters_of(session.generator)
            session.autonomous = transaction == TransactionStatus.IDLE and session.connection.autocommit
            if statement.leaves_traces:
                session.connection.traces = True
            if self.tracker:
                self.tracker.sends(session)
            if self.observer:
                session.cursor = cursor_of(session.generator)
                session.sent = with_parameters(statement, session.generator)
            status = "done" if self._fails_at(session, statement) else self._drive(session)
            if not self._after(session, status):
                return
            if session.state is not State.READY or session.generator is None:
                return
            in_flight = session.connection.pgconn.transaction_status == TransactionStatus.ACTIVE
            # A pipeline, executemany or COPY is still in flight: a choice here would really race in the server.
            if not (in_flight or kind is Kind.LOCAL or session.rolls_back_a_failed_transaction):
                return

    # A client that fails: schedulable like everything else, and never a matter of luck.

    def _fails_at(self, session: Session, statement: Statement) -> bool:
        """Count the command; cancel it, or end its backend, if that is asked for. True: it is not to be sent."""
        if statement.kind is Kind.LOCAL:
            return False
        number, fault = session.commands, self.fault
        session.commands += 1
        self.ended.commands.setdefault(session.index, []).append(statement.kind)
        if fault is None or (fault.session, fault.command) != (session.index, number):
            return False
        if fault.failing is Failing.CUT:
            self.ended.failed = (session.index, session.position)
            session.cut_off = True
            self._end_backend(session.connection.pid)  # the driver finds out by itself
        elif fault.failing is Failing.CANCEL and statement.kind is Kind.STATEMENT:
            self.ended.failed = (session.index, session.position)
            session.connection.pgconn.exec_(_CANCELLED)
            session.generator.close()
            session.failure = errors.QueryCanceled("canceling statement due to user request")
            return True
        return False

    def _end_backend(self, pid: int) -> None:
        """And wait until it is gone, with its transaction and its locks."""
        self.control.terminate([pid])
        while self.control.is_there(pid):
            self._check_time()

    def _loses_the_answer(self, session: Session) -> None:
        fault, connection = self.fault, session.connection
        if (
            fault is not None
            and fault.failing is Failing.LOST
            and (fault.session, fault.command) == (session.index, session.commands - 1)
            and (session.sent or _NOTHING).kind is not Kind.LOCAL
            and session.failure is None
            and self.ended.failed is None
            and connection.pgconn.transaction_status == TransactionStatus.IDLE
        ):
            self.ended.failed = (session.index, session.position)
            session.cut_off = True
            connection.pgconn.finish()
            session.failure = OperationalError("server closed the connection unexpectedly")

    def _after(self, session: Session, status: str, *, resumed: bool = False) -> bool:
        """Book what driving came to; True if the command ended and the code went on to its next command."""
        statement = session.sent or _NOTHING
        if status == "done":
            self.completions += 1
            self._loses_the_answer(session)
            if self.tracker:
                self.tracker.done(session)
            if self.observer and statement.kind is not Kind.LOCAL:
                tell = self.observer.completed if resumed else self.observer.sent
                tell(session.index, statement, _result(session))
            self._resume(session)
            return True
        if status == "gate":
            if not _worth_holding(session):
                session.state = State.GATED
                self._release_gate(session)
                return self._after(session, self._drive(session), resumed=resumed)
            self._hold(session)
        else:
            if self.observer:
                self.observer.waiting(session.index, statement, f"waits for {self.waits.names(session.blockers)}")
            session.state = State.BLOCKED
            session.waits_since = self.ended.waits
            self.ended.waits += 1
            if self.tracker:
                self.tracker.waits(session)
            self._settle()  # it may have closed a cycle
        return False

    def _finish(self, session: Session, status: str) -> None:
        """Book what became of a command that had to wait. The next is another step, unless nobody can see it."""
        if self._after(session, status, resumed=True) and (
            session.rolls_back_a_failed_transaction
            or _still_in_flight(session)
            or (session.sent or _NOTHING).kind is Kind.LOCAL
        ):
            self._advance(session)

    def _resume(self, session: Session) -> None:
        """Let application code run to its next command, or to the end of its operation."""
        session.generator = None
        session.switch()

    def _count_repeats(self, session: Session) -> None:
        for other in self.sessions:
            if other is not session:
                other.repeats = 0
        text = session.sent.text if session.sent else None
        again = text == session.last_text and repr(session.parameters) == repr(session.last_parameters)
        session.repeats = session.repeats + 1 if again else 0
        session.last_text, session.last_parameters = text, session.parameters

    # ---- one command ----------------------------------------------------------------------------------------------

    def _drive(self, session: Session) -> str:
        """Send the command, or go on waiting for it: `done`, `gate` or `blocked`."""
        connection, generator = session.connection, session.generator
        fd = connection.pgconn.socket
        session.gate = None
        try:
            wait = generator.send(None) if session.state is State.READY else _READ
            while True:
                if session.gate is not None:
                    return "gate"
                if wait != _READ:
                    readable, writable, _ = select([fd], [fd], (), 1)
                    wait = generator.send(bool(readable) | 2 * bool(writable))
                    continue
                if not select([fd], (), (), _LATE_S)[0]:
                    break
                wait = generator.send(_READ)
            return self._watch(session, fd)
        except StopIteration as end:
            session.value = end.value
        except TrialAborted:
            raise
        except Exception as error:  # of the command: the application's to handle
            session.failure = error
        return "done"

    def _watch(self, session: Session, fd: int) -> str:
        """The answer is late: ask the server whether the session waits, while listening to both."""
        control, generator = self.control, session.generator
        control_fd = control.fd
        pid = session.connection.pid
        patience = _LATE_S
        while True:
            control.ask_blockers([pid])
            answer = None
            try:
                while answer is None:
                    readable = select([fd, control_fd], (), (), 1)[0]
                    self._check_time()
                    if control_fd in readable:
                        answer = control.read_blockers()
                    if fd in readable:
                        generator.send(_READ)
                        if session.gate is not None:
                            return "gate"
            finally:
                while answer is None:  # the control connection must not be left with an answer unread
                    select([control_fd], (), (), 1)
                    answer = control.read_blockers()
            blockers = answer[pid] - {control.pid}
            if blockers:
                if not select([fd], (), (), 0)[0]:
                    session.blockers = blockers
                    return "blocked"
            elif not select([fd], (), (), patience)[0]:
                patience = min(patience * 2, 0.01)
                continue
            generator.send(_READ)
            if session.gate is not None:
                return "gate"

    def _check_time(self) -> None:
        if time.monotonic() > self.deadline:
            for session in self.sessions:
                if session.out_of_time is not None:  # it took all the time there was, and went on nevertheless
                    raise session.out_of_time
            raise OutOfTime(f"no answer within {self.steering.deadline_s:g} s: {self.waits.standing()}")

    # ---- settling -------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Until every session has its answer or is known to wait."""
        control = self.control
        while pending := [s for s in self.sessions if s.state is State.BLOCKED and not s.stopped]:
            before = self.completions
            by_fd = {s.connection.pgconn.socket: s for s in pending}
            control.ask_blockers([s.connection.pid for s in pending])
            answer = None
            while answer is None:  # the time is looked at afterwards: giving up needs the connection, too
                select([control.fd], (), (), 1)
                answer = control.read_blockers()
            self._check_time()
            # Not before the answer is in: a session that goes on may be late, and then the server is asked about it.
            for fd in select(list(by_fd), (), (), 0)[0]:
                self._pump(by_fd[fd])
            if self.completions != before:
                continue  # the answer may be older than what has happened meanwhile
            for s in pending:
                if s.state is State.BLOCKED:
                    s.blockers = answer.get(s.connection.pid, frozenset()) - {control.pid}
            free = [s for s in pending if s.state is State.BLOCKED and not s.blockers]
            outside = [s for s in pending if s.blockers and any(pid not in self.owners for pid in s.blockers)]
            if (
                free or outside
            ):  # granted but still running; or a stranger holds the lock: listen on, until the deadline
                for fd in select(list(by_fd), (), (), 1e-4 if free else 1e-3)[0]:
                    self._pump(by_fd[fd])
                self._check_time()
                continue
            cycle = self.waits.cycle(pending)
            if cycle is None:
                return
            self._break_deadlock(cycle)

    def _pump(self, session: Session) -> None:
        """Data arrived for a waiting session: take it."""
        if session.state is not State.BLOCKED:
            return
        session.gate = None
        status = "blocked"
        try:
            session.generator.send(_READ)
            if session.gate is not None:
                status = "gate"
        except StopIteration as end:
            session.value = end.value
            status = "done"
        except TrialAborted:
            raise
        except Exception as error:
            session.failure = error
            status = "done"
        if status == "blocked":
            return
        session.blockers = frozenset()
        if status == "gate":
            self.completions += 1
            self._after(session, "gate", resumed=True)
            return
        self._finish(session, "done")

    # ---- who wakes first ------------------------------------------------------------------------------------------

    def _hold_back(self, waiters: list[Session]) -> list[Session]:
        """Who wakes first is a race inside the server: stop them all before it begins."""
        looked_at = self.observer is not None and self.observer.one_by_one and self.steering.wake_order == "signal"
        if len(waiters) < (1 if looked_at else 2):
            return []
        if self.steering.wake_order == "dropped":
            raise OrderLost("two sessions wait for the same one, and this server gives no control over who wakes first")
        for other in waiters:
            self._signal(other, signal.SIGSTOP)
            other.stopped = True
        return waiters

    def _let_go(self, held_back: list[Session]) -> None:
        """Let them go on one by one. Those whose locks were granted while they were stopped: in an order of choice.

        Locks are granted by whoever releases them, so the server knows of it though nobody has woken up.
        """
        left = list(held_back)
        while left:
            granted = self._granted(left)
            chosen = granted[0] if granted else left[0]
            if len(granted) > 1:
                options = tuple(s.index for s in granted)
                index = self.scheduler.choose(options, None, "wake")
                self.ended.choices.append((index, options, "wake"))
                chosen = self.sessions[index]
            left.remove(chosen)
            self._signal(chosen, signal.SIGCONT)
            chosen.stopped = False
            self._settle()
            if self.observer:
                self.observer.settled()

    def _granted(self, stopped: list[Session]) -> list[Session]:
        """Who waits no longer; who has waited longest comes first."""
        self.control.ask_blockers([s.connection.pid for s in stopped])
        answer = None
        while answer is None:
            select([self.control.fd], (), (), 1)
            answer = self.control.read_blockers()
        return [s for s in stopped if not answer[s.connection.pid] - {self.control.pid}]

    def _signal(self, session: Session, number: signal.Signals) -> None:
        """Stop a backend, or let it go on: from here where it is a process of ours, else by the server's own shell."""
        if self.steering.wake_order == "signal":
            os.kill(session.connection.pid, number)
        else:
            self.control.signal(session.connection.pid, number)

    def _break_deadlock(self, cycle: list[Session]) -> None:
        """Choose the victim ourselves: the server's choice depends on whose deadlock_timeout ends first."""
        options = tuple(sorted(s.index for s in cycle))
        victim = self.scheduler.choose(options, None, "victim")
        self.ended.choices.append((victim, options, "victim"))
        if self.tracker:
            self.tracker.deadlock()
        session = self.sessions[victim]
        freed = [s for s in self.waits.waiters_of(session) if not s.stopped]
        # A chain wakes one by one; several that wait for the victim itself would race.
        held_back = self._hold_back(freed) if sum(victim in self.waits.edges(s) for s in freed) > 1 else []
        self.control.cancel(session.connection.pid)
        while session.state is State.BLOCKED:
            select([session.connection.pgconn.socket], (), (), 1)
            self._check_time()
            before = session.failure
            self._pump_victim(session)
            if session.failure is not before:
                break
        if held_back:
            self._settle()
            self._let_go(held_back)

    def _pump_victim(self, session: Session) -> None:
        try:
            session.generator.send(_READ)
            return
        except StopIteration as end:
            session.value = end.value
        except errors.QueryCanceled:
            # The server was made to stop the statement before its own deadlock check; clients see what it would say.
            session.failure = errors.DeadlockDetected("deadlock detected")
        except Exception as error:
            session.failure = error
        session.blockers = frozenset()
        self._finish(session, "done")

    # ---- gates ----------------------------------------------------------------------------------------------------

    def _hold(self, session: Session) -> None:
        session.state = State.GATED
        self.ended.gates.append(session.gate or "")
        if self.tracker:
            self.tracker.held(session)
        if self.observer:
            self.observer.waiting(session.index, session.sent or _NOTHING, f"at gate {session.gate}")

    def _release_gate(self, session: Session) -> None:
        """Two keys per session, of which the harness always holds exactly one: take the other, let go of this one."""
        here, other = session.gate_key, GATE_KEYS[0] + GATE_KEYS[1] - session.gate_key
        pid = session.connection.pid
        self.control.run_raw(b"SELECT pg_advisory_lock(%d, %d), pg_advisory_unlock(%d, %d)" % (other, pid, here, pid))

    # ---- giving up ------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """End every session: roll back what was begun, so that nothing of this trial reaches the next."""
        self.ended.aborted = True
        for s in self.sessions:
            s.draining = True
            if s.stopped:
                self._signal(s, signal.SIGCONT)
                s.stopped = False
        broken: set[int] = set()
        for s in sorted(self.sessions, key=lambda s: s.state in (State.BLOCKED, State.GATED)):
            if s.state in (State.BLOCKED, State.GATED) or _still_in_flight(s):
                broken.add(s.connection.pid)
        if broken:
            self.control.terminate(broken)
        for s in self.sessions:
            if s.dead:
                continue
            if s.connection is not None and s.connection.pid in broken:
                s.connection.pgconn.finish()
            try:
                s.throw(TrialAborted)
            except (TrialAborted, OutOfTime):
                pass
            except Exception:  # code under test may raise anything on its way out: the trial is void already
                pass
            if not s.dead:
                s.forsake()
                s.connection.pgconn.finish()


_NOTHING = Statement(Kind.STATEMENT, "")
# What is left of a command that is cancelled before it did anything: an error with which a transaction is over.
_CANCELLED = b"DO $$ BEGIN RAISE EXCEPTION 'canceling statement due to user request' USING ERRCODE = '57014'; END $$"


def _worth_holding(session: Session) -> bool:
    """Whether others could go meanwhile and matter more than they do at the borders of the statement.

    Before the indexes only a statement that has probed them can be surprised. Elsewhere a statement of an open
    transaction that does nothing but write has the same snapshot before its gate and after: its borders show all. A
    function runs several statements, and an autocommitted write has its COMMIT inside.
    """
    gate, statement = session.gate or "", session.sent or _NOTHING
    if gate.startswith(ROW):
        return True  # an earlier row is locked
    if gate.startswith(INDEX):
        return statement.upserts or not statement.writes_only
    return session.autonomous or not statement.writes_only


def _still_in_flight(session: Session) -> bool:
    connection: Any = session.connection
    return (
        connection is not None
        and not connection.closed
        and connection.pgconn.transaction_status == TransactionStatus.ACTIVE
    )


def _result(session: Session) -> str:
    """How a command ended, as psql would say it, with the row if it returned just one."""
    if session.failure is not None:
        state = getattr(session.failure, "sqlstate", None)
        return describe_sqlstate(state) if state else f"{type(session.failure).__name__}: {session.failure}".strip()
    result = getattr(session.cursor, "pgresult", None)
    if result is None:
        return ""
    status = (result.command_status or b"").decode()
    if result.nfields and result.ntuples == 1:
        values = (result.get_value(0, column) for column in range(result.nfields))
        return f"{status}: ({', '.join('NULL' if v is None else v.decode(errors='replace') for v in values)})"
    return status
