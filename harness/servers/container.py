"""A throw-away container with PostgreSQL, through testcontainers; gone at the end, also when the harness was killed."""

import contextlib
import gc
import importlib.util
import os
import secrets
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from harness.servers import supervisor
from harness.servers.embedded import settings_for
from harness.servers.server import (
    Purpose,
    Server,
    ServerError,
    check_not_too_old,
    major_of,
    one_line,
    server_id,
    version_text,
)

LABEL = "upsert-harness.run"
READY_WITHIN_S = 120.0  # from the container's start on: the image is there by then
ASK_AGAIN_S = 0.05

# Run by the supervisor, at every end alike: what is tested every day is what cleans up after a kill -9.
REMOVE = """
import sys, time, docker
client = docker.from_env()
for look in range(3):
    found = client.containers.list(all=True, filters={"label": sys.argv[1]})
    for container in found:
        try:
            container.remove(force=True, v=True)
        except docker.errors.NotFound:
            pass
    if found:
        break
    time.sleep(0.5)  # the request that creates it may still be under way
"""


def check_engine() -> None:
    """Raises unless a Docker engine answers."""
    client = new_client()
    client.client.close()


def new_client() -> Any:
    if importlib.util.find_spec("testcontainers") is None:
        raise ServerError(
            "containers need the package testcontainers, which is not installed: "
            "pip install 'upsert-harness[containers]', or try --server embedded"
        )
    from docker.errors import DockerException  # type: ignore[import-untyped, unused-ignore]
    from testcontainers.core.docker_client import DockerClient

    try:
        client = DockerClient()
        client.client.ping()
        return client
    except (DockerException, OSError) as error:
        reason = one_line(error)
    # docker-py leaves the socket that met nobody to the garbage collector, whose warning would hit whoever runs next.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    where = os.environ.get("DOCKER_HOST", "the default socket")
    raise ServerError(f"no Docker engine answers at {where}: {reason}; start one, or try --server embedded")


@contextlib.contextmanager
def started(image: str, *, purpose: Purpose, because: str) -> Iterator[Server]:
    check_engine()
    run = secrets.token_hex(8)
    password = secrets.token_urlsafe(24)
    # The guard comes first: a container that exists is one that is guarded.
    guard_job: supervisor.Job = {
        "controller": os.getpid(),
        "directory": None,
        "data": "",
        "user": None,
        "group": None,
        "prepare": [],
        "server": None,
        "at_end": [sys.executable, "-c", REMOVE, f"{LABEL}={run}"],
    }
    with supervisor.supervised(guard_job) as guard:
        container = start(image, run, password, purpose)
        try:
            wrapped = container.get_wrapped_container()
            version_num, conninfo = wait_until_ready(wrapped, image, password)
            yield Server(
                id=server_id(version_num),
                provider="container",
                version=version_text(version_num),
                version_num=version_num,
                conninfo=conninfo,
                maintenance_database="postgres",
                local=False,  # another pid namespace, or another machine altogether
                superuser=True,
                wake_order="copy-program",
                durability="off" if purpose == "explore" else "default",
                chosen_because=because,
            )
        finally:
            container.get_docker_client().client.close()
    if guard.process.returncode != 0:
        raise ServerError(
            f"the container could not be removed; do it by hand: "
            f"docker rm -f -v $(docker ps -aq --filter label={LABEL}={run})"
        )


def start(image: str, run: str, password: str, purpose: Purpose) -> Any:
    from docker.errors import DockerException  # type: ignore[import-untyped, unused-ignore]
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    # Its reaper is one more image to pull, and does not register what is killed while starting; we have our guard.
    testcontainers_config.ryuk_disabled = True
    container: Any = DockerContainer(image)
    container.with_envs(
        POSTGRES_USER="postgres",
        POSTGRES_PASSWORD=password,
        POSTGRES_DB="postgres",
        POSTGRES_INITDB_ARGS="--no-sync",
    )
    container.with_command(["postgres", *(f"--{name}={value}" for name, value in settings_for(purpose).items())])
    # Loopback only: testcontainers' own way of naming ports would publish on every interface.
    container.ports = {"5432/tcp": ("127.0.0.1", None)}
    container.with_kwargs(labels={LABEL: run})
    try:
        container.start()
    except DockerException as error:
        container.get_docker_client().client.close()
        raise ServerError(
            f"image {image!r} does not start: {one_line(error)}; "
            f"check it with 'docker pull {image}', or try --server embedded"
        ) from None
    return container


def wait_until_ready(wrapped: Any, image: str, password: str) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Its version_num and address, once SELECT was answered twice in a row: images restart once after initialising."""
    deadline = time.monotonic() + READY_WITHIN_S
    complaint = "no answer yet"
    while time.monotonic() < deadline:
        wrapped.reload()
        if wrapped.status in ("exited", "dead"):
            break
        for host, port in addresses(wrapped):
            conninfo = (
                ("host", host),
                ("port", port),
                ("user", "postgres"),
                ("password", password),
                # Said, so that no PGHOSTADDR or PGOPTIONS of the environment gets a word in.
                ("hostaddr", ""),
                ("options", ""),
                ("sslmode", "disable"),
                ("gssencmode", "disable"),
            )
            try:
                version_num = version_num_at(conninfo)
                if version_num_at(conninfo) == version_num:
                    check_not_too_old(version_text(version_num), major_of(version_num))
                    return version_num, conninfo
            except psycopg.OperationalError as error:
                complaint = one_line(error)
        time.sleep(ASK_AGAIN_S)
    tail = "\n  ".join(wrapped.logs(tail=15).decode(errors="replace").splitlines()) or "nothing"
    raise ServerError(
        f"image {image!r} did not become a ready PostgreSQL: container {wrapped.status}, last answer: {complaint}; "
        f"its log ends with\n  {tail}\ntry --server embedded"
    )


def addresses(wrapped: Any) -> list[tuple[str, str]]:
    """The published port; and the container's own, for a harness that itself runs in a container on that engine."""
    published = [("127.0.0.1", binding["HostPort"]) for binding in wrapped.ports.get("5432/tcp") or []]
    networks = wrapped.attrs["NetworkSettings"]["Networks"].values()
    return published[:1] + [(network["IPAddress"], "5432") for network in networks if network["IPAddress"]]


def version_num_at(conninfo: tuple[tuple[str, str], ...]) -> int:
    address = make_conninfo(dbname="postgres", **dict(conninfo))
    with psycopg.connect(address, connect_timeout=5) as connection:
        row = connection.execute("SELECT current_setting('server_version_num')::int").fetchone()
        assert row is not None
        return int(row[0])
