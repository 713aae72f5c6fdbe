"""Exports run by the tools they are for: the anomaly is in what those print, and a safe twin's prints none."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.campaign.record import Recorded
from harness.exports.psql import runner, script
from harness.exports.pytest_file import LINES_MAX, pytest_file
from harness.exports.spec import spec
from harness.servers.databases import own_database
from harness.servers.server import Server

from .conftest import RACES, Found
from .tools import isolationtester, missing_in, paste, psql, rows_of_step, run_pytest, run_script, run_spec

pytestmark = pytest.mark.server

CELLS = {
    "races::look_first[none,new]": "duplicate",
    "races::look_first[unique,new]": "23505",
    "races::make_then_fill[none,new]": "duplicate",
    "races::read_then_write[unique,there]": "lost-update",
    "races::in_a_function[unique,new]": "23505",  # at a gate
    "races::swallow[unique,new]": "lost-update",
    "races::TwoRequests[none,new]": "duplicate",
    "races::without_autocommit[none,new]": "duplicate",
    "races::upsert[none,new]": "42P10",  # needs no concurrency
    "moves::in_order_of_arguments": "deadlock",
}


@pytest.fixture
def empty(server: Server) -> Iterator[str]:
    if isolationtester(server) is None:
        pytest.skip("the wheel has no isolationtester of this server's version")
    with own_database(server, label="export") as name:
        yield name


@pytest.mark.parametrize("cell", CELLS)
def test_isolationtester_shows_the_anomaly(cell: str, found: Found, server: Server, empty: str) -> None:
    recorded = found(cell)
    assert recorded.violation is not None
    assert recorded.violation.name == CELLS[cell]
    output = run_spec(spec(recorded), server, empty)
    assert not missing_in(output, recorded), output
    match CELLS[cell]:
        case "duplicate":
            ((*_, count),) = rows_of_step(output, "check1")
            assert int(count) == 2
        case "23505":
            assert "ERROR:  duplicate key value violates unique constraint" in output
        case "42P10":
            assert "ERROR:  there is no unique or exclusion constraint matching" in output
        case "deadlock":
            assert output.count("ERROR:  deadlock detected") == 1


@pytest.mark.parametrize("cell", CELLS)
def test_a_script_types_the_steps_and_sees_the_anomaly(cell: str, found: Found, server: Server) -> None:
    if psql(server) is None:
        pytest.skip("the wheel has no psql of this server's version")
    ran = run_script(runner(found(cell)), server)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("\nthe anomaly showed\n")


def test_with_another_index_the_anomaly_does_not_show(found: Found, server: Server, empty: str) -> None:
    recorded = found("races::look_first[none,new]")
    mended = "CREATE UNIQUE INDEX ON item (name);\n"
    ran = run_script(re.sub(r"(?m)^SQL$", f"{mended}SQL", runner(recorded), count=1), server)
    assert ran.returncode == 1
    assert "differs: expected SQLSTATE 00000" in ran.stdout
    output = run_spec(re.sub(r"(?m)^teardown", f"setup {{ {mended} }}\nteardown", spec(recorded)), server, empty)
    assert missing_in(output, recorded)


def test_a_safe_twin_shows_nothing(
    twin: Callable[[str, str], Recorded], server: Server, empty: str, found: Found
) -> None:
    recorded = twin("races::look_first[unique,new]", "upsert")
    assert recorded.violation is None
    output = run_spec(spec(recorded), server, empty)
    assert "ERROR" not in output
    assert [row[1:2] for row in rows_of_step(output, "check1")] == [("3",)]  # 1 + 2, in one row
    assert missing_in(output, found("races::look_first[unique,new]"))


def test_pytest_fails_now_and_passes_once_the_strategy_is_mended(found: Found, tmp_path: Path) -> None:
    body = '    """Finds an id, and goes on with it."""\n    '
    mended = ("add(connection, name, amount)", "upsert(connection, name, amount)")
    # 23505 instead of a duplicate; and a digest that is no longer the line's.
    traded = ("amount  int NOT NULL,", "amount  int NOT NULL, UNIQUE (name),")
    cases = {
        "now": ("races::look_first[unique,new]", "", ""),
        "mended": ("races::look_first[unique,new]", body + mended[0], body + mended[1]),
        "traded": ("races::look_first[none,new]", *traded),
    }
    for name, (cell, old, new) in cases.items():
        scenario = tmp_path / f"races_{name}.py"
        scenario.write_text(Path(RACES).read_text().replace(old, new, 1))
        test = pytest_file(found(cell), str(scenario))
        assert len(test.splitlines()) <= LINES_MAX
        (tmp_path / f"test_{name}.py").write_text(test)
    ran = run_pytest(tmp_path)
    assert "2 failed, 1 passed" in ran.stdout, ran.stdout
    assert "FAILED test_now.py" in ran.stdout
    assert "FAILED test_traded.py" in ran.stdout
    assert len(re.findall(r"\| s1 +\| s2 +\|", ran.stdout)) >= 2  # the interleaving of each
    assert ran.stdout.count("23505 unique_violation") >= 2


def test_steps_pasted_into_terminals_come_to_what_is_written(found: Found, server: Server, empty: str) -> None:
    seen = paste(script(found("races::make_then_fill[none,new]")), server, empty)
    assert "ERROR" not in seen
    assert "\nname|count\nname1|2\n" in seen
    assert seen.count("UPDATE 1") == 2  # by the ids that this run made


def test_the_script_for_terminals_says_what_is_typed_where_and_what_is_seen(found: Found) -> None:
    text = script(found("races::make_then_fill[none,new]"))
    steps = re.findall(r"^-- (\d+)\. (s\d)", text, re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    assert {who for _, who in steps} == {"s1", "s2"}
    assert len(re.findall(r"\\gset value_\d+_", text)) == 2
    assert len(re.findall(r"WHERE id = :'value_\d+_id'::uuid;", text)) == 2
