"""Which server is meant, who said so, and what a wrong spelling is told. Starts none."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.servers import container, embedded
from harness.servers.choose import Spec, parse_spec, running, settled
from harness.servers.server import Provider, Purpose, Server, ServerError

pytestmark = pytest.mark.usefixtures("nothing_configured")


def check(spec: str, provider: str, detail: str, printed: str | None = None) -> None:
    parsed = parse_spec(spec)
    assert (parsed.provider, parsed.detail) == (provider, detail)
    assert str(parsed) == (printed or f"{provider}:{detail}")


def check_refused(spec: str, *parts: str) -> None:
    with pytest.raises(ServerError) as refused:
        parse_spec(spec)
    for part in parts:
        assert part in str(refused.value)


def test_every_form_is_read() -> None:
    check("auto", "auto", "", "auto")
    check("embedded", "embedded", "18")
    check("embedded:16", "embedded", "16")
    check("container", "container", "postgres:18")
    check("container:16", "container", "postgres:16")
    check("container:16.4", "container", "postgres:16.4")
    check("container:postgis/postgis:17-3.5", "container", "postgis/postgis:17-3.5")
    check("  embedded ", "embedded", "18")


def test_a_connection_string_is_printed_without_its_password() -> None:
    for scheme in ("postgresql", "postgres"):
        dsn = f"{scheme}://app:s3cret@db.example:6000/shop?sslmode=require"
        check(dsn, "dsn", dsn, "postgresql://app@db.example:6000/shop")
        assert "s3cret" not in repr(parse_spec(dsn))


def test_a_folder_may_be_the_installation_or_its_bin(tmp_path: Path) -> None:
    binaries = tmp_path / "pg" / "bin"
    binaries.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (binaries / name).touch(mode=0o755)
    check(f"path:{binaries}", "path", str(binaries))
    check(f"path:{binaries.parent}", "path", str(binaries))
    check("path:pg", "path", str(binaries))


def test_a_folder_without_binaries_is_refused(tmp_path: Path) -> None:
    check_refused(f"path:{tmp_path}", "initdb and postgres", str(tmp_path / "bin"), "found none", "path:/usr/lib")


def test_a_wrong_spelling_is_shown_with_the_forms_and_a_guess() -> None:
    check_refused("embeded", "'embeded'", "embedded[:16]", "did you mean embedded?")
    check_refused("18", "did you mean container:18?")
    check_refused("pg16", "did you mean container:16?")
    check_refused("docker:17", "did you mean container:17?")
    check_refused("/usr/lib/postgresql/15", "did you mean path:/usr/lib/postgresql/15?")
    check_refused("path:", "path:DIR")
    check_refused("auto:18", "'auto:18'")
    check_refused("container:", "'container:'")
    check_refused("", "''")


def test_versions_that_cannot_be_had_are_refused_before_anything_starts() -> None:
    check_refused("embedded:17", "18 and 16", "found '17'", "container:VERSION")
    check_refused("container:12", "PostgreSQL 12 is too old: 13 or newer is needed")


def test_no_refusal_shows_a_password() -> None:
    for spec in (
        "postgresq://app:s3cret@db/shop",
        "mysql://app:s3cret@db/shop",
        "host=db password=s3cret",
        "postgresql://app:s3cret%zz@db/shop",
        "postgresql://app:s3cret@db:port:99/shop?s3cret",
    ):
        with pytest.raises(ServerError) as refused:
            parse_spec(spec)
        assert "s3cret" not in str(refused.value)
        assert "postgresql://" in str(refused.value)


# Who decides ---------------------------------------------------------------------------------------------------------


def configure(server: str) -> None:
    Path("pyproject.toml").write_text(f"[tool.harness]\nserver = {server}\n")


def test_the_option_decides_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_SERVER", "embedded:16")
    assert settled("container:17") == (Spec("container", "postgres:17"), "asked for")


def test_the_environment_decides_before_pyproject(monkeypatch: pytest.MonkeyPatch) -> None:
    configure('"container:15"')
    monkeypatch.setenv("HARNESS_SERVER", "embedded:16")
    assert settled("auto") == (Spec("embedded", "16"), "HARNESS_SERVER")


def test_pyproject_decides_before_auto() -> None:
    configure('"container:15"')
    assert settled("auto") == (Spec("container", "postgres:15"), "[tool.harness]")


def test_nothing_said_is_auto() -> None:
    assert settled("auto") == (Spec("auto"), "auto")
    Path("pyproject.toml").write_text("[tool.other]\n")
    assert settled("auto") == (Spec("auto"), "auto")


def test_a_wrong_value_names_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    configure('["embedded"]')
    with pytest.raises(ServerError, match=re.escape("[tool.harness] server = ['embedded']: expected one string")):
        settled("auto")
    monkeypatch.setenv("HARNESS_SERVER", "embeded")
    with pytest.raises(ServerError, match=r"HARNESS_SERVER: server 'embeded' is none of"):
        settled("auto")


# auto ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> "Pretend":
    return Pretend(monkeypatch)


class Pretend:
    """A machine with some ways to a server, none of which starts one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def here(self, *, wheel: bool = False, engine: bool = False, local: bool = False) -> None:
        patch = self.monkeypatch.setattr
        patch(embedded, "wheel_binaries", lambda major: Path("wheel") if wheel else missing("not installed"))
        patch(embedded, "embedded", pretended("embedded"))
        patch(container, "check_engine", lambda: None if engine else missing("no Docker engine answers"))
        patch(container, "started", pretended("container"))
        patch(embedded, "local_binaries", lambda: [Path("/opt/pg/bin")] if local else [])
        patch(embedded, "installed", pretended("path"))


