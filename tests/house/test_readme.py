"""What the README says can be typed, can be typed: commands, make targets, scenarios, kinds of findings."""

import re
import shlex
from pathlib import Path

from harness.campaign.campaign import Options, select
from harness.cli.main import main
from harness.model.verdict import KINDS, Verdict
from harness.scenario.discovery import shipped

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    blocks = re.findall(r"```\n(.*?)```", README, re.S)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"`?make (\w+)", README))
    rules = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert targets
    assert targets <= rules


def test_every_command_of_the_readme_exists() -> None:
    verbs = {line.split()[1] for line in commands() if line.startswith("harness ")}
    assert verbs
    assert verbs <= set(main.commands)


def test_every_cell_that_the_readme_names_can_be_selected() -> None:
    lines = [line for line in commands() if line.startswith("harness explore ") and not re.search("CELL|FILE", line)]
    assert lines
    for _, _, *words in map(shlex.split, lines):
        named = [word for word in words if re.match(r"[a-z]\w+(::|$)", word)]
        assert select([word for word in named if word != "read_committed"], Options(), ["pg18"])


def test_every_incident_of_the_readme_is_shipped() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", README, re.M))
    assert len(named) == 5
    assert named <= {path.stem for path in shipped().glob("*.py")}


def test_every_verdict_and_every_kind_is_explained() -> None:
    missing = [word for word in (*KINDS, *Verdict) if word != "error" and word not in README]
    assert not missing


def test_ci_runs_what_the_readme_says() -> None:
    run = (ROOT / ".ci" / "run").read_text()
    assert "make test" in run
    assert "make demo" in run
