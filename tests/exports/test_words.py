"""How exports put SQL into the syntax of a tool, and what they refuse. No server."""

from dataclasses import replace

import pytest

from harness.campaign.record import Check, Recorded
from harness.exports.acts import dedented, play, terminated
from harness.exports.psql import script
from harness.exports.pytest_file import LINES_MAX, pytest_file
from harness.exports.spec import spec
from harness.model.contest import OpRef
from harness.model.schedule import Choice, Failing
from harness.model.verdict import Violation
from harness.runners.script import Carried, Command, Happening, Moment, Result, Script, Sql, Unwritable
from harness.sessions.gates import Made
from tests.reports.made import DUPLICATE, finding, outcome

SENT, WAITS, HELD, RELEASED, DONE, TOLD = Happening


@pytest.mark.parametrize(
    ("sql", "ended"),
    [
        ("SELECT 1", "SELECT 1;"),
        ("SELECT 1 ; ;\n", "SELECT 1;"),
        ("SELECT 1 -- one; or two", "SELECT 1 -- one; or two\n;"),
        ("SELECT ';'", "SELECT ';';"),
        ("SELECT 1 /* ; */", "SELECT 1 /* ; */;"),
    ],
)
def test_a_statement_gets_one_semicolon(sql: str, ended: str) -> None:
    assert terminated(sql) == ended


@pytest.mark.parametrize(
    ("sql", "moved"),
    [
        ("\n    CREATE TABLE t (\n        a int\n    )", "CREATE TABLE t (\n    a int\n)"),
        (
            "UPDATE t SET a = 1\n               WHERE b\n                 AND c",
            "UPDATE t SET a = 1\n  WHERE b\n    AND c",
        ),
        ("BEGIN\n  a;\nEND", "BEGIN\n  a;\nEND"),
    ],
)
def test_sql_of_a_program_is_moved_to_the_left(sql: str, moved: str) -> None:
    assert dedented(sql) == moved


def recorded(*commands: Command, moments: tuple[Moment, ...] = (), gates: tuple[Made, ...] = ()) -> Recorded:
    """A trial made by hand: the commands one after the other, unless moments are given."""
    one_by_one = tuple(
        moment for command in commands for moment in (Moment(SENT, command.number), Moment(DONE, command.number))
    )
    made = finding("Naive none new rc")
    return Recorded(
        schedule=made.schedule,
        version="18.4",
        script=Script(commands, moments or one_by_one),
        trace=made.trace,
        outcome=outcome(1, 2),
        allowed=made.allowed,
        violation=DUPLICATE,
        tables=("CREATE TABLE item (key text)",),
        start=(),
        gates=gates,
        settings={"app.user": "o'hara"},
        drops=("DROP TABLE item",),
        checks=(Check("item", "SELECT key FROM item", ("key",), (("a",), ("a",))),),
    )


def command(
    number: int, session: int, *sql: str | Carried, result: Result | None = None, connection: int = 0
) -> Command:
    return Command(number, session, connection, OpRef(session, 0), tuple(sql), result or Result("SELECT 0"))


def steps(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("step")]


def test_a_closing_brace_is_an_escape_in_a_spec() -> None:
    text = spec(
        recorded(
            command(1, 0, r"""SELECT '{"a": "b'' \"}' """),
            command(2, 0, "SELECT E'{\\n}', $x$ it's {} $x$ -- }"),
            command(3, 0, "SELECT '{'"),
        )
    )
    assert r"""step select1    { SELECT E'{"a": "b'' \\"\x7d'; }""" in text
    assert r"SELECT E'{\n\x7d', E' it''s {\x7d ' -- )" in text
    assert "step select1_3  { SELECT '{'; }" in text


def test_a_brace_that_is_no_string_is_refused() -> None:
    with pytest.raises(Unwritable, match="closing brace"):
        spec(recorded(command(1, 0, 'SELECT 1 AS "}"')))


def test_a_value_of_the_server_is_carried() -> None:
    made = Result("INSERT 0 1", columns=("id",), rows=(("1000001",),))
    carried: Sql = ("UPDATE item SET x = 1 WHERE id = ", Carried(1, 0, "1000001", "int4"))
    trial = recorded(command(1, 0, "INSERT INTO item VALUES (1) RETURNING id", result=made), command(2, 0, *carried))
    assert "RETURNING id \\gset value_1_\n" in script(trial)
    assert "WHERE id = :value_1_id;" in script(trial)
    told = spec(trial)
    assert 'WITH made ("id") AS (' in told
    assert """set_config('harness.value_1_1', made."id"::text, false)""" in told
    assert "WHERE id = current_setting('harness.value_1_1')::int4;" in told


def test_a_column_without_a_name_cannot_be_a_variable_of_psql() -> None:
    made = Result("SELECT 1", columns=("?column?",), rows=(("7",),))
    used: Sql = ("SELECT ", Carried(1, 0, "7", "int4"))
    text = script(recorded(command(1, 0, "SELECT 3 + 4", result=made), command(2, 0, *used)))
    assert "gset" not in text
    assert "SELECT 7;" in text


