"""Start states that operations lead to: made once by the operations' own bodies, and the same before every trial."""

from pathlib import Path

from harness.campaign.campaign import Options, explore, select
from harness.model.verdict import Verdict
from harness.servers.server import Server

from .exploring import written

OPENING = """
import uuid
from hypothesis import strategies as st
from harness import READ_COMMITTED, Connection, Identity, Key, Own, Scenario, unsafe
"""

VISITS = (
    OPENING
    + '''
visits = Scenario("visits", tables="""CREATE TABLE visit (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, guest int NOT NULL, note text NOT NULL, token uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(), until timestamptz NOT NULL DEFAULT now() + interval '1 hour')""")

@visits.operation(guest=Key(int), note=Own(st.text("ab", min_size=1)))
def visit(connection: Connection, guest: int, note: str) -> str:
    connection.execute("INSERT INTO visit (guest, note, token) VALUES (%s, %s, %s)", (guest, note, uuid.uuid4()))
    latest = connection.execute("SELECT note FROM visit WHERE guest = %s ORDER BY at LIMIT 1", (guest,)).fetchone()
    return latest[0]

visits.state("been", visit.call(note="first"), visit.call(note="second"))

@visit.strategy(isolation=READ_COMMITTED)
def as_specified(connection: Connection, guest: int, note: str) -> str:
    return visit.body(connection, guest, note)
'''
)


def test_sequences_go_on_and_times_keep_their_order(server: Server, tmp_path: Path) -> None:
    # Ids that began anew would be 23505; times that moved, or were all one, would be another outcome in each trial.
    result = written(server, tmp_path, VISITS, "as_specified[been,none]")
    assert (result.verdict, result.findings) == (Verdict.UNKNOWN, ())
    assert result.reason.startswith("never contended") and result.coverage.orders > 3


def test_a_state_that_its_operation_cannot_reach_is_no_cell_of_the_layout(server: Server, tmp_path: Path) -> None:
    scenario = VISITS.replace(
        'interval \'1 hour\')""")', 'interval \'1 hour\')""", layouts={"once": "CREATE UNIQUE INDEX ON visit (guest)"})'
    )
    (tmp_path / "scenario.py").write_text(scenario)
    wanted = Options(workers=0, states=("been",))
    report = explore(select([str(tmp_path / "scenario.py")], wanted, [server.id]), [server], wanted)
    assert [result.cell.layout for result in report.cells] == ["none"]
