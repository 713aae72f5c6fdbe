"""What is said of words that cannot be understood, and the exit code that goes with it. No server is started."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import explore
from harness.cli.main import main

ITEMS = str(Path(__file__).with_name("items.py"))


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(spec: str) -> None:
        raise AssertionError(f"a server was started: {spec}")

    monkeypatch.setattr(explore, "running", refuse)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("explore --sessions 1", "error: sessions=1: a conflict needs two sessions"),
        ("explore --sessions few", "error: sessions=few: expected a number"),
        ("explore --budget soon", "error: invalid value for '--budget': 'soon': expected a time such as 30s, 2m or 1h"),
        ("explore --budget 0s", "error: invalid value for '--budget': '0s': expected a time such as 30s, 2m or 1h"),
        (
            "explore --isolation dirty",
            "error: invalid value for '--isolation': 'dirty': expected read_committed, repeatable_read, serializable",
        ),
        (
            "explore --server docker:18",
            "error: invalid value for '--server': server 'docker:18' is none of auto, embedded[:16], "
            "container[:18 | :IMAGE], path:DIR or postgresql://... (did you mean container:18?)",
        ),
        (
            "explore --json nowhere/report.json",
            "error: invalid value for '--json': there is no folder 'nowhere' to write 'report.json' to",
        ),
        (
            "explore items[a]b",
            "error: 'items[a]b' is no cell: expected scenario::strategy[layout,state,isolation,server], "
            "parts may be left out",
        ),
        ("bogus", "error: no such command 'bogus'; 'harness --help' shows what there is"),
        ("replay", "error: missing argument 'WITNESS'; 'harness replay --help' shows what there is"),
        (
            "replay purchases",
            "error: 'purchases' is no schedule line: expected one that begins h1:, as a finding prints it",
        ),
        (
            "replay h2:abc",
            "error: h2: this line was written by a newer harness, this one reads h1:; "
            "install that version, or run 'harness explore' again",
        ),
    ],
)
def test_usage_is_3(words: str, message: str) -> None:
    result = run(*words.split())
    assert (result.output, result.exit_code) == (f"{message}\n", 3)


def test_an_option_that_does_not_exist_is_usage_too() -> None:
    result = run("explore", "--isolatoin")
    assert result.exit_code == 3
    guess = r"\(did you mean '?--isolation'?\?\)"
    assert re.fullmatch(rf"error: no such option:? '?--isolatoin'? {guess}; .*\n", result.output)


def test_a_password_in_a_mistyped_server_is_not_repeated() -> None:
    result = run("explore", "--server", "postgres:/me:hunter2@host/db", "--server", "pg://me:hunter2@host/db")
    assert result.exit_code == 3
    assert "hunter2@" not in run("explore", "--server", "pg://me:hunter2@host/db").output


def test_an_unknown_scenario_is_2() -> None:
    result = run("explore", "purchase")
    assert result.exit_code == 2
    assert result.output.startswith("error: no scenario is called 'purchase' (did you mean 'purchases'?); known are: ")


def test_a_mistake_in_a_file_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("from harness import Scenario\n\nitems = Scenario('items', tables='', stats={})\n")
    result = run("explore", str(file))
    assert result.exit_code == 2
    assert result.output.startswith(f"{file}:3: error: ")
    assert "Traceback" not in result.output


def test_our_own_faults_are_one_line_and_a_traceback_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(patterns: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(explore, "_load", break_down)
    plain, debugged = run("explore"), run("explore", "--debug")
    assert (plain.output, plain.exit_code) == (
        "internal error, a fault of the harness: KeyError: 'oops'; --debug shows where\n",
        2,
    )
    assert "Traceback" in debugged.output and debugged.exit_code == 2


def test_an_interrupt_before_anything_was_explored_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(patterns: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(explore, "_load", interrupt)
    assert run("explore").exit_code == 130


def test_help_and_version_are_0() -> None:
    assert run("--version").exit_code == 0
    assert run("--version").output.startswith("harness ")
    for words in (["--help"], ["explore", "-h"], ["list", "--help"], ["replay", "--help"]):
        made = run(*words)
        assert made.exit_code == 0, made.output + made.stderr
    assert "Exit codes" in run("--help").output


# list.


def test_list_shows_what_there_is() -> None:
    result = run("list", ITEMS)
    assert result.exit_code == 0
    assert (
        result.output
        == f"""\
items  ({ITEMS})
  At most one item of a name.
  layouts     unique, none
  states      new
  operation   put(name, colour, amount)
  strategy    look_then_insert (put, at read committed only)
              Two may look before either inserts.
              expects unsafe('duplicate', layout='none')
              expects unsafe('23505', layout='unique')
  strategy    hopeful (put, at read committed only)
              The same, expected to be safe.
  strategy    on_conflict (put, at read committed only)
              Right where its index is; the second rule is stale.
              expects unsafe('42P10', layout='none')
              expects unsafe('23505', layout='unique')

"""
    )


def test_list_of_a_strategy_shows_its_cells() -> None:
    assert run("list", f"{ITEMS}::hopeful").output.splitlines() == [
        "items::hopeful[unique,new,read_committed]",
        "items::hopeful[none,new,read_committed]",
    ]


def test_list_of_an_unknown_strategy_guesses() -> None:
    result = run("list", f"{ITEMS}::hopefull")
    assert result.exit_code == 2
    assert "(did you mean 'hopeful'?)" in result.output


def test_list_shows_every_scenario_that_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("list")
    assert result.exit_code == 0
    for name in ("purchases", "oauth_installations", "waba_accounts", "qbo_tokens", "platform_connections"):
        assert f"\n{name}  (" in f"\n{result.output}"
