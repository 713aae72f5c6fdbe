"""Any trial, not only those with a finding: what the tools see is what was recorded, several calls and failures too."""

import random

import pytest

from harness.exports.psql import runner
from harness.exports.spec import spec
from harness.model.cell import Cell, Isolation
from harness.model.contest import Call, Contest
from harness.model.schedule import Failing, Fault, Gates, Schedule
from harness.runners.script import Unwritable
from harness.scenario.discovery import digest, find
from harness.servers.databases import own_database
from harness.servers.server import Server
from harness.sessions.steering import Uncontrolled

from .conftest import RACES, some_trial
from .tools import isolationtester, missing_in, run_script, run_spec

pytestmark = pytest.mark.server

STRATEGIES = {
    "look_first": Isolation.READ_COMMITTED,
    "make_then_fill": Isolation.READ_COMMITTED,
    "in_a_function": Isolation.READ_COMMITTED,
    "swallow": Isolation.REPEATABLE_READ,
    "TwoRequests": Isolation.READ_COMMITTED,
    "without_autocommit": Isolation.READ_COMMITTED,
    "upsert": Isolation.READ_COMMITTED,
}


def some_schedule(server: Server, seed: int) -> Schedule:
    """Two or three sessions with one to three calls each, on two keys; one client may fail."""
    chance = random.Random(seed)
    strategy = chance.choice(sorted(STRATEGIES))
    layout, state = chance.choice(["none", "unique"]), chance.choice(["new", "there"])
    amounts = iter(range(1, 100))
    sessions = tuple(
        tuple(
            Call("add", (("name", f"name{chance.randint(1, 2)}"), ("amount", next(amounts))))
            for _ in range(chance.randint(1, 3))
        )
        for _ in range(chance.choice([2, 2, 3]))
    )
    failing = chance.choice([None, *Failing])
    fault = None if failing is None else Fault(0, chance.randint(0, 3), failing)
    (scenario,) = find(RACES)
    cell = Cell("races", strategy, layout, state, STRATEGIES[strategy], server.id)
    return Schedule(
        cell,
        Contest(state, sessions, "some"),
        (),
        chance.choice([Gates.NONE, Gates.USUAL, Gates.ALL]),
        chance.random() < 0.3,
        digest(scenario, layout),
        fault=fault,
    )


@pytest.mark.parametrize("seed", range(5))
def test_tools_see_what_was_recorded(seed: int, server: Server) -> None:
    if isolationtester(server) is None:
        pytest.skip("the wheel has no isolationtester of this server's version")
    differences_of(server, seed)


def differences_of(server: Server, seed: int) -> None:
    try:
        recorded = some_trial(server, some_schedule(server, seed), seed)
        texts = spec(recorded), runner(recorded)
    except (Uncontrolled, Unwritable) as why:
        pytest.skip(str(why))
    with own_database(server, label="export") as database:
        output = run_spec(texts[0], server, database)
    assert not missing_in(output, recorded), f"{texts[0]}\n{output}"
    ran = run_script(texts[1], server)
    assert ran.returncode == 0, ran.stdout + ran.stderr
