"""Certificates end to end: written by one command, held by another, and refused where the ground has moved."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.campaign import job
from harness.cli import explore, verify
from harness.cli.main import main
from harness.servers.server import Server
from tests.reports.schema import problems

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "certificate.schema.json").read_text())

DOORS = '''
"""One row per door; how often it was opened."""

from harness import READ_COMMITTED, SERIALIZABLE, Connection, Identity, Key, Scenario, unsafe

doors = Scenario(
    "doors",
    tables="CREATE TABLE door (name text NOT NULL, opened int NOT NULL)",
    layouts={"unique": "CREATE UNIQUE INDEX door_name ON door (name)"},
    identity=Identity("door", by="name"),
)

@doors.operation(name=Key(str))
def open_it(connection: Connection, name: str) -> None:
    if connection.execute("UPDATE door SET opened = opened + 1 WHERE name = %s", [name]).rowcount == 0:
        connection.execute("INSERT INTO door VALUES (%s, 1)", [name])

@doors.operation(name=Key(str))
def forget(connection: Connection, name: str) -> None:
    connection.execute("DELETE FROM door WHERE name = %s", [name])

@open_it.strategy(isolation=READ_COMMITTED, expect=unsafe("42P10", layout="none"))
def upsert(connection: Connection, name: str) -> None:
    connection.execute(
        "INSERT INTO door VALUES (%s, 1) ON CONFLICT (name) DO UPDATE SET opened = door.opened + 1", [name]
    )

@forget.strategy(isolation=READ_COMMITTED)
def forget_twice(connection: Connection, name: str) -> None:
    for _ in range(2):
        forget(connection, name)

@open_it.strategy(isolation=SERIALIZABLE)
def look_in_a_transaction(connection: Connection, name: str) -> None:
    with connection.transaction():
        open_it(connection, name)
'''

Run = Callable[..., Result]


@pytest.fixture
def doors(tmp_path: Path) -> Path:
    path = tmp_path / "doors.py"
    path.write_text(DOORS)
    return path


@pytest.fixture
def run(server: Server, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command line on the server of this run, which no certificate has to find."""
    use(server, monkeypatch)
    return lambda *words: CliRunner().invoke(main, [*map(str, words), "--workers", "0"])


