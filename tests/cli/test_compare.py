"""`harness compare` from the command line: usage, what is printed and written, going on after a run."""

import json
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.cli import compare as verb
from harness.cli.main import main
from harness.servers.server import Server
from tests.reports.made import SERVER
from tests.reports.schema import problems

ITEMS = str(Path(__file__).with_name("items.py"))
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "compare.schema.json").read_text())


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["compare", *words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "missing argument 'SCENARIO'"),
        ([ITEMS, "--resume", "--fresh"], "--resume goes on and --fresh begins anew: take one of them"),
        ([ITEMS, "--budget", "soon"], "expected a time such as 30s, 2m or 1h"),
        ([ITEMS, "--clients", "0"], "0 is not in the range"),
        ([ITEMS, "--json", "no/such/folder.json"], "there is no folder"),
        ([ITEMS, "--isolation", "snapshot"], "'snapshot': expected read_committed"),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(words: list[str], said: str) -> None:
    result = run(*words)
    assert result.exit_code == 3
    assert said in result.output


def test_a_scenario_that_nobody_has_is_told(tmp_path: Path) -> None:
    result = run("purchase")
    assert result.exit_code == 2
    assert "no scenario is called 'purchase' (did you mean 'purchases'?)" in result.output


def test_a_reference_that_is_no_strategy_is_told(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(Path(ITEMS).read_text() + "\n\nitems.reference = 'nobody'\n")
    result = run(str(path))
    assert result.exit_code == 2
    assert "reference='nobody' is no strategy" in result.output


@pytest.fixture
def here(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, and the server of the tests for both purposes."""

    @contextmanager
    def started(spec: str, **_: Any) -> Any:
        yield server

    monkeypatch.setattr(verb, "running", started)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Breaks(Executor):
    """With the first cell."""

    error: BaseException

    def __init__(self, count: int) -> None:
        pass

    def submit(self, *_: Any, **__: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "warning: interrupted"),
        (KeyError("oops"), 2, "warning: ended by an error, told below"),
    ],
)
def test_stopped_it_tells_what_it_knows_and_why(
    error: BaseException, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def started(spec: str, **_: Any) -> Any:
        yield SERVER

    monkeypatch.setattr(verb, "running", started)
    monkeypatch.setattr(Breaks, "error", error, raising=False)
    monkeypatch.setattr(verb, "WorkerExecutor", Breaks)
    monkeypatch.chdir(tmp_path)
    result = run(ITEMS)
    assert result.exit_code == code
    assert "nothing is recommended" in result.output
    assert said in result.output


def test_a_scenario_is_compared_and_a_second_run_goes_on(here: Path) -> None:
    options = [ITEMS, "--isolation", "read_committed", "--layout", "unique", "--workers", "1", "--clients", "2"]
    first = run(*options, "--budget", "12s", "--json", "first.json", "--markdown", "first.md")
    assert first.exit_code == 0, first.output
    plain = json.loads((here / "first.json").read_text())
    assert list(problems(plain, SCHEMA)) == []
    verdicts = {(cell["strategy"], cell["verdict"]) for cell in plain["cells"]}
    assert verdicts == {("look_then_insert", "unsafe"), ("hopeful", "unsafe"), ("on_conflict", "safe")}
    (advice,) = plain["recommendations"]
    assert advice["best"]["strategy"] == "on_conflict"
    assert "For put at read committed: take on_conflict, with the layout unique" in first.output
    assert (here / "first.md").read_text().startswith("# ")
    kept = list((here / ".harness" / "compare").glob("*.jsonl"))
    assert len(kept) == 1
    again = run(*options, "--budget", "8s", "--resume")
    assert again.exit_code == 0, again.output
    assert f"goes on with {len(plain['cells'])} cells" in again.output