def missing(reason: str) -> None:
    raise ServerError(reason)


def pretended(provider: Provider):  # type: ignore[no-untyped-def]
    @contextlib.contextmanager
    def start(detail: object, *, purpose: Purpose, because: str) -> Iterator[Server]:
        yield Server("pg18", provider, "18.4", 180004, (), "postgres", True, True, "signal", "off", because)

    return start


def chosen(purpose: Purpose) -> tuple[str, str]:
    with running("auto", purpose=purpose) as server:
        return server.provider, server.chosen_because


def test_the_explorer_prefers_the_embedded_server_and_the_hammer_a_container(pretend: Pretend) -> None:
    pretend.here(wheel=True, engine=True, local=True)
    assert chosen("explore") == ("embedded", "auto: the embedded server is installed")
    assert chosen("hammer") == ("container", "auto: a Docker engine answers")


def test_each_falls_back_to_the_other_and_says_so(pretend: Pretend) -> None:
    pretend.here(engine=True)
    assert chosen("explore") == ("container", "auto: a Docker engine answers; no embedded")
    pretend.here(wheel=True)
    assert chosen("hammer") == ("embedded", "auto: the embedded server is installed; no container")


def test_a_local_installation_comes_last(pretend: Pretend) -> None:
    pretend.here(local=True)
    for purpose in ("explore", "hammer"):
        provider, because = chosen(purpose)  # type: ignore[arg-type]
        assert provider == "path"
        assert because.startswith("auto: found /opt/pg/bin; no ")


def test_nothing_here_says_what_was_tried_and_what_to_install(pretend: Pretend) -> None:
    pretend.here()
    with pytest.raises(ServerError) as refused, running():
        pass
    for part in ("embedded: not installed", "no Docker engine answers", "local installation: none", "pip install"):
        assert part in str(refused.value)


def test_an_error_of_the_block_does_not_try_the_next_server(pretend: Pretend) -> None:
    pretend.here(wheel=True, engine=True)
    with pytest.raises(ServerError, match="of the block"), running():
        raise ServerError("of the block")
