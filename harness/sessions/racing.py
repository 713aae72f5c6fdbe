"""Sessions that race: greenlets of one process over plain connections, each as fast as its server answers.

Nobody is steered. One loop sends on whichever session was answered, so that a process carries many sessions for less
than one process or thread each would cost: a switch of greenlets takes 0.3 us, one of threads 11 to 45 (and on two
cores eight client processes push the backends off their CPUs). Code that blocks its process by other means than the
database (a lock, another server) holds up all sessions of it; `time.sleep` does not.
"""

import heapq
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from select import select
from typing import Any

import greenlet
import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from harness.sessions.connection import GuardLock

_READ, _WRITE = 1, 2  # psycopg.waiting.Wait and Ready, of which both have the same values
_LOOK_AGAIN_S = 0.05  # at what other processes may have changed, should their bell have got lost


class Stuck(RuntimeError):
    """No session was answered for as long as is allowed: they wait for each other where the server cannot see it."""


class RacingConnection(psycopg.Connection[TupleRow]):
    """An ordinary connection; a session that waits for its answer lets the others of its process go on."""

    race: "Race"
    waiter: greenlet.greenlet | None = None  # the session to be told of an answer

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:  # the signature differs between 3.1, 3.2 and 3.3
        session = greenlet.getcurrent()
        if session.parent is None or kwargs.get("timeout") is not None:  # not in a race: connecting, setting up
            return super().wait(gen, *args, **kwargs)
        try:
            wanted = gen.send(None)
            while True:
                if wanted == _READ:
                    self.race.until_readable(self, session)
                    wanted = gen.send(_READ)
                else:  # a statement too long for the socket's buffer: rare, and soon over
                    socket = self.pgconn.socket
                    readable, writable, _ = select([socket] if wanted & _READ else (), [socket], (), 1)
                    wanted = gen.send(bool(readable) * _READ | bool(writable) * _WRITE)
        except StopIteration as end:
            return end.value


