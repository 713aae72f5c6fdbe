"""Ends code under test that never comes back to the database: the hub waits for it, so only a signal can."""

import faulthandler
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic  # bound here: within a session `time.monotonic` is virtual
from types import FrameType

import greenlet

from harness.sessions.session import Session
from harness.sessions.steering import OutOfTime

STUCK = 124  # exit status of a process whose code under test would not be interrupted; timeout(1) uses it, too
_TICK_S = 1.0
_FORCE_S_MIN = 10.0  # starting a database on a loaded machine may keep us inside libpq for seconds


@contextmanager
def watched(trial_s: float, *, by_force: bool = False) -> Iterator[None]:
    """Within the block a session that is past its trial's deadline meets OutOfTime, wherever its code is.

    `by_force` is for a process that can be spared: it exits when the code swallows OutOfTime, or is inside C for so
    long that no signal handler runs. Signals reach the main thread only; in another one nothing is watched.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    force_s = max(3 * trial_s, trial_s + _FORCE_S_MIN)
    nowhere = open(os.devnull, "w") if by_force else None  # noqa: SIM115 - faulthandler wants it as long as we watch

    def still_here() -> None:
        if nowhere is not None:
            # A thread of C's own: it needs no interpreter to end a process that no longer runs one.
            faulthandler.dump_traceback_later(force_s, exit=True, file=nowhere)

    def tick(_: int, frame: FrameType | None) -> None:
        still_here()
        session = greenlet.getcurrent()
        if not isinstance(session, Session) or monotonic() < session.deadline:
            return  # the hub looks at the time itself
        if by_force and monotonic() > session.deadline + trial_s + 1:
            os._exit(STUCK)
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "an unknown place"
        session.out_of_time = OutOfTime(
            f"s{session.index + 1} did not come back to the database within {trial_s:g} s: it was at {where}"
        )
        raise session.out_of_time

    still_here()
    before = signal.signal(signal.SIGALRM, tick)
    every_s = min(_TICK_S, trial_s / 4)
    timer = signal.setitimer(signal.ITIMER_REAL, every_s, every_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)
        if nowhere is not None:
            faulthandler.cancel_dump_traceback_later()
            nowhere.close()
