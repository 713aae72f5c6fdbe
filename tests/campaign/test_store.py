"""The store as a folder: what is kept, under which name, and that no trouble with it is more than a line."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.store import Store, bury, scenario_of, settled_store
from harness.campaign.witness_file import read_witness
from harness.model.schedule import Schedule
from harness.model.verdict import CellResult, Finding, Verdict
from harness.runners.journal import Journal, Way
from harness.scenario.discovery import load
from harness.scenario.errors import ScenarioError
from harness.scenario.language import Scenario
from tests.reports.made import CONTEST, DUPLICATE, finding

ITEMS = Path(__file__).parents[1] / "cli" / "items.py"


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    path = tmp_path / "items.py"
    path.write_text(ITEMS.read_text())
    return load(path)[0]


def found(*findings: Finding) -> CellResult:
    return CellResult(findings[0].schedule.cell, Verdict.UNSAFE, "", findings)


FOUND = finding("hopeful none new rc", DUPLICATE)
LONGER = replace(FOUND, schedule=replace(FOUND.schedule, choices=FOUND.schedule.choices * 2))


def keep(folder: Path, scenario: Scenario, *findings: Finding) -> tuple[list[str], str]:
    """In a run of its own: what it said, and its last line."""
    said: list[str] = []
    store = Store(folder, said.append)
    store.open()
    store.explored(found(*findings), scenario)
    store.close()
    return said, store.summary()


def witnesses(folder: Path) -> list[Path]:
    return sorted(folder.glob("witnesses/*"))


def test_a_finding_is_kept_once(tmp_path: Path, scenario: Scenario) -> None:
    folder = tmp_path / ".harness"
    assert keep(folder, scenario, FOUND) == ([], f"store {folder}: 1 written to witnesses/")
    (path,) = witnesses(folder)
    text = path.read_bytes()
    assert keep(folder, scenario, FOUND) == ([], "")
    assert witnesses(folder) == [path]
    assert path.read_bytes() == text
    assert sorted(child.name for child in folder.iterdir()) == ["witnesses"]


def test_its_file_says_where_the_scenario_is_and_no_path_of_this_machine(tmp_path: Path, scenario: Scenario) -> None:
    keep(tmp_path / ".harness", scenario, FOUND)
    (path,) = witnesses(tmp_path / ".harness")
    assert str(tmp_path) not in path.read_text()
    assert read_witness(path.read_text()).scenario_file == "items.py"
    assert scenario_of(path, "items.py") == str(tmp_path / "items.py")
    assert scenario_of(path, "gone.py") is None


def test_another_schedule_of_a_kind_replaces_one_that_was_not_seen_to_show(tmp_path: Path, scenario: Scenario) -> None:
    folder = tmp_path / ".harness"
    keep(folder, scenario, LONGER)
    (before,) = witnesses(folder)
    keep(folder, scenario, FOUND)
    (after,) = witnesses(folder)
    assert before != after
    assert [path.name for path in folder.glob("retired/*")] == [before.name]


def test_of_two_that_show_a_kind_the_smaller_is_kept(tmp_path: Path, scenario: Scenario) -> None:
    folder = tmp_path / ".harness"
    store = Store(folder)
    store.explored(found(FOUND), scenario)
    (small,) = witnesses(folder)
    store.explored(found(LONGER), scenario)
    assert witnesses(folder) == [small]


def test_another_scenario_of_that_name_has_other_witnesses(tmp_path: Path, scenario: Scenario) -> None:
    folder = tmp_path / ".harness"
    keep(folder, scenario, FOUND)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "items.py").write_text(ITEMS.read_text())
    (other,) = load(tmp_path / "other" / "items.py")
    store = Store(folder)
    store.open()
    cells = [FOUND.schedule.cell]
    assert (len(store.known(cells, scenario)), len(store.known(cells, other))) == (1, 0)


def test_a_file_that_is_no_witness_costs_a_line_and_nothing_else(tmp_path: Path, scenario: Scenario) -> None:
    folder = tmp_path / ".harness"
    keep(folder, scenario, FOUND)
    (folder / "witnesses" / "torn.json").write_text('{"format": 1')
    (folder / "witnesses" / "bytes.json").write_bytes(b"\xff\xfe")
    said: list[str] = []
    store = Store(folder, said.append)
    store.open()
    assert len(store.known([FOUND.schedule.cell], scenario)) == 1
    assert [line.partition(": ")[0] for line in said] == [f"{folder}/witnesses/{n}.json" for n in ("bytes", "torn")]


def test_a_folder_that_cannot_be_written_to_is_said_once(tmp_path: Path, scenario: Scenario) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / ".harness"
    said: list[str] = []
    store = Store(folder, said.append)
    store.open()
    assert store.place_for_journals() is None
    store.explored(found(FOUND, replace(LONGER, violation=replace(DUPLICATE, kind="invariant"))), scenario)
    store.close()
    assert said == [
        f"store {folder}: not a directory; what is found is not kept (another: --store DIR, none: --no-store)"
    ]
    assert store.summary() == ""


def test_half_a_file_is_never_seen(tmp_path: Path, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".harness"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "replace", full)
        said, _ = keep(folder, scenario, FOUND)
    assert said == [
        f"store {folder}: no space left on device; what is found is not kept (another: --store DIR, none: --no-store)"
    ]
    assert list(folder.rglob("*.*")) == []


# Those that died.


def died(folder: Path, scenario: Scenario, name: str = "1-ab") -> Path:
    (folder / "running").mkdir(parents=True, exist_ok=True)
    path = folder / "running" / f"{name}.journal"
    journal = Journal(path)
    schedule: Schedule = FOUND.schedule
    journal.at(schedule.cell, "0123456789ab", "items.py")
    journal.begins(CONTEST, Way.CHOSEN)
    journal.chosen(1, (0, 1), "run")
    journal._file.close()  # as the kernel does for a process that is gone
    journal._map.close()
    return path


def test_what_a_process_died_in_is_told_at_the_next_run_and_kept_under_one_name(
    tmp_path: Path, scenario: Scenario
) -> None:
    folder = tmp_path / ".harness"
    for name in ("1-ab", "2-cd"):
        died(folder, scenario, name)
    said: list[str] = []
    store = Store(folder, said.append)
    store.open()
    store.tell_the_dead([FOUND.schedule.cell])
    (path,) = folder.glob("running/*")
    assert path.name.startswith("items-hopeful-none-new-read_committed-pg18-died-")
    assert len(set(said)) == 1
    assert "a process died in step 1 of the contest from 'new' (same key)" in said[0]
    assert said[0].endswith(f"harness replay {path}")
    store.explored(CellResult(FOUND.schedule.cell, Verdict.SAFE, ""), scenario)
    assert [p.name for p in folder.glob("retired/*")] == [path.name]
    assert "explored, and nothing died" in said[-1]


def test_a_process_that_lives_is_left_alone(tmp_path: Path, scenario: Scenario) -> None:
    (tmp_path / ".harness" / "running").mkdir(parents=True)
    journal = Journal(tmp_path / ".harness" / "running" / "1-ab.journal")
    try:
        store = Store(tmp_path / ".harness")
        store.open()
        store.close()
        assert journal.path.exists()
    finally:
        journal.discard()


def test_one_that_had_not_begun_leaves_nothing_to_tell(tmp_path: Path) -> None:
    path = tmp_path / "1-ab.journal"
    path.write_bytes(b"harness1")
    assert bury(path) is None
    assert not path.exists()


# Where it is.


@pytest.mark.parametrize(
    ("given", "environment", "pyproject", "expected"),
    [
        (None, None, None, ".harness"),
        (None, None, 'store = "kept"', "kept"),
        (None, None, "store = false", None),
        (None, "elsewhere", 'store = "kept"', "elsewhere"),
        (None, "off", None, None),
        ("here", "off", "store = false", "here"),
    ],
)
def test_where_the_store_is(
    given: str | None,
    environment: str | None,
    pyproject: str | None,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARNESS_STORE")
    if environment:
        monkeypatch.setenv("HARNESS_STORE", environment)
    if pyproject:
        (tmp_path / "pyproject.toml").write_text(f"[tool.harness]\n{pyproject}\n")
    assert settled_store(given) == (None if expected is None else Path(expected))
    assert settled_store(given, off=True) is None


def test_a_store_that_is_no_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARNESS_STORE")
    (tmp_path / "pyproject.toml").write_text("[tool.harness]\nstore = 7\n")
    with pytest.raises(ScenarioError, match="store = 7: expected a folder"):
        settled_store(None)
