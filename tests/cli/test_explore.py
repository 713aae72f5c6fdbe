"""The command line end to end: what is printed and written, the exit code, and a finding replayed from its line."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.campaign.campaign import Listener, Options, Selection
from harness.cli import explore, replay
from harness.cli.main import main
from harness.model.schedule import Gates
from harness.model.verdict import CellResult, Verdict
from harness.scenario.discovery import harness_version
from harness.servers.server import Server
from tests.reports.made import DUPLICATE, SERVER, report, result
from tests.reports.schema import problems

ITEMS = str(Path(__file__).with_name("items.py"))
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text())
UNSAFE, UNKNOWN, RETRY, SAFE = Verdict


# The exit code.


@pytest.mark.parametrize(
    ("code", "results"),
    [
        (0, [result("A full new rc"), result("A none new rc", UNSAFE, DUPLICATE)]),
        (0, [result("A full new rc", UNKNOWN)]),
        (1, [result("A full new rc"), result("A none new rc", UNSAFE, DUPLICATE, as_expected=False)]),
        (1, [result("A full new rc", RETRY, as_expected=False)]),
        (1, [result("A full new rc", UNKNOWN, as_expected=False), result("A none new rc", UNSAFE, as_expected=False)]),
        (2, [result("A full new rc"), result("A none new rc", UNKNOWN, as_expected=False)]),
        (2, []),
    ],
)
def test_the_exit_code_follows_from_the_results(code: int, results: list[object]) -> None:
    assert explore.exit_code(results) == code  # type: ignore[arg-type]


def test_two_servers_of_one_version_could_not_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    use(SERVER, monkeypatch)
    made = CliRunner().invoke(main, ["explore", ITEMS, "--server", "embedded", "--server", "auto"])
    assert made.exit_code == 3
    assert made.output.endswith(
        "error: 2 of the servers are PostgreSQL 18.4: expected different versions, major or minor; "
        "run them one after the other\n"
    )


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "warning: interrupted: 1 of 6 cells were explored\n1 cell: 1 unsafe;"),
        (KeyError("oops"), 2, "warning: ended by an error, told below: 1 of 6 cells were explored\n1 cell: 1 unsafe;"),
    ],
)
def test_what_was_found_is_told_whatever_happens_then(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(SERVER, monkeypatch)

    def ended(selections: list[Selection], servers: object, options: object, listen: Listener, _: object) -> None:
        listen(CellResult(selections[0].cells[1], UNSAFE, "seen"))
        raise error

    monkeypatch.setattr(explore.campaign, "explore", ended)
    made = CliRunner().invoke(main, ["explore", ITEMS])
    assert made.exit_code == code
    assert said in made.output
    assert ("internal error" in made.output) == (code == 2)


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (KeyError("oops"), 2)])
def test_findings_are_told_whatever_happens_to_the_advice_on_them(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(SERVER, monkeypatch)
    found = result("hopeful none new rc", UNSAFE, DUPLICATE, as_expected=False)

    def advised(*words: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(explore.campaign, "explore", lambda *words: report(found))
    monkeypatch.setattr(explore, "advised", advised)
    made = CliRunner().invoke(main, ["explore", ITEMS])
    assert made.exit_code == code
    assert "2 live rows of item" in made.output and "replay with: " in made.output
    assert "warning: no advice on the findings: " in made.output


# With a server.


def use(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def running(spec: str) -> Iterator[Server]:
        yield server

    monkeypatch.setattr(explore, "running", running)
    monkeypatch.setattr(replay, "running", running)


@pytest.mark.parametrize(
    ("words", "gates"),
    [("", Gates.USUAL), ("--gates all", Gates.ALL), ("--no-gates", Gates.NONE), ("--gates none", Gates.NONE)],
)
def test_which_gates_are_asked_for(words: str, gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    use(SERVER, monkeypatch)
    asked: list[Gates] = []

    def ended(selections: object, servers: object, options: Options, listen: Listener, _: object) -> None:
        asked.append(options.gates)
        raise KeyboardInterrupt

    monkeypatch.setattr(explore.campaign, "explore", ended)
    CliRunner().invoke(main, ["explore", ITEMS, *words.split()])
    assert asked == [gates]


@pytest.fixture
def run(server: Server, monkeypatch: pytest.MonkeyPatch) -> object:
    use(server, monkeypatch)

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(main, [f"{ITEMS}{word[5:]}" if word.startswith("items") else word for word in words])

    return invoke


def test_as_expected_is_0_and_a_stale_rule_gets_its_line(run: object) -> None:
    made = run("explore", "items::look_then_insert", "items::on_conflict", "--workers", "0")  # type: ignore[operator]
    assert made.exit_code == 0, made.output
    table = made.output[made.output.index("items on pg") :]
    assert re.sub(r"pg\d+", "pg", table).startswith("""\
items on pg
               read committed
look_then_insert
  unique  new  unsafe 23505
  none    new  unsafe duplicate
on_conflict ~
  unique  new  safe
  none    new  unsafe 42P10
  ~ a rule of this strategy is met by no cell any more
exhaustive: """)
    assert "stale rule, met by no cell any more: items::on_conflict: unsafe('23505', layout='unique')\n" in made.output
    assert "replay with" not in made.output
    assert re.search(
        r"\n4 cells: 3 unsafe, 1 safe; 0 worse than expected; 1 stale rule; seed 0; [\d.]+ s\n$", made.output
    )


def test_what_no_rule_covers_is_1_with_a_witness_that_replays(run: object, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    made = run("explore", "items::hopeful[none]", "--workers", "0", "--json", str(file))  # type: ignore[operator]
    assert made.exit_code == 1, made.output
    assert "worse than expected: items::hopeful[none,new,read_committed,pg" in made.output
    (line,) = re.findall(r"replay with: harness replay '(h1:\S+)' --from \S*items.py\n", made.output)

    report = json.loads(file.read_text())
    assert list(problems(report, SCHEMA)) == []
    assert report["harness"] == harness_version()
    (cell,) = report["cells"]
    assert cell["operations"] == ["put"] and cell["findings"][0]["schedule"] == line

    for witness in (line, str(file)):
        again = run("replay", witness, "--times", "5", "--from", ITEMS)  # type: ignore[operator]
        assert again.exit_code == 0, again.output
        assert again.output.endswith("replayed to the same outcome: 5/5\n")
        assert "\nduplicate: 2 live rows of item (name)" in again.output


def test_all_reports_are_written(run: object, tmp_path: Path) -> None:
    names = {"--json": "a.json", "--html": "a.html", "--markdown": "a.md", "--junit": "a.xml"}
    options = [word for option, name in names.items() for word in (option, str(tmp_path / name))]
    made = run("explore", "items::hopeful", "--layout", "unique", "--workers", "0", *options)  # type: ignore[operator]
    assert made.exit_code == 1, made.output
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names.values())


def test_no_such_layout_is_2(run: object) -> None:
    made = run("explore", "items", "--layout", "half")  # type: ignore[operator]
    assert made.exit_code == 2
    assert "error: " in made.output and "Traceback" not in made.output


def test_witnesses_of_the_most_telling_finding_only(run: object) -> None:
    words = ("explore", "items::look_then_insert", "--workers", "0", "--witnesses", "worst-per-scenario")
    made = run(*words)  # type: ignore[operator]
    assert made.exit_code == 0, made.output
    assert made.output.count("replay with: ") == 1
    assert "[none,new,read_committed,pg" in made.output.partition("replay with: ")[2]
