"""The value: what it shows, what it hides, how it travels."""

import pickle
from dataclasses import replace

import pytest
from psycopg.conninfo import conninfo_to_dict

from harness.servers.server import (
    SameVersion,
    Server,
    ServerError,
    check_not_too_old,
    server_id,
    told_apart,
    version_text,
)

SERVER = Server(
    id="pg18",
    provider="container",
    version="18.4",
    version_num=180004,
    conninfo=(("host", "127.0.0.1"), ("port", "32768"), ("user", "postgres"), ("password", "s3 cr'et")),
    maintenance_database="postgres",
    local=False,
    superuser=True,
    wake_order="copy-program",
    durability="default",
    chosen_because="auto: a Docker engine answers",
)


def test_nothing_that_is_printed_shows_the_password() -> None:
    for printed in (repr(SERVER), str(SERVER), SERVER.describe()):
        assert "s3" not in printed


def test_one_line_says_which_server_and_why() -> None:
    assert SERVER.describe() == (
        "container PostgreSQL 18.4 (auto: a Docker engine answers; the server's own durability)"
    )


def test_the_connection_string_names_the_database_and_quotes_what_must_be() -> None:
    assert conninfo_to_dict(SERVER.dsn("mine")) == {**dict(SERVER.conninfo), "dbname": "mine"}
    assert conninfo_to_dict(SERVER.dsn())["dbname"] == "postgres"


def test_it_travels_to_another_process_unchanged() -> None:
    assert Server.from_json(SERVER.to_json()) == SERVER
    assert pickle.loads(pickle.dumps(SERVER)) == SERVER


def test_versions_are_told_as_people_say_them() -> None:
    assert (server_id(130023), version_text(130023)) == ("pg13", "13.23")
    assert (server_id(180004), version_text(180004)) == ("pg18", "18.4")


def test_two_minors_of_one_major_version_are_told_apart_and_nobody_else_is_renamed() -> None:
    def server(version: str, number: int) -> Server:
        return replace(SERVER, id=server_id(number), version=version, version_num=number)

    older, newer, other = server("15.18", 150018), server("15.20", 150020), server("18.4", 180004)
    assert [s.id for s in told_apart([older, other])] == ["pg15", "pg18"]
    assert [s.id for s in told_apart([older, other, newer])] == ["pg15.18", "pg18", "pg15.20"]
    with pytest.raises(SameVersion, match=r"2 of the servers are PostgreSQL 15\.18: expected different versions"):
        told_apart([older, newer, older])


def test_an_old_version_is_refused() -> None:
    check_not_too_old("13.23", 13)
    with pytest.raises(ServerError, match=r"PostgreSQL 12\.1 is too old: 13 or newer is needed; try --server"):
        check_not_too_old("12.1", 12)