def test_what_waits_and_what_is_told_stands_below_the_step() -> None:
    trial = recorded(
        command(1, 0, "INSERT INTO item VALUES (1)", result=Result("INSERT 0 1")),
        command(2, 1, "INSERT INTO item VALUES (1)", result=Result(sqlstate="23505", message="duplicate key")),
        command(3, 0, "COMMIT", result=Result("COMMIT")),
        moments=(
            Moment(SENT, 1),
            Moment(DONE, 1),
            Moment(SENT, 2),
            Moment(WAITS, 2, "s1"),
            Moment(SENT, 3),
            Moment(DONE, 3),
            Moment(TOLD, 3, "s1: put() -> True"),
            Moment(DONE, 2),
        ),
    )
    text = script(trial)
    assert "--    <waiting ...> for s1" in text
    assert "--    s2 (2.): <... completed> ERROR 23505 unique_violation: duplicate key" in text
    assert text.index("s1: put() -> True") > text.index("COMMIT;")


def test_a_stop_at_a_gate_is_a_lock_that_control_holds() -> None:
    stopped = replace(command(1, 0, "SELECT f()"), gates=("BEFORE INSERT ON other", "BEFORE INSERT ON public.item"))
    moments = (
        Moment(SENT, 1),
        Moment(HELD, 1, "2"),
        Moment(SENT, 2),
        Moment(DONE, 2),
        Moment(RELEASED, 1, "2"),
        Moment(DONE, 1),
    )
    gates = (
        Made("other", ("CREATE TRIGGER a ON other EXECUTE FUNCTION harness_gates.statement()",), indexes=False),
        Made("item", ("CREATE TRIGGER b ON item EXECUTE FUNCTION harness_gates.statement()",), indexes=False),
        Made("item", ("CREATE INDEX harness_gates_of_1",), indexes=True),
    )
    staged = play(recorded(stopped, command(2, 1, "SELECT 2"), moments=moments, gates=gates))
    # The gate of the other table is not put up, so that it is not counted either.
    assert staged.stops == (101,)
    assert [act.terminal for act in staged.acts] == ["s1", "s1", "s2", "control"]
    assert not any("ON other" in sql or "harness_gates_of" in sql for sql in staged.gates)
    assert "FUNCTION harness_gates.row()" not in "".join(staged.gates)


@pytest.mark.parametrize("closes", [True, False])
def test_a_deadlock_is_found_by_its_victim(closes: bool) -> None:
    lost = Result(sqlstate="40P01", message="deadlock detected")
    first, last = (1, 2) if closes else (2, 1)
    moments = (Moment(SENT, first), Moment(WAITS, first), Moment(SENT, last), Moment(WAITS, last), Moment(DONE, 2))
    trial = recorded(command(1, 0, "UPDATE a"), command(2, 1, "UPDATE b", result=lost), moments=moments)
    opening = play(trial).opening
    assert f"SET deadlock_timeout = '{'10ms' if closes else '3s'}'" in opening["s2"]
    assert "SET deadlock_timeout = '1min'" in opening["s1"]


@pytest.mark.parametrize(
    ("failing", "inside", "typed"),
    [
        (Failing.CANCEL, False, "USING ERRCODE = '57014'"),
        (Failing.CUT, True, "ROLLBACK"),
        (Failing.CUT, False, "SELECT pg_advisory_unlock_all()"),
        (Failing.LOST, False, "UPDATE item"),
    ],
)
def test_a_client_that_fails_is_typed_as_what_the_server_does(failing: Failing, inside: bool, typed: str) -> None:
    failed = replace(command(1, 0, "UPDATE item SET x = 1"), fault=failing, inside=inside)
    act = play(recorded(failed)).acts[0]
    assert typed in "".join(map(str, act.sql))
    assert act.comment


def test_who_wakes_first_is_refused() -> None:
    trial = recorded(command(1, 0, "SELECT 1"))
    woken = replace(trial.schedule, choices=(Choice(0, (0, 1), "wake"),))
    with pytest.raises(Unwritable, match="who wakes first"):
        spec(replace(trial, schedule=woken))


def test_a_hang_is_refused() -> None:
    trial = replace(recorded(command(1, 0, "SELECT 1")), violation=Violation("hang", "s1 waits for s2"))
    with pytest.raises(Unwritable, match="for ever"):
        script(trial)


def test_sessions_with_several_connections_have_several_terminals() -> None:
    trial = recorded(command(1, 0, "SELECT 1"), command(2, 0, "SELECT 2", connection=1), command(3, 1, "SELECT 3"))
    assert play(trial).terminals == ("s1", "s1b", "s2")
    assert [line.split()[1] for line in steps(spec(trial))[:3]] == ["select1", "select1b", "select2"]


def test_several_commands_in_one_message_stay_one_message_in_psql() -> None:
    assert "SELECT 1 \\;\nSELECT 2;" in script(recorded(command(1, 0, "SELECT 1; SELECT 2")))


def test_settings_are_quoted() -> None:
    assert "SET app.user = 'o''hara';" in script(recorded(command(1, 0, "SELECT 1")))


def test_a_test_is_python_of_at_most_twenty_lines_however_long_the_schedule_is() -> None:
    trial = recorded(command(1, 0, "SELECT 1"))
    long = replace(
        trial.schedule, choices=tuple(Choice(n % 7, (n % 7, n), "run", f"{n * 7919:04x}"[-4:]) for n in range(900))
    )
    hostile = replace(DUPLICATE, explanation='says """ and \\ and more')
    text = pytest_file(replace(trial, schedule=long, violation=hostile), "scenarios/items.py")
    assert len(text.splitlines()) <= LINES_MAX
    compile(text, "test_it.py", "exec")
    assert 'scenario_file="scenarios/items.py"' in text
