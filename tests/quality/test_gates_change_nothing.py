"""Gates that hold nobody change nothing: every strategy comes to the same outcomes with all of them and with none."""

import pytest

from harness.campaign.job import Arenas, explorers_for
from harness.generators.contests import contests
from harness.model.cell import Cell, Isolation
from harness.model.contest import Contest
from harness.model.outcome import Outcome
from harness.model.schedule import Gates
from harness.runners.explorer import Explorer
from harness.runners.virtual import virtual
from harness.scenario.discovery import find
from harness.scenario.strategy import Strategy
from harness.schedulers.preemptions import Preemptions
from harness.servers.server import Server
from harness.sessions.control import SqlRefused
from harness.sessions.steering import OrderLost

pytestmark = pytest.mark.server

SCENARIOS = ("purchases", "oauth_installations", "waba_accounts", "qbo_tokens", "platform_connections")


def outcomes(explorer: Explorer, contest: Contest) -> set[Outcome]:
    found, scheduler = set(), Preemptions(bound=1)
    explorer.prepare(contest)
    while scheduler.new_trial():
        try:
            found.add(explorer.run(contest, scheduler, truncate=True).seen.outcome)
        except OrderLost:
            continue
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_outcomes_with_all_gates_and_none_held_are_those_without_gates(server: Server, name: str) -> None:
    (scenario,) = find(name)
    bare, gated = Arenas(None), Arenas(None)

    def explorer(arenas: Arenas, strategy: Strategy, layout: str, gates: Gates) -> Explorer:
        cell = Cell(name, strategy.name, layout, "", isolation, server.id)
        return explorers_for(arenas, server, scenario, strategy, cell, gates=gates)[0]

    compared = 0
    try:
        with virtual():
            for layout in scenario.layouts:
                for strategy in scenario.strategies:
                    isolation = min(strategy.levels, key=list(Isolation).index)
                    without = explorer(bare, strategy, layout, Gates.NONE)
                    within = explorer(gated, strategy, layout, Gates.ALL)
                    contest = contests(scenario, strategy, next(iter(scenario.states)))[0]
                    try:
                        expected = outcomes(without, contest)
                    except SqlRefused:
                        continue  # the layout forbids the state
                    assert outcomes(within, contest) == expected, (layout, strategy.name)
                    compared += len(expected)
    finally:
        bare.close()
        gated.close()
    assert compared > len(scenario.strategies)
