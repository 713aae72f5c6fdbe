"""Scenario files found and loaded: by path, by name in ./scenarios, or shipped with us; digests of what they say."""

import hashlib
import importlib.util
import inspect
import linecache
import re
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import harness
from harness.scenario.errors import ScenarioError, guess, listed
from harness.scenario.language import Scenario

NAME = re.compile(r"[A-Za-z0-9_]+")


def find(source: str | Path | None = None) -> list[Scenario]:
    """The scenarios meant: by a file, a folder or a name; None means all of ./scenarios, or else all that are shipped.

    Raises ScenarioError for a file that cannot be loaded, and for a name that nobody has.
    """
    if source is None:
        return load_folder(_home())
    path = Path(source)
    if path.is_dir():
        return load_folder(path)
    if path.is_file():
        return load(path)
    if isinstance(source, Path) or not NAME.fullmatch(source):
        raise ScenarioError(_no_such_file(path))
    return [_named(source)]


def load(path: str | Path) -> list[Scenario]:
    """The scenarios of one file, in the order of the file."""
    found = _scenarios(Path(path))
    if not found:
        raise ScenarioError("no scenario here: expected a module-level `name = Scenario(...)`", path)
    _refuse_twins(found)
    return found


def load_folder(folder: str | Path) -> list[Scenario]:
    """The scenarios of every file of a folder, files by name; files that have none are somebody's helpers."""
    found = [scenario for path in sorted(Path(folder).glob("*.py")) for scenario in _scenarios(path)]
    if not found:
        raise ScenarioError("no scenario in any file of this folder", folder)
    _refuse_twins(found)
    return found


def shipped() -> Path:
    """Where the scenarios are that come with the harness: inside the wheel, or beside the package in a checkout."""
    package = Path(harness.__file__).parent
    installed = package / "shipped_scenarios"
    return installed if installed.is_dir() else package.parent / "scenarios"


def harness_version() -> str:
    """Of the package as it is installed."""
    try:
        return version("upsert-harness")
    except PackageNotFoundError:  # run from a checkout
        return "unreleased"


def digest(scenario: Scenario, layout: str) -> str:
    """Of what a recorded schedule depends on: tables, layout and operations, not the strategies' bodies."""
    parts = [scenario.tables, scenario.layouts[layout]]
    parts += [f"{name}\n{_source(operation.body)}" for name, operation in sorted(scenario.operations.items())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def digests(scenario: Scenario, layout: str) -> dict[str, str]:
    """`digest` part by part: where the whole differs, these say what has changed."""
    parts = {"tables": scenario.tables, f"layout {layout}": scenario.layouts[layout]}
    parts |= {f"operation {name}": _source(made.body) for name, made in scenario.operations.items()}
    return {name: hashlib.sha256(text.encode()).hexdigest()[:12] for name, text in sorted(parts.items())}


def file_digest(scenario: Scenario) -> str:
    """Of the whole file: what a strategy calls may stand anywhere in it. What it imports is not in it."""
    return hashlib.sha256(Path(scenario.path).read_bytes()).hexdigest()[:12]


def _source(body: object) -> str:
    function = inspect.unwrap(body) if callable(body) else body
    try:
        linecache.checkcache(inspect.getfile(function))  # type: ignore[arg-type]  # a file edited since is read again
        return textwrap.dedent(inspect.getsource(function))  # type: ignore[arg-type]
    except (OSError, TypeError):  # typed in, or generated: there is no source, so take what it does
        code = getattr(function, "__code__", None)
        return repr((code.co_code, code.co_consts, code.co_names)) if code else repr(function)


def _home() -> Path:
    local = Path("scenarios")
    return local if local.is_dir() and any(local.glob("*.py")) else shipped()


def _named(name: str) -> Scenario:
    folders = list(dict.fromkeys(path.resolve() for path in (_home(), shipped())))
    # The file of that name first, so that a mistake in one file does not keep the others from running.
    likely = [path for folder in folders if (path := folder / f"{name}.py").is_file()]
    known: list[str] = []
    for look in (*((load, path) for path in likely), *((load_folder, folder) for folder in folders)):
        loader, place = look
        for scenario in loader(place):
            if scenario.name == name:
                return scenario
            known.append(scenario.name)
    names = sorted(set(known))
    raise ScenarioError(f"no scenario is called {name!r}{guess(name, names)}; known are: {listed(names)}")


def _no_such_file(path: Path) -> str:
    folder = path.parent
    beside = sorted(other.name for other in folder.glob("*.py")) if folder.is_dir() else []
    return f"{path} is no file, folder or scenario's name{guess(path.name, beside)}; {folder} has: {listed(beside)}"


def _scenarios(path: Path) -> list[Scenario]:
    module = _execute(path.resolve(), _text(path))
    found: dict[int, Scenario] = {}  # one scenario may have two names in its module
    for value in vars(module).values():
        if isinstance(value, Scenario):
            value.doc = value.doc or inspect.cleandoc(module.__doc__ or "")
            found.setdefault(id(value), value)
    return list(found.values())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"cannot be read: {error}", path) from error


def _execute(path: Path, text: str) -> ModuleType:
    # Compiled here rather than by importlib's loader: that one would write and trust __pycache__ beside the file.
    try:
        code = compile(text, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        shown = f": {error.text.strip()}" if error.text else ""
        raise ScenarioError(f"{error.msg}{shown}", path, error.lineno) from error
    name = f"harness_scenario_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    linecache.checkcache(str(path))
    sys.modules[name] = module  # dataclasses, enums and annotations look their module up
    try:
        with _importable(path.parent):
            exec(code, vars(module))
    except ScenarioError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise ScenarioError(f"{type(error).__name__}: {error}", path, _line(error, path)) from error
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a scenario import its neighbours, and the application in the current directory.

    The latter for good: application code also imports while it runs. Both last, so that they hide no installed module.
    """
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    neighbours = str(folder)
    added = neighbours not in sys.path
    if added:
        sys.path.append(neighbours)
    try:
        yield
    finally:
        if added and neighbours in sys.path:
            sys.path.remove(neighbours)


def _line(error: Exception, path: Path) -> int | None:
    """The last line of this file that led to the error."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None


def _refuse_twins(found: Sequence[Scenario]) -> None:
    first: dict[str, Scenario] = {}
    for scenario in found:
        twin = first.setdefault(scenario.name, scenario)
        if twin.place != scenario.place:  # the same place: one file imports the other's
            raise ScenarioError(
                f"a second scenario called {scenario.name!r}; the first is at {twin.path}:{twin.place.line}",
                *scenario.place,
            )
