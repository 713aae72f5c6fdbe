"""The house itself: floors import downwards only, every file has a caption, every module of the map exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[2] / "harness"

FLOORS = {
    "model": 0,
    "scenario": 1,
    "generators": 2,
    "schedulers": 2,
    "oracles": 2,
    "servers": 3,
    "sessions": 3,
    "runners": 4,
    "campaign": 5,
    "reports": 6,
    "doctor": 6,
    "exports": 6,
    "cli": 7,
    "pytest_plugin": 7,
}
PURE = {"model": {"harness"}, "oracles": {"harness"}, "schedulers": {"harness"}}
"""Folders that stay without sockets and clocks: of third parties they import nothing, of the library no `time`."""

FILES = sorted(HARNESS.rglob("*.py"))


def folder_of(path: Path) -> str | None:
    parts = path.relative_to(HARNESS).parts
    return parts[0] if len(parts) > 1 else None


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every import of the file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: error: a relative import: write the floor's name"
            yield node.lineno, node.module or ""


def test_every_folder_has_a_floor() -> None:
    folders = {folder_of(path) for path in FILES} - {None}
    assert folders <= set(FLOORS)


@pytest.mark.parametrize("path", [p for p in FILES if folder_of(p)], ids=lambda p: str(p.relative_to(HARNESS)))
def test_a_floor_imports_lower_floors_only(path: Path) -> None:
    mine = FLOORS[folder_of(path) or ""]
    wrong = [
        f"{path}:{line}: error: floor {mine} imports {module}"
        for line, module in imports(path)
        if module.startswith("harness.") and FLOORS.get(module.split(".")[1], mine) > mine
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", PURE)
def test_words_and_judgements_know_no_sockets_and_no_clocks(folder: str) -> None:
    outside = {"psycopg", "greenlet", "hypothesis", "socket", "select", "time", "subprocess", "os"}
    wrong = [
        f"{path}:{line}: error: {folder}/ imports {module}"
        for path in FILES
        if folder_of(path) == folder
        for line, module in imports(path)
        if module.split(".")[0] in outside
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HARNESS)))
def test_every_file_opens_with_a_caption(path: Path) -> None:
    caption = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    assert caption, f"{path}:1: error: no caption: say in one line what the file is for"
    assert caption[-1] in ".:?", f"{path}:1: error: the caption is not a sentence: {caption}"


def test_the_map_names_files_that_exist() -> None:
    text = (HARNESS / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)`", text))
    missing = sorted(name for name in named if not (HARNESS / name).exists())
    assert named
    assert not missing, f"ARCHITECTURE.md names what is not there: {', '.join(missing)}"


def test_only_the_hub_and_its_neighbours_touch_sockets() -> None:
    allowed = {"sessions", "servers"}
    wrong = [
        f"{path}:{line}: error: {module} outside sessions/ and servers/"
        for path in FILES
        if folder_of(path) not in allowed
        for line, module in imports(path)
        if module in ("select", "socket")
    ]
    assert not wrong, "\n".join(wrong)
