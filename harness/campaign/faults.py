"""Faults of one cell's race: what is planned, what is done to server and processes, and what is left after it."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from harness.generators.faults import FaultPlan
from harness.model.contest import Contest
from harness.model.fault import FaultCount, FaultKind, Injection
from harness.model.history import Batch, Calls
from harness.model.outcome import Unknown
from harness.runners.hammer import Hammer
from harness.runners.hammer_worker import APPLICATION, read_diaries
from harness.servers import harm
from harness.servers.server import Server
from harness.sessions.arena import Arena

_PAUSE_S = 0.2
_FOREVER = (1 << 63) - 1


def kinds_for(server: Server, wanted: Sequence[FaultKind]) -> tuple[tuple[FaultKind, ...], str]:
    """Those of the wanted kinds that can be done to this server; and why not the others."""
    asked = tuple(wanted) or tuple(FaultKind)
    if harm.can_be_harmed(server):
        return asked, ""
    left_out = [kind for kind in asked if kind.needs_our_server]
    words = f"{', '.join(left_out)}: only on a server of our own (--server embedded)" if left_out else ""
    return tuple(kind for kind in asked if not kind.needs_our_server), words


class Faults:
    """Of one cell."""

    def __init__(self, server: Server, plan: FaultPlan, renew: Callable[[], None]) -> None:
        """`renew`: called when the server was restarted and is back, so that everybody connects again."""
        self.server, self.plan, self._renew = server, plan, renew
        self.counts: dict[FaultKind, FaultCount] = {}
        self.planned: list[Injection] = []
        self._stack = ExitStack()
        self._diaries: list[IO[bytes]] = []
        self._struck: list[Injection] = []  # in this batch, to everybody
        self._killed = False

    def close(self) -> None:
        self._stack.close()

    @contextmanager
    def diaries(self) -> Iterator[str]:
        """A folder for the diaries of processes that are set up within the block.

        After it their files have no names any more: should all of us be killed, nothing is left.
        """
        self._stack.close()
        with tempfile.TemporaryDirectory(prefix="harness-diary-") as folder:
            yield folder
            self._diaries = [self._stack.enter_context(path.open("rb")) for path in sorted(Path(folder).iterdir())]

    # ---- a batch --------------------------------------------------------------------------------------------------

    def drawn(self, batch: Batch) -> tuple[Injection, ...]:
        """What is to happen in this batch."""
        self._struck, self._killed = [], False
        self._batch_began = time.monotonic_ns()
        drawn = self.plan.batch(batch.first, len(batch.templates))
        self.planned += drawn
        for injection in drawn:
            self._count(injection.kind).planned += 1
        self._drawn = drawn
        return drawn

    def strike(self, injection: Injection, racers: Hammer) -> None:
        """Do what happens to all sessions: the race is where it was planned. Raises ServerError."""
        self._struck.append(injection)
        self._count(injection.kind).done += 1
        match injection.kind:
            case FaultKind.RESTART_FAST | FaultKind.RESTART_IMMEDIATE:
                before = harm.postmaster_of(self.server)
                harm.restart(self.server, immediate=injection.kind is FaultKind.RESTART_IMMEDIATE)
                harm.wait_until_back(self.server, before)
            case FaultKind.KILLED:
                self._killed = True
                pids = racers.pids
                os.kill(pids[injection.session % len(pids)], signal.SIGKILL)
            case FaultKind.PAUSED:
                with harm.paused(self.server):
                    time.sleep(_PAUSE_S)  # which is the fault itself

    @property
    def killed(self) -> bool:
        """Whether it was us who ended a process in this batch."""
        return self._killed

    def rescued(self, batch: Batch, templates: Sequence[Contest]) -> Calls:
        """The calls of a batch whose processes were killed: as far as they were told anything; of others nobody knows.

        A call that is not in any diary may have been sent, and may go on until its backend is gone.
        """
        calls = read_diaries(self._diaries, batch.first)
        known = set(zip(calls.rounds, calls.sessions, calls.positions, strict=True))
        unknown = len(calls.answers)
        calls.answers.append(Unknown())
        for number, template in enumerate(batch.templates):
            for ref in templates[template].operations:
                if (number, ref.session, ref.position) not in known:
                    calls.note(number, ref.session, ref.position, self._batch_began, _FOREVER, unknown)
        return calls

    def given_up(self, batch: Batch, arena: Arena) -> None:
        """Its processes are gone, and not by us: nobody knows what its calls came to. What did not happen is owed."""
        self._killed = True
        self.settled(Calls(batch.first), arena)

    def settled(self, calls: Calls, arena: Arena) -> None:
        """After the batch: the server is there, no backend goes on without its client, the counts are kept."""
        for injected in calls.injected:
            count = self._count(injected.kind)
            count.done += injected.done
            count.met += injected.met
        happened = {(one.kind, one.round) for one in calls.injected if one.done}
        happened |= {(one.kind, one.round) for one in self._struck}
        for injection in self._drawn:
            if (injection.kind, injection.round) not in happened:  # the race, or the call, was over before
                self.plan.not_done(injection)
        told_unknown = any(isinstance(calls.answers[code], Unknown) for code in set(calls.told))
        restarted = False
        for injection in self._struck:
            restarts = injection.kind in (FaultKind.RESTART_FAST, FaultKind.RESTART_IMMEDIATE)
            self._count(injection.kind).met += told_unknown or injection.kind is FaultKind.PAUSED
            restarted = restarted or restarts
        if restarted:
            self._renew()
        gone = "backends whose client is gone"
        if self._killed:
            harm.wait_until_gone(lambda: _of_sessions(arena), gone)
        elif calls.lost:
            harm.wait_until_gone(lambda: _still_there(arena, calls.lost), gone)

    def _count(self, kind: FaultKind) -> FaultCount:
        return self.counts.setdefault(kind, FaultCount())


def _of_sessions(arena: Arena) -> int:
    query = f"SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = '{APPLICATION}'"
    return len(arena.control.run(query)[0])


def _still_there(arena: Arena, pids: Sequence[int]) -> int:
    listed = ",".join(map(str, pids))
    return len(arena.control.run(f"SELECT FROM pg_stat_activity WHERE pid IN ({listed})")[0])
