"""A trial that is given up ends every session at once, whatever its code does, and leaves nothing behind."""

from collections.abc import Callable

import psycopg
import pytest

from harness.schedulers.preemptions import Preemptions
from harness.sessions.arena import Arena
from harness.sessions.connection import GatedConnection
from harness.sessions.session import TrialAborted
from harness.sessions.steering import Uncontrolled
from tests.sessions.trials import UNIQUE, Choices, Program, alone, run, script, transaction

MakeArena = Callable[..., Arena]
INSERT = "INSERT INTO t VALUES (1, 1)"


class Enough(Exception):
    """What the scheduler raises."""


class GivesUpAfter:
    """Lets sessions go in turn, then raises: as Hypothesis does when it has seen enough of an example."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def new_trial(self) -> bool:
        return True

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        if not self._left:
            raise Enough
        self._left -= 1
        return next((one for one in options if one != current), options[0])

    def finished(self, choices: Choices) -> None:
        return None


def check(arena: MakeArena, *programs: Program, gates: bool = False, steps: int = 6) -> None:
    """Given up after each number of steps, the exception arrives and the next trial finds everything in order."""
    made = arena(UNIQUE, gates=gates)
    for number in range(steps):
        with pytest.raises(Enough):
            run(made, GivesUpAfter(number), *programs)
        scheduler = Preemptions()
        assert scheduler.new_trial()
        after = run(made, scheduler, transaction(INSERT), script("SELECT 1"))
        assert (after.told, after.rows) == ((None, [(1,)]), (("1", "1"),))


def never_ends(connection: GatedConnection) -> None:
    while True:
        with connection.transaction():
            connection.execute("SELECT 1")
            connection.execute("UPDATE t SET n = n + 1")


def retries_for_ever(connection: GatedConnection) -> None:
    while True:
        try:
            with connection.transaction():
                connection.execute(INSERT)
                connection.execute("SELECT 1")
                raise ValueError("again")
        except Exception:
            continue


def retries_by_hand(connection: GatedConnection) -> None:
    while True:
        connection.execute("BEGIN")
        try:
            connection.execute(INSERT)
            connection.execute("SELECT 1")
        except psycopg.Error:
            pass
        finally:
            connection.rollback()


def cleans_up_with_statements(connection: GatedConnection) -> None:
    try:
        never_ends(connection)
    finally:
        connection.execute("INSERT INTO t VALUES (2, 2)")


def raises_on_its_way_out(connection: GatedConnection) -> None:
    try:
        never_ends(connection)
    finally:
        raise ValueError("not now")


def pipelines_for_ever(connection: GatedConnection) -> None:
    with connection.pipeline():
        while True:
            connection.execute("SELECT 1").fetchall()
            connection.execute("UPDATE t SET n = n + 1")


ENDLESS = [
    pipelines_for_ever,
    never_ends,
    retries_for_ever,
    retries_by_hand,
    cleans_up_with_statements,
    raises_on_its_way_out,
]


@pytest.mark.parametrize("program", ENDLESS)
def test_code_that_would_never_end_is_ended(arena: MakeArena, program: Program) -> None:
    check(arena, program, program)


def test_who_waits_for_a_lock_is_ended(arena: MakeArena) -> None:
    check(arena, transaction(INSERT, *["SELECT 1"] * 6), retries_for_ever)


def test_who_is_held_at_a_gate_is_ended(arena: MakeArena) -> None:
    check(arena, script(*[INSERT + " ON CONFLICT DO NOTHING"] * 6), retries_for_ever, gates=True)


def test_what_is_in_flight_is_ended(arena: MakeArena) -> None:
    def copies(connection: GatedConnection) -> None:
        with connection.cursor().copy("COPY t FROM STDIN") as copy:
            copy.write_row((1, 1))

    def many(connection: GatedConnection) -> None:
        connection.cursor().executemany("INSERT INTO t VALUES (%s, 1)", [(1,), (2,)])

    check(arena, transaction(INSERT, "SELECT 1", "SELECT 1"), copies, many, steps=4)


def test_catching_everything_does_not_help(arena: MakeArena) -> None:
    """`except BaseException` around a retry loop swallows whatever is thrown; the session is left where it stands."""

    def catches_everything(connection: GatedConnection) -> None:
        while True:
            try:
                with connection.transaction():
                    connection.execute(INSERT)
                    connection.execute("SELECT 1")
                    raise ValueError("again")
            except BaseException:
                continue

    check(arena, catches_everything, catches_everything)


def test_what_ends_a_trial_is_no_exception_that_code_expects() -> None:
    assert not issubclass(TrialAborted, Exception)


def test_a_trial_of_too_many_steps_is_given_up(arena: MakeArena) -> None:
    made = arena(UNIQUE)
    with pytest.raises(Uncontrolled, match="did not finish within 400 steps"):
        alone(made, never_ends)
    assert alone(made, script("SELECT * FROM t")).told == ([],)


def test_an_exception_of_the_code_under_test_ends_the_trial(arena: MakeArena) -> None:
    """Who wants it as an answer catches it; a session's greenlet must not die of it unnoticed."""

    def crashes(connection: GatedConnection) -> None:
        connection.execute(INSERT)
        raise ZeroDivisionError

    made = arena(UNIQUE)
    with pytest.raises(ZeroDivisionError):
        alone(made, crashes)
    assert alone(made, script("SELECT * FROM t")).told == ([],)
