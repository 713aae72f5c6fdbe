"""Somebody is always on duty: whoever leaves first sees to it that a substitute is.

Write skew through an upsert that did nothing. "Put the substitute on duty, if not there already" is INSERT ... ON
CONFLICT DO NOTHING, and the row that stood in its way is what the rest of the transaction rests on. Two people who
name each other and leave at once must not both go: at SERIALIZABLE the server promises to stop one. What surprises: it
does not notice. Before the November 2026 minors a DO NOTHING that did nothing left no predicate lock on the row that it
saw, so 15.18, 16.14 and 18.4 let both commit; 15.20 refuses one with 40001. The same code, the same major version.
"""

from harness import SERIALIZABLE, Connection, Identity, Key, Scenario, unsafe

duty_shifts = Scenario(
    "duty_shifts",
    tables="CREATE TABLE on_duty (person text PRIMARY KEY)",
    states={"both": "INSERT INTO on_duty VALUES (%(person)s)"},
    identity=Identity("on_duty", by="person"),
)

# Before the minors of November 2026, each of its own major version. 15.20 was seen repaired, the others are by the date
# of their releases; 13 had its last release before.
UNREPAIRED = ("pg13", "<pg14.25", "<pg15.20", "<pg16.16", "<pg17.12", "<pg18.6")


@duty_shifts.operation(person=Key(str), substitute=Key(str, "person"))
def leave(connection: Connection, person: str, substitute: str) -> None:
    """Afterwards the substitute is on duty, and the person is not."""
    with connection.transaction():
        connection.execute("INSERT INTO on_duty VALUES (%s) ON CONFLICT DO NOTHING", (substitute,))
        connection.execute("DELETE FROM on_duty WHERE person = %s", (person,))


@duty_shifts.operation(person=Key(str), substitute=Key(str, "person"))
def step_down(connection: Connection, person: str, substitute: str) -> bool:
    """Whether the person could go: only if the substitute is on duty already. No strategy replaces it."""
    with connection.transaction():
        if connection.execute("SELECT FROM on_duty WHERE person = %s", (substitute,)).fetchone() is None:
            return False
        return connection.execute("DELETE FROM on_duty WHERE person = %s", (person,)).rowcount == 1


@leave.strategy(isolation=SERIALIZABLE, expect=[unsafe("non-serializable", server=UNREPAIRED)])
def insert_or_nothing(connection: Connection, person: str, substitute: str) -> None:
    """Nobody is on duty any more, and both were told that all went well."""
    leave(connection, person, substitute)


@leave.strategy(
    isolation=SERIALIZABLE,
    retryable=("40001", "40P01"),
    expect=[unsafe("non-serializable", server=UNREPAIRED)],
)
def insert_or_lock(connection: Connection, person: str, substitute: str) -> None:
    """The substitute's row is locked, though nothing is to be updated: two who leave meet in a deadlock instead.

    Against somebody who steps down the lock is no help: it ends with the transaction, and is no predicate lock.
    """
    with connection.transaction():
        query = (
            "INSERT INTO on_duty VALUES (%s) ON CONFLICT (person) DO UPDATE SET person = EXCLUDED.person WHERE false"
        )
        connection.execute(query, (substitute,))
        connection.execute("DELETE FROM on_duty WHERE person = %s", (person,))


@leave.strategy(isolation=SERIALIZABLE)
def look_then_insert(connection: Connection, person: str, substitute: str) -> None:
    """A plain SELECT always left its predicate lock: one of the two is told to try again, on every minor."""
    with connection.transaction():
        if connection.execute("SELECT FROM on_duty WHERE person = %s", (substitute,)).fetchone() is None:
            connection.execute("INSERT INTO on_duty VALUES (%s)", (substitute,))
        connection.execute("DELETE FROM on_duty WHERE person = %s", (person,))
