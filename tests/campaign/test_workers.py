"""A worker that is told to end does, whatever becomes of the exception that was to end it."""

from pathlib import Path

import pytest

from harness.campaign.campaign import Options, jobs_of, select
from harness.campaign.workers import Workers
from harness.servers.server import Server

pytestmark = pytest.mark.server

# The code under test is inside when the worker is told to end; it swallows that, and goes on as if nothing had been.
SWALLOWS = """
import os, signal
from harness import READ_COMMITTED, Connection, Key, Scenario

swallows = Scenario("swallows", tables="CREATE TABLE item (name text)")

@swallows.operation(name=Key(str))
def put(connection: Connection, name: str) -> None:
    connection.execute("INSERT INTO item VALUES (%s)", [name])

@put.strategy(isolation=READ_COMMITTED)
def all_of_it(connection: Connection, name: str) -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        pass
    put(connection, name)
"""


def test_a_worker_ends_though_code_swallowed_that_it_should(server: Server, tmp_path: Path) -> None:
    (tmp_path / "swallows.py").write_text(SWALLOWS)
    options = Options(workers=1)
    (job,) = jobs_of(select([str(tmp_path / "swallows.py")], options, [server.id]), [server], options, None)
    with Workers(1) as workers:
        events = workers.run([job])
        next(events)  # it went on
        (worker,) = workers._workers
        worker.process.join()  # as at exit: nobody kills it
        assert worker.process.exitcode == 1
