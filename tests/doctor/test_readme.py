"""The README's example of the doctor, typed as it stands, prints what it says."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.main import main

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.server
def test_the_example_prints_what_the_readme_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```\n(\$ cat schema\.sql\n.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    *files, (typed, printed) = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)+)", example, re.MULTILINE)
    for command, content in files:
        Path(command.removeprefix("cat ")).write_text(content)
    result = CliRunner().invoke(main, typed.split()[1:])
    assert result.exit_code == 1
    assert result.output.startswith(printed)
