"""What pytest loads: options, the collection of scenario files, the header, and who owns the server.

Light: every pytest run of every project that has the harness installed imports this module, so whatever needs a driver
or a generator is imported inside the hooks, once there is a scenario to run.
"""

import os
import re
import tomllib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.pytest_plugin.server import ServerAsker, ServerOwner
    from harness.servers.server import Server

SCENARIOS = ["scenarios/*.py"]
_runs: list[pytest.Config] = []  # the innermost last: a test may run pytest
_SERVERS = pytest.StashKey["ServerOwner | ServerAsker"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("upsert-harness", "upsert-harness: races in the upserts of scenario files")
    where = "also an ini setting, and [tool.harness] in pyproject.toml"
    group.addoption(
        "--harness-server",
        metavar="SERVER",
        help="auto, embedded[:16], container[:18 | :IMAGE], path:DIR or postgresql://..."
        f" ({where}; HARNESS_SERVER stands between the two)",
    )
    group.addoption("--harness-seed", metavar="N", help=f"of what is chosen at random; default: 0 ({where})")
    group.addoption("--harness-budget", metavar="TIME", help=f"for all cells together, such as 30s or 2m ({where})")
    parser.addini("harness_scenarios", "the scenario files, as patterns below the root folder", "args", SCENARIOS)
    parser.addini("harness_server", "as --harness-server", "string", "")
    parser.addini("harness_seed", "as --harness-seed", "string", "")
    parser.addini("harness_budget", "as --harness-budget", "string", "")


def pytest_configure(config: pytest.Config) -> None:
    _runs.append(config)
    config.addinivalue_line("markers", "harness: a cell of a scenario, run by upsert-harness")
    seed_of(config)
    if setting(config, "budget"):
        budget_of(config)
    if given := config.getoption("harness_server") or config.getini("harness_server"):
        from harness.servers.choose import parse_spec
        from harness.servers.server import ServerError

        try:
            parse_spec(given)
        except ServerError as error:
            raise pytest.UsageError(f"--harness-server: {error}") from None


def pytest_unconfigure(config: pytest.Config) -> None:
    if config in _runs:
        _runs.remove(config)


def pytest_report_header(config: pytest.Config) -> str | None:
    if not any(is_scenario_file(config, path) for p in patterns(config) for path in config.rootpath.glob(p)):
        return None
    from harness.servers.choose import settled
    from harness.servers.server import ServerError

    try:
        spec, asked_by = settled(setting(config, "server") or "auto")
        server = str(spec) if asked_by == "auto" else f"{spec} ({asked_by})"
    except ServerError as error:
        server = str(error)
    return f"upsert-harness: server {server}, seed {seed_of(config)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    started: Any = getattr(config.stash.get(_SERVERS, None), "started", None)
    if hasattr(started, "describe"):
        terminalreporter.write_line(f"upsert-harness: server {started.describe()}")


# Collection ---------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """A scenario file is ours alone: pytest would take one that is named on the command line for a test module."""
    collectors = yield
    if not is_scenario_file(parent.config, file_path):
        return collectors
    from harness.pytest_plugin.cells import ScenarioFile

    ours: ScenarioFile = ScenarioFile.from_parent(parent, path=file_path)
    return [ours, *(other for other in collectors if type(other) is not pytest.Module)]


def is_scenario_file(config: pytest.Config, path: Path) -> bool:
    """Whether it is where scenarios are and imports the harness: a folder of that name may be somebody else's."""
    try:
        below_root = path.relative_to(config.rootpath)
    except ValueError:
        return False
    if path.suffix != ".py" or not any(_matches(below_root, pattern) for pattern in patterns(config)):
        return False
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r"^\s*(from|import) harness\b", text, re.MULTILINE) is not None and "Scenario(" in text


def _matches(path: Path, pattern: str) -> bool:
    # PurePath.match compares from the right: 'scenarios/*.py' would find tests/data/scenarios/one.py, too.
    return path.match(pattern) and ("**" in pattern or len(path.parts) == len(Path(pattern).parts))


def patterns(config: pytest.Config) -> list[str]:
    found: list[str] = config.getini("harness_scenarios")
    return found


# Settings -----------------------------------------------------------------------------------------------------------


def setting(config: pytest.Config, name: str) -> str | None:
    """From the command line, else the ini file, else [tool.harness]; under xdist the controller's."""
    told = getattr(config, "workerinput", {}).get("harness")
    if told is not None:
        return str(told[name]) if told[name] else None
    given = config.getoption(f"harness_{name}") or config.getini(f"harness_{name}")
    if not given and not (name == "server" and os.environ.get("HARNESS_SERVER")):
        given = _tool_harness(config).get(name)
    return str(given) if given else None


def _tool_harness(config: pytest.Config) -> dict[str, Any]:
    try:
        text = (config.rootpath / "pyproject.toml").read_text(encoding="utf-8")
        table: dict[str, Any] = tomllib.loads(text).get("tool", {}).get("harness", {})
    except (OSError, tomllib.TOMLDecodeError):
        return {}
    return table


def seed_of(config: pytest.Config) -> int:
    given = setting(config, "seed") or "0"
    if not re.fullmatch(r"-?\d+", given):
        raise pytest.UsageError(f"--harness-seed={given}: expected a whole number")
    return int(given)


def budget_of(config: pytest.Config) -> float | None:
    given = setting(config, "budget")
    if given is None:
        return None
    from click import BadParameter

    from harness.cli.options import duration

    try:
        return duration(given)
    except BadParameter as error:
        raise pytest.UsageError(f"--harness-budget: {error.message}") from None


# The server ---------------------------------------------------------------------------------------------------------


def servers_of(config: pytest.Config) -> "ServerOwner | ServerAsker":
    """Where the one server of the run is to be had; started when it is first asked for, ended with the run.

    Under xdist the controller owns it: a worker that ended before the others would take it away from them.
    """
    if _SERVERS not in config.stash:
        from harness.pytest_plugin.server import ServerAsker, ServerOwner

        told = getattr(config, "workerinput", {}).get("harness")
        servers = ServerAsker(*told["server"]) if told else ServerOwner(setting(config, "server") or "auto")
        config.stash[_SERVERS] = servers
        config.add_cleanup(servers.close)
    return config.stash[_SERVERS]


def server_of_this_run(at_the_end: Callable[[], None]) -> "Server | None":
    """The server of the pytest run that we are in, for tests that draw trials; None if we are in none.

    `at_the_end` is called before it goes. Where there is no server the test is skipped, as cells are; in CI this
    raises ServerError.
    """
    if not _runs:
        return None
    from harness.servers.server import ServerError

    server = servers_of(_runs[-1]).server()
    if isinstance(server, ServerError):
        if os.environ.get("CI"):
            raise server
        pytest.skip(str(server))
    _runs[-1].add_cleanup(at_the_end)
    return server


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist is about to start a worker."""
    config = node.config
    owner: Any = servers_of(config)
    node.workerinput["harness"] = {
        "seed": setting(config, "seed"),
        "budget": setting(config, "budget"),
        "server": owner.address(),
    }
