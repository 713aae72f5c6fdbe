"""Whose step is whose in a trace: every statement stands in the column of the session that sent it."""

import pytest

from harness.campaign.job import Arenas, explorers_for
from harness.generators.contests import contests
from harness.model.cell import Cell, Isolation
from harness.model.contest import OpRef
from harness.model.schedule import Gates
from harness.model.trace import Happening
from harness.runners.recorder import Recorder
from harness.runners.virtual import virtual
from harness.scenario.discovery import find
from harness.schedulers.preemptions import Preemptions
from harness.servers.server import Server

pytestmark = pytest.mark.server


def test_every_insert_stands_in_the_column_of_its_call(server: Server) -> None:
    (scenario,) = find("purchases")
    strategy = next(s for s in scenario.strategies if s.name == "advisory_lock")
    cell = Cell("purchases", strategy.name, "none", "new", Isolation.READ_COMMITTED, server.id)
    contest = contests(scenario, strategy, "new")[0]
    arenas = Arenas(None)
    try:
        with virtual():
            explorer, _ = explorers_for(arenas, server, scenario, strategy, cell, gates=Gates.NONE)
            scheduler = Preemptions()
            interleaved = 0
            while scheduler.new_trial():
                recorder = Recorder()
                explorer.run(contest, scheduler, recorder=recorder)
                for event in recorder.trace:
                    if event.statement.startswith("INSERT"):
                        amount = dict(contest.call(OpRef(event.session, 0)).arguments)["amount"]
                        assert event.statement.endswith(f"{amount}"), event
                # Between its first step and its answer a session's steps are its own: no column is ever empty of them.
                for session in (0, 1):
                    mine = [e for e in recorder.trace if e.session == session]
                    assert mine[-1].happening is Happening.ANSWERED
                    assert any(e.statement.startswith("COMMIT") for e in mine), recorder.trace
                columns = [e.session for e in recorder.trace if e.happening is not Happening.ANSWERED]
                interleaved += columns != sorted(columns) and columns != sorted(columns, reverse=True)
            assert interleaved
    finally:
        arenas.close()
