"""Scenario files, selections and schedule lines that are wrong: one line says what, where, and what to do."""

from pathlib import Path

import pytest

from tests.bad_input.conftest import Run

GOOD = '''
"""One row per key."""

from harness import READ_COMMITTED, Connection, Identity, Key, Scenario

rows = Scenario(
    "rows",
    tables="CREATE TABLE t (k int NOT NULL, n int NOT NULL)",
    layouts={"unique": "CREATE UNIQUE INDEX ON t (k)"},
    states={"new": "", "there": "INSERT INTO t VALUES (%(k)s, 1)"},
    identity=Identity("t", by="k"),
)


@rows.operation(k=Key(int))
def put(connection: Connection, k: int) -> None:
    if connection.execute("SELECT 1 FROM t WHERE k = %s", (k,)).fetchone() is None:
        connection.execute("INSERT INTO t VALUES (%s, 1)", (k,))


@put.strategy(isolation=READ_COMMITTED)
def look_then_insert(connection: Connection, k: int) -> None:
    put.body(connection, k)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scenarios"
    made.mkdir()
    return made


def test_a_syntax_error_is_told_with_its_line(run: Run, folder: Path) -> None:
    (folder / "rows.py").write_text(GOOD + "\n\ndef broken(:\n")
    run("explore").complains(r".*/rows\.py:26: error: invalid syntax: def broken\(:", code=2)


def test_an_import_that_fails_is_told_with_its_line(run: Run, folder: Path) -> None:
    (folder / "rows.py").write_text(GOOD + "\n\nimport myshop\n")
    run("explore", "rows").complains(r".*/rows\.py:26: error: ModuleNotFoundError: No module named 'myshop'", code=2)


def test_two_scenarios_of_one_name_are_refused(run: Run, folder: Path) -> None:
    (folder / "a.py").write_text(GOOD)
    (folder / "b.py").write_text(GOOD)
    run("explore").complains(r".*/b\.py:6: error: a second scenario called 'rows'; the first is at .*/a\.py:6", code=2)


@pytest.mark.parametrize(
    ("pattern", "told", "code"),
    [
        ("rows[uniqe]", r"error: 'uniqe' is no layout, .*", 2),
        ("rows::look_then_inser", r"error: scenario rows has no strategy 'look_then_inser'.*", 2),
        ("row", r"error: no scenario is called 'row' \(did you mean 'rows'\?\); known are: .*", 2),
        ("rows[unique][new]", r"error: 'rows\[unique\]\[new\]' is no cell: expected .*", 3),
        ("nowhere/rows.py", r"error: nowhere/rows\.py is no file.*", 2),
    ],
)
@pytest.mark.server
def test_a_pattern_that_means_nothing_is_refused(
    run: Run, folder: Path, address: str, pattern: str, told: str, code: int
) -> None:
    (folder / "rows.py").write_text(GOOD)
    run("explore", pattern, "--server", address).complains(told, code=code)


@pytest.mark.server
def test_a_selection_of_no_cell_is_refused(run: Run, folder: Path, address: str) -> None:
    (folder / "rows.py").write_text(GOOD)
    words = ("explore", "rows[unique]", "--layout", "none", "--server", address)
    run(*words).complains("error: no cell is selected: 'harness list' shows what there is", code=2)


def test_one_session_is_refused(run: Run) -> None:
    run("explore", "--sessions", 1).complains("error: sessions=1: a conflict needs two sessions", code=3)


@pytest.mark.server
@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        (
            "UNIQUE INDEX ON t (k)",
            "UNIQUE INDEX ON t (q)",
            r"layout unique: .*\"q\" does not exist.*\(42703 undefined_col",
        ),
        ("(k int NOT NULL, n", "(k int NOT NULL n", r"layout (none|unique): .*syntax error.*\(42601 syntax_error\)"),
        ("t VALUES (%(k)s, 1)", "t VALUES (%(k)s, 'x')", r"state there: .*invalid input syntax.*\(22P02"),
        ("t VALUES (%(k)s, 1)", "t VALUES (%(k)s, 100%)", r"state there: .*ProgrammingError: .*%"),
        (
            'by="k"),',
            'by="k"),\n    invariants={"few": "SELECT m FROM t"},',
            r"identity, observe or invariants: .*42703",
        ),
        ('by="k"),', 'by="k"),\n    observe={"t": "SELECT m FROM t"},', r"identity, observe or invariants: .*42703"),
        ('by="k"),', 'by="k"),\n    extensions="nosuch",', r"layout (none|unique): .*nosuch.*0A000 feature_not"),
        ('by="k"),', 'by="k"),\n    settings={"nosuch": "1"},', r"settings nosuch='1': .*nosuch.*42704"),
    ],
)
def test_sql_that_the_server_refuses_is_told_with_its_place(
    run: Run, folder: Path, address: str, right: str, wrong: str, told: str
) -> None:
    assert right in GOOD
    (folder / "rows.py").write_text(GOOD.replace(right, wrong, 1))
    ran = run("explore", "rows", "--server", address)
    ran.complains(rf".*/rows\.py:6: error: scenario rows, {told}.*", code=2)


# Schedule lines.


@pytest.fixture
def line(run: Run, folder: Path, address: str) -> str:
    """What a finding ends with."""
    (folder / "rows.py").write_text(GOOD)
    ran = run("explore", "rows[none,new]", "--server", address)
    ran.says(r"replay with: harness replay 'h1:", code=1)
    return ran.out.partition("harness replay '")[2].partition("'")[0]


@pytest.mark.server
def test_a_line_that_cannot_be_replayed_says_why(run: Run, folder: Path, address: str, line: str) -> None:
    def replay(line: str) -> tuple[object, ...]:
        return "replay", line, "--server", address

    run(*replay(line)).says("1/1", code=0)
    packed = line.rpartition(":")[2]
    run(*replay(line[:-5])).complains(
        r"error: this line is cut short or altered \(\d+ characters\); copy it whole, .*", code=3
    )
    run(*replay(line.replace(packed, packed[::-1]))).complains("error: .*", code=3)
    run(*replay(line.replace("none,new", "unique,new"))).complains("error: .*", code=3)
    run(*replay("h2" + line[2:])).complains("error: h2: this line was written by a newer harness.*", code=3)
    run(*replay("purchases")).complains("error: 'purchases' is no schedule line.*", code=3)

    (folder / "rows.py").write_text(GOOD.replace("n int NOT NULL", "n bigint NOT NULL"))
    run(*replay(line)).complains("error: the tables, the layout or the operations of rows changed .*", code=2)
    (folder / "rows.py").write_text(GOOD.replace("look_then_insert", "insert"))
    gone = ".*error: scenario rows has no strategy 'look_then_insert' any more.*; strategies are: insert"
    run(*replay(line)).complains(gone, code=2)
    (folder / "rows.py").write_text(GOOD.replace('"new": ""', '"empty": ""'))
    gone = ".*error: scenario rows has no state 'new' any more; states are: empty, there"
    run(*replay(line)).complains(gone, code=2)
    (folder / "rows.py").write_text(GOOD.replace('"rows"', '"others"'))
    run(*replay(line)).complains("error: no scenario is called 'rows'.*", code=2)
    (folder / "rows.py").write_text(GOOD.replace("    put.body(connection, k)", "    connection.execute('SELECT 2')"))
    run(*replay(line)).says("departure: .*expected .*, found .*", "0/1", code=2)
    (folder / "rows.py").write_text(GOOD.replace("    put.body(connection, k)", "    while True: pass"))
    run(*replay(line), HARNESS_TRIAL_S="1").says("departure: s1 did not come back to the database within 1 s", code=2)
