"""`harness export`: what it writes where, and what it says where it cannot."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import export
from harness.cli.main import main
from harness.model.codec import encode
from harness.servers.server import Server
from tests.campaign.exploring import explored

ITEMS = str(Path(__file__).with_name("items.py"))
LINE = "h1:items::a[b,c,read_committed,pg18]:abc"


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["export", *words])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((LINE,), "error: missing option '--format'"),
        (
            (LINE, "--format", "dot"),
            "error: invalid value for '--format': 'dot' is not one of 'psql', 'spec', 'pytest'",
        ),
        ((LINE, "--format", "spec", "--runner"), "error: --runner with --format spec: expected --format psql"),
        (("items", "--format", "spec"), "error: 'items' is no schedule line"),
        (
            (LINE, "--format", "spec", "-o", "nowhere/x"),
            "error: invalid value for '-o' / '--output': there is no folder",
        ),
    ],
)
def test_words_that_cannot_be_understood(words: tuple[str, ...], message: str) -> None:
    made = run(*words)
    assert made.exit_code == 3
    assert message in made.output


def test_a_file_with_several_lines_is_refused(tmp_path: Path) -> None:
    several = tmp_path / "report.txt"
    several.write_text(f"{LINE}\n{LINE}d\n")
    made = run(str(several), "--format", "spec")
    assert made.exit_code == 3
    assert "2 schedule lines are in this file" in made.output


@pytest.fixture
def line(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    @contextmanager
    def running(spec: str) -> Iterator[Server]:
        yield server

    monkeypatch.setattr(export, "running", running)
    return encode(explored(server, f"{ITEMS}::look_then_insert[unique]").findings[0].schedule)


FIRST_LINES = {
    ("psql",): "-- items::look_then_insert[unique,new,read_committed,",
    ("psql", "--runner"): "#!/usr/bin/env bash",
    ("spec",): "# items::look_then_insert[unique,new,read_committed,",
    ("pytest",): '"""items::look_then_insert[unique,new,read_committed,',
}


def test_every_format_is_printed_or_written(line: str, tmp_path: Path) -> None:
    for form, first in FIRST_LINES.items():
        printed = run(line, "--from", ITEMS, "--format", *form)
        assert printed.exit_code == 0, printed.output
        assert printed.stdout.startswith(first)
        file = tmp_path / "export"
        written = run(line, "--from", ITEMS, "--format", *form, "-o", str(file))
        assert written.exit_code == 0
        assert file.read_text() == printed.stdout
        assert os.access(file, os.X_OK) is ("--runner" in form)
        file.unlink()


def test_a_strategy_that_goes_another_way_is_not_exported(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = tmp_path / "items.py"
    body = '    """Two may look before either inserts."""\n'
    mended.write_text(Path(ITEMS).read_text().replace(body, f"{body}    connection.execute('SELECT 1')\n"))
    made = run(line, "--from", str(mended), "--format", "spec")
    assert made.exit_code == 2
    assert "the code no longer goes the way of this line" in made.output
