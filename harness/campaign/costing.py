"""Which blocks to measure next: of everything six rounds, then where two that pass are not told apart.

First those that pass, then what is unsafe beside them, last what may pass yet: a budget that ends early has bought the
costs that a recommendation needs.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from typing import Protocol

from harness.campaign.campaign import Progress
from harness.campaign.kept import Kept
from harness.campaign.measure import CostJob, measure
from harness.campaign.recommend import PASSES, settled, verdicts
from harness.campaign.workers import WorkerDied
from harness.model.cell import Cell
from harness.model.comparison import Group, Judged, Recommendation
from harness.model.cost import Contestant, Measured, Mix
from harness.model.verdict import Verdict
from harness.scenario.language import Scenario
from harness.servers.server import Server

MIXES = tuple(Mix)
ROUNDS_FIRST = 6  # fewer have no interval of 95 %
ROUNDS_MORE = 4  # at a time, for those that are not told apart yet
ROUNDS_MAX = 30


class Known(Protocol):
    """What a comparison knows so far, and its bounds."""

    kept: Kept
    executor: Executor
    scenario: Scenario
    warnings: list[str]
    listen: Callable[[Judged | Progress], None]

    @property
    def judged(self) -> tuple[Judged, ...]: ...

    @property
    def existing(self) -> tuple[Cell, ...]: ...

    @property
    def groups(self) -> tuple[Group, ...]: ...

    def advice(self, group: Group, measured: Sequence[Measured]) -> list[Recommendation]: ...


class Costing:
    """Spends what is left of a budget on blocks."""

    def __init__(self, known: Known, servers: Sequence[Server], *, clients: int, calls: int, seed: int) -> None:
        self._known, self._kept, self._servers = known, known.kept, servers
        self._clients, self._calls, self._seed = clients, calls, seed

    def spend(self, deadline: float) -> None:
        """Until nothing is undecided, or time.time() has come to the deadline."""
        places = [(server, group) for group in self._known.groups for server in self._servers]
        for tier in (PASSES, (Verdict.UNSAFE,), (Verdict.UNKNOWN,)):
            for number, (server, group) in enumerate(places):
                # One more share is left for what is measured beside those that pass.
                share = (deadline - time.time()) / (len(places) - number + (tier is PASSES))
                self._first_rounds(server, group, tier, time.time() + share)
        while time.time() < deadline:
            undecided = [
                (server, group, found) for server, group in places if (found := self._undecided(server, group))
            ]
            if not undecided:
                return
            for server, group, contestants in undecided:
                self._rounds(server, group, contestants, ROUNDS_MORE, deadline)

    def _first_rounds(self, server: Server, group: Group, tier: Sequence[Verdict], deadline: float) -> None:
        """Job after job: one takes as many contestants as it has the time for."""
        while lacking := [
            who
            for who in self._worth_measuring(group, tier)
            if self._complete(server, who) < ROUNDS_FIRST and (server.id, who) not in self._kept.dropped
        ]:
            before = sum(self._complete(server, who) for who in lacking)
            missing = ROUNDS_FIRST - min(self._complete(server, who) for who in lacking)
            beside = [group.reference, *(one.best for one in self._advice(server, group) if one.best)]
            self._rounds(server, group, [*beside, *lacking], missing, deadline)
            if time.time() >= deadline or sum(self._complete(server, who) for who in lacking) == before:
                return

    def _worth_measuring(self, group: Group, tier: Sequence[Verdict]) -> list[Contestant]:
        """Those of these verdicts, in layouts in which something passes or may yet; anywhere if that is nowhere."""
        told = verdicts(self._known.judged, group, self._known.existing)
        layouts = {who.layout for who, verdict in told.items() if verdict is not Verdict.UNSAFE}
        return [who for who in group.contestants if told[who] in tier and (who.layout in layouts or not layouts)]

    def _complete(self, server: Server, who: Contestant) -> int:
        """Rounds that have a block of every mix."""
        mixes: dict[int, set[Mix]] = {}
        for one in self._kept.measured:
            if one.contestant == who and one.server == server.id:
                mixes.setdefault(one.round, set()).add(one.mix)
        return sum(len(found) == len(MIXES) for found in mixes.values())

    def _begun(self, server: Server, group: Group) -> int:
        mine = (m.round for m in self._kept.measured if m.server == server.id and m.contestant in group.contestants)
        return 1 + max(mine, default=-1)

    def _advice(self, server: Server, group: Group) -> list[Recommendation]:
        """From this server's costs alone."""
        return self._known.advice(group, [m for m in self._kept.measured if m.server == server.id])

    def _undecided(self, server: Server, group: Group) -> tuple[Contestant, ...]:
        """Those that pass and whose time is not told from that of the fastest, and whom they are held against."""
        if self._begun(server, group) >= ROUNDS_MAX:
            return ()
        blocks = {server.id: [m for m in self._kept.measured if m.server == server.id]}
        told = verdicts(self._known.judged, group, self._known.existing)
        found: list[Contestant] = []
        for one in self._advice(server, group):
            if one.best is None or not one.measured:
                continue
            rivals = [who for who in told if told[who] in PASSES and who != one.best and who in one.as_good]
            rivals = [who for who in rivals if (server.id, who) not in self._kept.dropped]
            close = [who for who in rivals if not settled(who, one.best, blocks, MIXES)]
            if close:
                found += [one.best, group.reference, *close, *([one.unsafe] if one.unsafe else [])]
        return tuple(dict.fromkeys(found))

    def _rounds(
        self, server: Server, group: Group, contestants: Iterable[Contestant], rounds: int, deadline: float
    ) -> None:
        going = tuple(who for who in dict.fromkeys(contestants) if (server.id, who) not in self._kept.dropped)
        if not going or time.time() >= deadline:
            return
        known, first = self._known, self._begun(server, group)
        known.listen(Progress(first, ROUNDS_MAX, f"measuring {group.operation} on {server.id}, round {first + 1}"))
        job = CostJob(
            server, known.scenario.path, known.scenario.name, group.operation, going, MIXES,
            self._clients, self._calls, first, rounds, self._seed, deadline,
        )  # fmt: skip
        # One at a time: what is measured is to have the machine for itself.
        try:
            told = known.executor.submit(measure, job).result()
        except (WorkerDied, BrokenExecutor) as died:
            known.warnings.append(f"costs of {group.operation} on {server.id}: {died}")
            for who in going:
                self._kept.drop(server.id, who, "the process that measured it ended")
            return
        self._kept.measure(told.blocks)
        for who, why in told.dropped:
            self._kept.drop(server.id, who, why)