def use(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def running(spec: str) -> Iterator[Server]:
        yield server

    monkeypatch.setattr(explore, "running", running)
    monkeypatch.setattr(verify, "running", running)


def certified(run: Run, file: Path, *words: object) -> dict[str, Any]:
    made = run("explore", *words, "--certificate", file, "--witnesses", "none")
    assert made.exit_code in (0, 2), made.output
    read: dict[str, Any] = json.loads(file.read_text())
    assert list(problems(read, SCHEMA)) == []
    return read


def verified(run: Run, file: Path) -> Result:
    return run("explore", "--verify", file, "--server", "embedded")


# Only what was really explored.


def test_what_passed_is_certified_and_holds_and_the_rest_is_named(run: Run, doors: Path, tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    read = certified(run, file, f"{doors}::upsert")
    (entry,) = read["certificates"]
    assert (entry["layout"], entry["verdict"], entry["exhaustive"]) == ("unique", "safe", True)
    assert [(w["verdict"], w["why"]) for w in read["without"]] == [("unsafe", "unsafe: 42P10")]
    again = verified(run, file)
    assert again.exit_code == 0, again.output
    assert f"\nholds: {entry['cell']}\n1 certificate: 1 holds\n" in again.output


def test_a_cell_cut_off_by_the_cap_on_orders_is_only_sampled(run: Run, doors: Path, tmp_path: Path) -> None:
    words = (f"{doors}::look_in_a_transaction[none]", "--orders", "3")
    read = certified(run, tmp_path / "certificate.json", *words)
    assert read["certificates"] == []
    (without,) = read["without"]
    assert without["why"].startswith("only sampled: a contest has more orders than were allowed; ")


def test_a_cell_cut_off_by_the_budget_is_unknown(run: Run, doors: Path, tmp_path: Path) -> None:
    read = certified(run, tmp_path / "certificate.json", f"{doors}::upsert[unique]", "--budget", "1ms")
    assert read["certificates"] == []
    assert [without["verdict"] for without in read["without"]] == ["unknown"]


def test_contests_that_were_skipped_are_counted_and_not_covered(run: Run, doors: Path, tmp_path: Path) -> None:
    """Nothing is there to be forgotten: of forget and forget no order writes, of forget and open_it some do."""
    (entry,) = certified(run, tmp_path / "certificate.json", f"{doors}::forget_twice[unique]")["certificates"]
    assert (entry["contests"], entry["skipped"]) == (2, 2)
    assert "2 contests of which no serial order writes anything" in entry["not_covered"]


def test_a_run_that_did_not_end_certifies_nothing(
    run: Run, doors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(explore.campaign, "explore", interrupted)
    file = tmp_path / "certificate.json"
    made = run("explore", doors, "--certificate", file)
    assert made.exit_code == 130
    assert f"no certificate is written to {file}: the run did not come to its end" in made.output
    assert not file.exists()


# When the ground has moved.


def difference(run: Run, doors: Path, tmp_path: Path, cell: str, old: str, new: str) -> Result:
    """Certify, edit the scenario's file, verify."""
    file = tmp_path / "certificate.json"
    assert certified(run, file, f"{doors}::{cell}")["certificates"]
    assert old in DOORS
    doors.write_text(DOORS.replace(old, new))
    job._loaded.clear()  # this process has the file in mind, as no second command line would
    return verified(run, file)


def test_an_upsert_that_became_a_race_is_worse_and_shown(run: Run, doors: Path, tmp_path: Path) -> None:
    upsert = "def upsert(connection: Connection, name: str) -> None:\n"
    made = difference(run, doors, tmp_path, "upsert[unique]", upsert, f"{upsert}    return open_it(connection, name)\n")
    assert made.exit_code == 1, made.output
    assert re.search(r"doors::upsert\[unique,.*\]: verdict: expected safe, found unsafe; ", made.output)
    assert "\n  replay with: harness replay 'h1:doors::upsert[unique," in made.output
    assert made.output.endswith("1 certificate: 0 hold\n")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("One row per door", "A row per door", "scenario file: expected "),
        ('"unique": "CREATE', '"uniques": "CREATE', "layout: expected unique, found uniques, none; "),
        ("def upsert(", "def put(", "strategy: expected upsert, found put, forget_twice, look_in_a_transaction; "),
        ('"doors",', '"gates",', "scenario: expected doors, found none of that name; "),
    ],
)
def test_what_was_edited_is_named(run: Run, doors: Path, tmp_path: Path, old: str, new: str, said: str) -> None:
    made = difference(run, doors, tmp_path, "upsert[unique]", old, new)
    assert made.exit_code == 1, made.output
    assert re.search(rf"doors::upsert\[unique,\S+\]: {re.escape(said)}", made.output), made.output


def test_another_minor_is_a_difference(
    run: Run, doors: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "certificate.json"
    certified(run, file, f"{doors}::upsert[unique]")
    use(replace(server, version=f"{server.version}9"), monkeypatch)
    made = verified(run, file)
    assert made.exit_code == 1, made.output
    assert f"server version: expected {server.version}, found {server.version}9; " in made.output


def test_what_could_not_be_run_is_2(run: Run, doors: Path, tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    certified(run, file, f"{doors}::upsert[unique]")
    made = run("explore", "--verify", file, "--server", "embedded", "--budget", "1ms")
    assert made.exit_code == 2, made.output
    assert "could not be verified: the budget was spent" in made.output


# Before any server.


@pytest.mark.parametrize("words", [("--orders", "5"), ("--no-gates",), ("--certificate", "x.json"), ("doors",)])
def test_what_the_file_says_is_not_asked_again(words: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    file.write_text("{}")
    made = CliRunner().invoke(main, ["explore", "--verify", str(file), *words])
    assert made.exit_code == 3
    assert "error: --verify takes no " in made.output


def test_a_foreign_file_is_3_before_a_server_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "running", None)
    file = tmp_path / "report.json"
    file.write_text('{"format": 1, "cells": []}')
    made = CliRunner().invoke(main, ["explore", "--verify", str(file)])
    assert made.exit_code == 3
    assert made.output.startswith(f"error: {file}: expected a file of kind ")
