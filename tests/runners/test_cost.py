"""What blocks count, held against what PostgreSQL is known to do."""

from collections.abc import Iterator

import pytest

from harness.generators.workload import workload
from harness.model.cell import Isolation
from harness.model.cost import FIGURES, Block, Mix
from harness.runners import cost
from harness.runners.cost import Bench, NeverEnds
from harness.scenario.discovery import load
from harness.scenario.language import Scenario
from harness.servers.server import Server

CLIENTS, CALLS = 2, 20

SCENARIO = '''
"""Counters, one row for each key."""
from psycopg.errors import UniqueViolation
from harness import Connection, Key, Pool, SERIALIZABLE, Scenario

counters = Scenario(
    "counters",
    tables="CREATE TABLE counter (id serial, key int NOT NULL, hits int NOT NULL DEFAULT 1, filler int)",
    layouts={"unique": "CREATE UNIQUE INDEX ON counter (key)", "more": """
        CREATE UNIQUE INDEX ON counter (key); CREATE INDEX ON counter (hits)"""},
)

@counters.operation(key=Key(int))
def hit(connection: Connection, key: int) -> None:
    connection.execute("INSERT INTO counter (key) VALUES (%s) ON CONFLICT DO NOTHING", (key,))

@hit.strategy
def nothing(connection, key):
    connection.execute("INSERT INTO counter (key) VALUES (%s) ON CONFLICT (key) DO NOTHING", (key,))

@hit.strategy
def update(connection, key):
    connection.execute(
        "INSERT INTO counter (key) VALUES (%s) ON CONFLICT (key) DO UPDATE SET hits = counter.hits + 1", (key,))

@hit.strategy
def savepoint(connection, key):
    with connection.transaction():
        try:
            with connection.transaction():
                connection.execute("INSERT INTO counter (key) VALUES (%s)", (key,))
        except UniqueViolation:
            pass

@hit.strategy
def look(pool: Pool, key):
    with pool.connection() as connection:
        return connection.execute("SELECT FROM counter WHERE key = %s", (key,)).fetchone() is not None

@hit.strategy
def fails(connection, key):
    connection.execute("INSERT INTO counter (key) VALUES (%s) ON CONFLICT (filler) DO NOTHING", (key,))

@hit.strategy
def forgets_to_commit(connection, key):
    connection.execute("BEGIN")

@hit.strategy
def waits_for_ever(connection, key):
    connection.execute("SELECT pg_advisory_xact_lock(1), pg_sleep(3600)")

@hit.strategy(isolation=SERIALIZABLE)
def again_and_again(connection, key):
    with connection.transaction():
        connection.execute("DO $$ BEGIN IF nextval('counter_id_seq') % 2 = 1 THEN"
            " RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END IF; END $$")
'''


@pytest.fixture(scope="module")
def counters(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    path = tmp_path_factory.mktemp("scenarios") / "counters.py"
    path.write_text(SCENARIO)
    return load(path)[0]


@pytest.fixture(scope="module")
def bench(embedded_server: Server, counters: Scenario) -> Iterator[Bench]:
    # Transaction ids and WAL are counted for the whole server: other tests must not take any of it.
    with Bench(embedded_server, counters, "unique", CLIENTS) as made:
        yield made


def run(bench: Bench, name: str, mix: Mix) -> Block:
    strategy = next(s for s in bench.scenario.strategies if s.name == name)
    work = workload(bench.scenario, "hit", mix, clients=CLIENTS, calls=CALLS, seed=1)
    return bench.block(strategy, strategy.isolation or Isolation.READ_COMMITTED, "hit", work)


def figure(block: Block, name: str) -> float:
    return FIGURES[name](block)


def test_do_nothing_burns_one_sequence_value_for_each_row_that_is_there(bench: Bench) -> None:
    block = run(bench, "nothing", Mix.EXISTING)
    assert block.acknowledged == CLIENTS * CALLS
    assert figure(block, "sequence_values") == 1
    assert figure(block, "dead_tuples") == 0
    assert block.counters["rows_inserted"] == 0


def test_a_look_burns_nothing(bench: Bench) -> None:
    blocks = [run(bench, "look", Mix.EXISTING) for _ in range(5)]
    block = blocks[0]
    assert figure(block, "sequence_values") == 0
    assert min(block.counters["transaction_ids"] for block in blocks) == 0  # autovacuum takes some
    assert figure(block, "round_trips") == 1


def test_do_update_leaves_a_dead_row_for_each_call_without_touching_the_index(bench: Bench) -> None:
    block = run(bench, "update", Mix.EXISTING)
    assert figure(block, "dead_tuples") == 1
    assert block.counters["rows_updated"] == CLIENTS * CALLS
    assert figure(block, "hot_share") > 0.5  # all but those whose page was full
    assert figure(block, "transaction_ids") >= 1


def test_an_indexed_column_that_changes_leaves_no_update_hot(server: Server, counters: Scenario) -> None:
    with Bench(server, counters, "more", CLIENTS) as bench:
        assert figure(run(bench, "update", Mix.EXISTING), "hot_share") == 0


@pytest.mark.parametrize("mix", [Mix.NEW, Mix.HOT])
def test_a_savepoint_takes_a_second_transaction_id(bench: Bench, mix: Mix) -> None:
    blocks = [run(bench, "savepoint", mix) for _ in range(5)]
    block = blocks[0]
    # Autovacuum takes some, too: the least is the strategy's own.
    assert min(figure(block, "transaction_ids") for block in blocks) == 2
    assert figure(block, "dead_tuples") == (0 if mix is Mix.NEW else 1)
    assert block.errors == ({} if mix is Mix.NEW else {"23505": CLIENTS * CALLS})


def test_new_rows_make_heap_and_index_grow_from_nothing(bench: Bench) -> None:
    block = run(bench, "nothing", Mix.NEW)
    assert block.counters["rows_inserted"] == CLIENTS * CALLS
    assert block.counters["heap_bytes"] == 8192
    assert block.counters["index_bytes"] == 8192
    assert figure(block, "wal_bytes") > 100


def test_what_fails_is_not_acknowledged(bench: Bench) -> None:
    block = run(bench, "fails", Mix.NEW)
    assert (block.acknowledged, block.failed) == (0, {"42P10": CLIENTS * CALLS})


def test_what_was_not_committed_is_not_acknowledged(bench: Bench) -> None:
    assert run(bench, "forgets_to_commit", Mix.NEW).failed == {"left its transaction open": CLIENTS * CALLS}


def test_the_caller_calls_again_where_that_is_declared(bench: Bench) -> None:
    block = run(bench, "again_and_again", Mix.NEW)
    assert block.acknowledged == CLIENTS * CALLS
    assert figure(block, "retries") == pytest.approx(1, abs=0.1)  # odd values fail; the last call may be an even one


def test_a_block_without_end_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "BLOCK_SECONDS_MAX", 0.3)
    with pytest.raises(NeverEnds, match="no end within"):
        run(bench, "waits_for_ever", Mix.NEW)
    assert run(bench, "nothing", Mix.NEW).acknowledged == CLIENTS * CALLS  # and the next one finds its connections
