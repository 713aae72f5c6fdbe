"""Databases of our own: there for the block, gone after it, and swept only when their owner is dead."""

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psycopg
import pytest

from harness.servers.databases import LOCK_CLASS, MARK, lock_in, own_database, sweep, unique_name
from harness.servers.server import Server, ServerError


def databases(server: Server) -> set[str]:
    with psycopg.connect(server.dsn()) as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall()}


def run(server: Server, *statements: str) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_names_are_unique_readable_and_plain() -> None:
    names = {unique_name("gw0 / Purchases") for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("harness_gw0_purchases_") and name.replace("_", "").isalnum() for name in names)
    assert len(unique_name("x" * 200)) < 63


def test_only_our_mark_for_this_database_names_a_lock() -> None:
    assert lock_in(MARK.format(lock=17, database="shop"), "shop") == 17
    assert lock_in(MARK.format(lock=17, database="shop"), "other") is None
    assert lock_in("the harness of the north", "shop") is None
    assert lock_in(None, "shop") is None


@pytest.mark.server
def test_a_database_is_empty_and_lives_as_long_as_the_block(embedded_server: Server) -> None:
    with own_database(embedded_server, label="gw0") as name:
        assert name in databases(embedded_server)
        with psycopg.connect(embedded_server.dsn(name)) as connection:
            row = connection.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
            assert row.fetchone() == (0,)
    assert name not in databases(embedded_server)


@pytest.mark.server
def test_it_is_dropped_after_an_error_with_clients_still_connected(embedded_server: Server) -> None:
    with pytest.raises(ZeroDivisionError), own_database(embedded_server) as name:
        left_open = psycopg.connect(embedded_server.dsn(name))
        raise ZeroDivisionError
    assert name not in databases(embedded_server)
    left_open.close()


@pytest.mark.server
def test_a_backend_somebody_stopped_does_not_hold_it_up(embedded_server: Server) -> None:
    with own_database(embedded_server) as name:
        stopped = psycopg.connect(embedded_server.dsn(name))
        os.kill(stopped.info.backend_pid, signal.SIGSTOP)
    assert name not in databases(embedded_server)
    stopped.close()


@pytest.mark.server
def test_it_is_dropped_when_its_keeper_was_cut_off(embedded_server: Server) -> None:
    with own_database(embedded_server) as name:
        run(
            embedded_server,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'upsert-harness keeper'",
        )
    assert name not in databases(embedded_server)


@pytest.mark.server
def test_a_server_that_went_away_is_said() -> None:
    gone = Server("pg18", "dsn", "18.4", 180004, (("host", "/nowhere"),), "postgres", False, True, "dropped", "off", "")
    with pytest.raises(ServerError, match=r"cannot connect to the dsn server: .*; is it still running\?"):
        own_database(gone).__enter__()


def make_one(text: str) -> str:
    server = Server.from_json(text)
    with own_database(server) as name, psycopg.connect(server.dsn(name)) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
    return name


@pytest.mark.server
def test_several_processes_make_theirs_at_the_same_time(embedded_server: Server) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        names = set(pool.map(make_one, [embedded_server.to_json()] * 8))
    assert len(names) == 8
    assert not names & databases(embedded_server)


@pytest.mark.server
def test_the_sweep_drops_what_dead_runs_left_and_nothing_else(embedded_server: Server) -> None:
    mark = MARK.format(lock=1234, database="postgres")
    elsewhere = MARK.format(lock=1234, database="template1")
    run(
        embedded_server,
        "CREATE DATABASE harness_dead",
        f"COMMENT ON DATABASE harness_dead IS '{mark}'",
        "CREATE DATABASE harness_unmarked",
        "CREATE DATABASE harness_of_elsewhere",
        f"COMMENT ON DATABASE harness_of_elsewhere IS '{elsewhere}'",
        "CREATE DATABASE shop",
        f"COMMENT ON DATABASE shop IS '{mark}'",
    )
    others = {"harness_unmarked", "harness_of_elsewhere", "shop"}
    try:
        with own_database(embedded_server) as alive:
            assert sweep(embedded_server) == ["harness_dead"]
            assert others | {alive} <= databases(embedded_server)
            assert sweep(embedded_server) == []
    finally:
        run(embedded_server, *(f"DROP DATABASE IF EXISTS {name}" for name in [*others, "harness_dead"]))


@pytest.mark.server
@pytest.mark.parametrize("sign", ["its lock is held", "somebody is connected"])
def test_the_sweep_leaves_what_shows_a_sign_of_life(embedded_server: Server, sign: str) -> None:
    mark = MARK.format(lock=77, database="postgres")
    run(embedded_server, "CREATE DATABASE harness_busy", f"COMMENT ON DATABASE harness_busy IS '{mark}'")
    try:
        database = "postgres" if sign == "its lock is held" else "harness_busy"
        with psycopg.connect(embedded_server.dsn(database), autocommit=True) as owner:
            owner.execute("SELECT pg_advisory_lock(%s, 77)", (LOCK_CLASS,))
            assert sweep(embedded_server) == []
    finally:
        run(embedded_server, "DROP DATABASE harness_busy WITH (FORCE)")
