"""A running PostgreSQL server as a plain value: its address and the facts the floors above plan with."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, Self

from psycopg.conninfo import make_conninfo

Provider = Literal["embedded", "container", "path", "dsn"]
Purpose = Literal["explore", "hammer"]
WakeOrder = Literal["signal", "copy-program", "dropped"]
Durability = Literal["off", "default"]

OLDEST_MAJOR = 13  # DROP DATABASE ... WITH (FORCE); older ones had their last release before 2025


class ServerError(Exception):
    """No usable server: what was expected, what was found, what to do."""


class SameVersion(ServerError):
    """Two servers are of one version: the cells of one could not be told from those of the other."""


@dataclass(frozen=True, slots=True)
class Server:
    """The address of a running server. Whoever got it from `running` ends it; everybody else may hold a copy."""

    id: str
    provider: Provider
    version: str
    version_num: int
    conninfo: tuple[tuple[str, str], ...] = field(repr=False)  # libpq parameters without dbname; may hold a password
    maintenance_database: str
    local: bool  # backends are processes of this machine: we may signal them and pin them to a CPU
    superuser: bool
    wake_order: WakeOrder  # how the wake-up of several waiters is ordered; "dropped": such schedules are not explored
    durability: Durability
    chosen_because: str

    def dsn(self, database: str | None = None) -> str:
        """A libpq connection string, password included: to connect with, never to print."""
        return make_conninfo(dbname=database or self.maintenance_database, **dict(self.conninfo))

    def describe(self) -> str:
        durability = "fsync off" if self.durability == "off" else "the server's own durability"
        return f"{self.provider} PostgreSQL {self.version} ({self.chosen_because}; {durability})"

    def to_json(self) -> str:
        """For another process of the same run (an xdist worker): holds the password, so not for a report."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        members = json.loads(text)
        return cls(**{**members, "conninfo": tuple((name, value) for name, value in members["conninfo"])})


def major_of(version_num: int) -> int:
    return version_num // 10_000


def server_id(version_num: int) -> str:
    return f"pg{major_of(version_num)}"


def told_apart(servers: Sequence[Server]) -> list[Server]:
    """The same, where two are of one major version with their minors as ids: `pg15.18` and `pg15.20`.

    Raises SameVersion for two of one version: there is nothing to compare.
    """
    majors = Counter(major_of(server.version_num) for server in servers)
    for version, count in Counter(server.version for server in servers).items():
        if count > 1:
            raise SameVersion(
                f"{count} of the servers are PostgreSQL {version}: expected different versions, "
                "major or minor; run them one after the other"
            )
    return [
        replace(server, id=f"pg{server.version}") if majors[major_of(server.version_num)] > 1 else server
        for server in servers
    ]


def version_text(version_num: int) -> str:
    return f"{version_num // 10_000}.{version_num % 10_000}"


def check_not_too_old(version: str, major: int) -> None:
    if major < OLDEST_MAJOR:
        raise ServerError(
            f"PostgreSQL {version} is too old: {OLDEST_MAJOR} or newer is needed; "
            "try --server embedded, or --server container:18"
        )


def one_line(message: object) -> str:
    """libpq and Docker break their messages; ours are one line."""
    return " ".join(str(message).split())
