"""What several verbs take on the command line, and how its words become values."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from harness.model.cell import Isolation
from harness.servers.choose import FORMS, parse_spec
from harness.servers.server import ServerError

F = TypeVar("F", bound=Callable[..., Any])

DEBUG = "--debug"
WIDTH = 100  # of what is written to a file or a pipe; all tables fit

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


# Each is a click type: click shows its name where a value is expected.


def duration(value: str) -> float:
    """`30s`, `2m`, `1.5h`, `500ms`; a bare number is seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)", str(value).strip())
    if match is None or float(match[1]) == 0:
        raise click.BadParameter(f"{value!r}: expected a time such as 30s, 2m or 1h")
    return float(match[1]) * _UNITS_S[match[2]]


def server_spec(value: str) -> str:
    """Checked for its form; what it names is looked for when it is started."""
    try:
        parse_spec(value)
    except ServerError as error:
        raise click.BadParameter(str(error)) from None
    return value


def isolation(value: str) -> Isolation:
    """`read_committed`, `read-committed`, `'READ COMMITTED'`"""
    try:
        return Isolation(re.sub(r"[\s-]+", "_", value.strip().lower()))
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected {', '.join(Isolation)}") from None


def number_of_sessions(value: str) -> int:
    if not re.fullmatch(r"-?\d+", str(value)):
        raise click.UsageError(f"sessions={value}: expected a number")
    if int(value) < 2:
        raise click.UsageError(f"sessions={value}: a conflict needs two sessions")
    return int(value)


def report_file(value: str) -> Path:
    """To be written at the end: that its folder is there is checked at the beginning."""
    path = Path(value)
    if path.is_dir():
        raise click.BadParameter(f"{value!r} is a folder: expected the name of a file")
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(path.parent)!r} to write {path.name!r} to")
    return path


def servers(function: F) -> F:
    text = f"Where to run: {FORMS}. Repeatable. Default: HARNESS_SERVER, [tool.harness] in pyproject.toml, auto."
    return click.option("--server", "servers", multiple=True, type=server_spec, metavar="SERVER", help=text)(function)


def store(function: F) -> F:
    """`store` and `no_store`; `settled_store` makes one folder of them."""
    text = "Where witnesses are kept. Default: HARNESS_STORE, [tool.harness] in pyproject.toml, .harness."
    function = click.option("--no-store", is_flag=True, help="Keep nothing, and replay nothing first.")(function)
    return click.option("--store", "store", type=store_folder, metavar="DIR", help=text)(function)


def store_folder(value: str) -> str:
    if not value or (Path(value).exists() and not Path(value).is_dir()):
        raise click.BadParameter(f"{value!r} is no folder")
    return value


def debug(function: F) -> F:
    """Read from the words by `Verbs.main`, which must know it whatever goes wrong."""
    text = "Show where an internal error comes from."
    return click.option(DEBUG, is_flag=True, expose_value=False, help=text)(function)


def no_color(function: F) -> F:
    text = "Plain text, as NO_COLOR=1 asks for too."
    return click.option("--no-color", is_flag=True, help=text)(function)


def consoles(*, no_color: bool) -> tuple[Console, Console]:
    """For results (stdout) and for how far we are (stderr)."""
    return _console(no_color=no_color, stderr=False), _console(no_color=no_color, stderr=True)


def _console(*, no_color: bool, stderr: bool) -> Console:
    console = Console(no_color=True if no_color else None, stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console