class Race:
    """The loop of one process: whoever was answered goes on."""

    def __init__(self, bell: int | None = None) -> None:
        """`bell`: a file descriptor that becomes readable when another process wants us to look again."""
        self._selector = selectors.DefaultSelector()
        self._hub = greenlet.getcurrent()
        self._heard: set[int] = set()  # sockets that are listened to
        self._sleepers: list[tuple[float, int, greenlet.greenlet]] = []
        self._number = count()
        self._ready: deque[greenlet.greenlet] = deque()
        self._left = 0
        self._bell = bell
        if bell is not None:
            self._selector.register(bell, selectors.EVENT_READ, None)

    # ---- what sessions call ---------------------------------------------------------------------------------------

    def until_readable(self, connection: RacingConnection, session: greenlet.greenlet) -> None:
        connection.waiter = session
        socket = connection.pgconn.socket
        if socket not in self._heard:
            self._heard.add(socket)
            self._selector.register(socket, selectors.EVENT_READ, connection)
        self._hub.switch()

    def sleep(self, seconds: float) -> None:
        heapq.heappush(self._sleepers, (time.monotonic() + seconds, next(self._number), greenlet.getcurrent()))
        self._hub.switch()

    def pause(self) -> None:
        """Until somebody calls `wake`."""
        self._hub.switch()

    def wake(self, session: greenlet.greenlet) -> None:
        self._ready.append(session)

    def forget(self, connection: RacingConnection) -> None:
        """Before its socket is closed: the next connection may get the same number."""
        socket = connection.pgconn.socket if not connection.closed else -1
        for known in [s for s in self._heard if s == socket or self._selector.get_key(s).data is connection]:
            self._heard.discard(known)
            self._selector.unregister(known)

    # ---- the loop -------------------------------------------------------------------------------------------------

    def run(
        self, programs: Sequence[Callable[[], None]], *, silence_s: float, look: Callable[[], None] = lambda: None
    ) -> None:
        """Run all programs to their end. `look` is called when the bell rang, and when nobody has anything to do.

        Raises Stuck after `silence_s` without an answer to anybody.
        """
        self._left = len(programs)
        for program in programs:
            greenlet.greenlet(self._counted(program), self._hub).switch()
        heard = time.monotonic()
        while self._left:
            while self._ready:
                self._ready.popleft().switch()
            if not self._left:
                return
            events = self._selector.select(self._patience())
            for key, _ in events:
                connection = key.data
                if connection is None:
                    look()
                elif connection.waiter is None:  # it says good-bye, or has a notice; nobody asked
                    self._heard.discard(key.fd)
                    self._selector.unregister(key.fd)
                else:
                    session, connection.waiter = connection.waiter, None
                    session.switch()
            if self._wake_sleepers() or self._sleepers or events:
                heard = time.monotonic()
            if not events:
                look()
                if time.monotonic() - heard > silence_s:
                    raise Stuck(f"no session was answered for {silence_s:.0f} s")

    def _counted(self, program: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                program()
            finally:
                self._left -= 1

        return run

    def _patience(self) -> float:
        if self._sleepers:
            return max(0.0, min(self._sleepers[0][0] - time.monotonic(), _LOOK_AGAIN_S))
        return _LOOK_AGAIN_S

    def _wake_sleepers(self) -> bool:
        now, woken = time.monotonic(), False
        while self._sleepers and self._sleepers[0][0] <= now:
            self._ready.append(heapq.heappop(self._sleepers)[2])
            woken = True
        return woken

    def close(self) -> None:
        self._selector.close()


@contextmanager
def others_go_on_while_one_sleeps(race: Race) -> Iterator[None]:
    """Within the block a session's `time.sleep` (a back-off, mostly) is its own; the loop goes on."""
    real = time.sleep

    def sleep(seconds: float) -> None:
        if greenlet.getcurrent().parent is None:
            real(seconds)
        else:
            race.sleep(seconds)

    time.sleep = sleep  # type: ignore[assignment]  # as runners/virtual.py does it for the explorer
    try:
        yield
    finally:
        time.sleep = real


class RacingPool:
    """A pool for the sessions of one process; who finds no slot waits for one, first come, first served."""

    def __init__(self, connect: Callable[[], RacingConnection], race: Race, max_size: int) -> None:
        self._connect, self._race, self._max_size = connect, race, max_size
        self._free: list[RacingConnection] = []
        self._lent = 0
        self._waiting: deque[greenlet.greenlet] = deque()
        self.opened: list[RacingConnection] = []

    def getconn(self, timeout: float | None = None) -> RacingConnection:
        while self._lent >= self._max_size:
            self._waiting.append(greenlet.getcurrent())
            self._race.pause()
        self._lent += 1
        while self._free:
            connection = self._free.pop()  # last in, first out, as psycopg_pool does it
            if not connection.closed:
                return connection
        try:
            connection = self._connect()
        except BaseException:
            self._give_back()
            raise
        self.opened = [kept for kept in self.opened if not kept.closed] + [connection]
        return connection

    def putconn(self, connection: RacingConnection) -> None:
        if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
            connection.rollback()
        if not connection.closed:
            self._free.append(connection)
        self._give_back()

    def _give_back(self) -> None:
        self._lent -= 1
        if self._waiting:
            self._race.wake(self._waiting.popleft())

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[RacingConnection]:
        """Lend a connection for the block: commits at its end, rolls back when it raises."""
        connection = self.getconn(timeout)
        try:
            yield connection
            if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
                connection.commit()
        except BaseException:
            if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
                connection.rollback()
            raise
        finally:
            self.putconn(connection)


def racing_connection(conninfo: str, race: Race, **options: Any) -> RacingConnection:
    """A new connection for sessions of this race; `options` are those of psycopg.connect."""
    connection: RacingConnection = RacingConnection.connect(conninfo, **options)
    # Two greenlets on a real lock would hang the process; this one says whose the connection is.
    connection.lock = GuardLock()  # type: ignore[assignment]
    connection.race = race
    return connection
