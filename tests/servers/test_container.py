"""Containers: bound to loopback, ready when they answer, gone at every end. Skipped where no Docker engine answers."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from harness.schedulers.replay import Replay
from harness.servers import container
from harness.servers.choose import running
from harness.servers.databases import own_database
from harness.servers.server import Server, ServerError
from harness.sessions.arena import Arena
from harness.sessions.steering import Steering
from tests.sessions.trials import ONE_ROW, UNIQUE, Following, follow, run, transaction

WITHIN_S = 60.0


def ours() -> list[Any]:
    import docker

    client = docker.from_env()
    try:
        return list(client.containers.list(all=True, ignore_removed=True, filters={"label": container.LABEL}))
    finally:
        client.close()


def wait_until(state: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not state():
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.05)


def setting(server: Server, name: str) -> str:
    with psycopg.connect(server.dsn()) as connection:
        row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
        assert row is not None
        return str(row[0])


@pytest.mark.server
@pytest.mark.usefixtures("docker_engine")
def test_an_explorers_container_is_fast_and_on_loopback_only() -> None:
    before = {one.id for one in ours()}
    with running("container:18") as server:
        (mine,) = (one for one in ours() if one.id not in before)
        assert [binding["HostIp"] for binding in mine.ports["5432/tcp"]] == ["127.0.0.1"]
        assert (server.id, server.local, server.superuser) == ("pg18", False, True)
        assert (server.wake_order, server.durability) == ("copy-program", "off")
        assert [setting(server, name) for name in ("fsync", "autovacuum")] == ["off", "off"]
        with psycopg.connect(server.dsn()) as connection:
            connection.execute("COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'")
        with own_database(server) as name, psycopg.connect(server.dsn(name)):
            pass
    assert mine.id not in {one.id for one in ours()}


@pytest.mark.server
@pytest.mark.usefixtures("docker_engine")
def test_a_hammers_container_keeps_the_servers_durability() -> None:
    with running("container:16", purpose="hammer") as server:
        assert server.id == "pg16"
        assert [setting(server, name) for name in ("fsync", "synchronous_commit", "autovacuum")] == ["on"] * 3
        assert server.durability == "default"


@pytest.mark.server
@pytest.mark.usefixtures("docker_engine")
def test_an_image_that_cannot_be_had_is_named_with_the_way_to_check_it() -> None:
    before = {one.id for one in ours()}
    with (
        pytest.raises(ServerError, match=r"image 'localhost:1/none:0' does not start: .*docker pull localhost"),
        running("container:localhost:1/none:0"),
    ):
        pass
    assert {one.id for one in ours()} == before


@pytest.mark.server
@pytest.mark.usefixtures("docker_engine")
def test_a_container_that_ends_at_once_shows_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {one.id for one in ours()}
    monkeypatch.setattr(container, "settings_for", lambda purpose: {"shared_buffers": "a lot"})
    with pytest.raises(ServerError) as refused, running("container:18"):
        pass
    assert "container exited" in str(refused.value)
    assert "shared_buffers" in str(refused.value)
    assert {one.id for one in ours()} == before


@pytest.mark.server
@pytest.mark.usefixtures("docker_engine")
def test_who_wakes_first_in_a_container_is_ordered_by_its_own_shell() -> None:
    append = [transaction(f"UPDATE t SET n = n * 10 + {n + 1} WHERE k = 1") for n in range(4)]
    with running("container:18") as server, own_database(server) as name:
        made = Arena(server, name, [UNIQUE])
        try:
            made.prepare(ONE_ROW.encode())
            for order, woken in {"abcda": "1234", "adcba": "1432", "acdba": "1342", "dcbad": "4321"}.items():
                first = follow(made, order, *append, steering=Steering(server.wake_order))
                assert first.rows == (("1", woken),)
                for _ in range(5):
                    replay = Replay(first.ended.choices)
                    assert replay.new_trial()
                    again = run(made, replay, *append, steering=Steering(server.wake_order))
                    assert (again.outcome, again.ended.choices) == (first.outcome, first.ended.choices)
            with pytest.raises(ZeroDivisionError):  # a trial that is given up leaves no backend stopped
                run(made, GivesUp("abcd"), *append, steering=Steering(server.wake_order))
            assert follow(made, "abcda", *append, steering=Steering(server.wake_order)).rows == (("1", "1234"),)
        finally:
            made.close()


class GivesUp(Following):
    """Fails when it would have to choose among those whom the first session has let go."""

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        return super().choose(options, current, event) if len(options) > 1 else 1 // 0


CONTROLLER = """
    import time
    from harness.servers.choose import running

    with running("container:18") as server:
        print("ready", flush=True)
        time.sleep(100)
"""


@pytest.mark.server
@pytest.mark.usefixtures("docker_engine")
def test_no_container_survives_a_kill_9_of_the_harness() -> None:
    before = {one.id for one in ours()}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CONTROLLER)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    assert {one.id for one in ours()} > before
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: {one.id for one in ours()} <= before, "the container removed")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerError, match=r"pip install 'upsert-harness\[containers\]', or try --server embedded"):
        container.check_engine()


def test_without_an_engine_it_says_so_and_names_the_embedded_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    pytest.importorskip("testcontainers", reason="package testcontainers is not installed")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{os.fspath(tmp_path)}/nobody")
    with pytest.raises(ServerError, match=r"no Docker engine answers at unix://.*; start one, or try --server"):
        container.check_engine()
