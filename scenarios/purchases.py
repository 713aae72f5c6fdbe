"""One active purchase per student and course, though the queue delivers every event at least once.

The unique index is partial, and many databases never got it. What surprises: ON CONFLICT does take a WHERE, and with
this index it must have it; the fix that took the WHERE away fails on every call and lives from its fallback; and the
fallback sells one course twice where the index is missing, and reports 23505 where it is there.
"""

import time

from hypothesis import strategies as st
from psycopg.errors import InvalidColumnReference, SerializationFailure, UniqueViolation

from harness import REPEATABLE_READ, SERIALIZABLE, Connection, Identity, Key, Own, Pool, Scenario, unsafe

ROW = "INSERT INTO student_course_purchases VALUES (DEFAULT, %(student)s, %(course)s"

purchases = Scenario(
    "purchases",
    tables="""
        CREATE TABLE student_course_purchases (
            id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            student_id  int NOT NULL,
            course_id   int NOT NULL,
            is_active   boolean NOT NULL DEFAULT true,
            amount      int NOT NULL,
            created_at  timestamptz NOT NULL DEFAULT now(),
            updated_at  timestamptz NOT NULL DEFAULT now()
        )""",
    layouts={
        "partial": """
            CREATE UNIQUE INDEX unique_active_purchase ON student_course_purchases (student_id, course_id)
            WHERE is_active = true""",
        "full": "CREATE UNIQUE INDEX unique_purchase ON student_course_purchases (student_id, course_id)",
    },
    states={  # each statement is run once for each (student, course) of the contest
        "new": "",
        "owned": f"{ROW}, true, 0, '2024-01-01', '2024-01-01')",
        "refunded": f"{ROW}, false, 0, '2024-01-01', '2024-01-01')",
        # What the fallback leaves behind. Only without an index: to create one now fails with 23505.
        "duplicated": (
            f"{ROW}, true, 0, '2024-01-01', '2024-01-01')",
            f"{ROW}, true, 0, '2024-01-02', '2024-01-02')",
        ),
    },
    identity=Identity("student_course_purchases", by=("student_id", "course_id"), live="is_active"),
)


def owned(connection: Connection, student: int, course: int) -> bool:
    query = "SELECT 1 FROM student_course_purchases WHERE student_id = %s AND course_id = %s AND is_active = true"
    return connection.execute(query, (student, course)).fetchone() is not None


def insert(connection: Connection, *row: object, on_conflict: str = "") -> bool:
    query = f"INSERT INTO student_course_purchases (student_id, course_id, amount) VALUES (%s, %s, %s) {on_conflict}"
    return connection.execute(query, row).rowcount == 1


@purchases.operation(student=Key(int), course=Key(int), amount=Own(st.integers(1, 10_000)))
def purchase(connection: Connection, student: int, course: int, amount: int) -> bool:
    """Whether this call sold the course: events and access follow from it."""
    return not owned(connection, student, course) and insert(connection, student, course, amount)


@purchases.operation(student=Key(int), course=Key(int))
def refund(connection: Connection, student: int, course: int) -> bool:
    """Whether there was something to refund. No strategy replaces it: all refund like this."""
    query = """UPDATE student_course_purchases SET is_active = false, updated_at = now()
               WHERE student_id = %s AND course_id = %s AND is_active = true"""
    return connection.execute(query, (student, course)).rowcount > 0


# A full index remembers refunds for ever: whoever was refunded cannot buy again, with or without concurrency.
# Statements that skip the conflict then answer "not sold" (wrong-alone); the others meet 23505.
NO_REPURCHASE = unsafe("wrong-alone", layout="full", state=("owned", "refunded"))
NO_REPURCHASE_23505 = unsafe("23505", layout="full", state=("owned", "refunded"))


# Before: the code was right and lacked its index.


@purchase.strategy(expect=[unsafe("42P10", layout="none"), NO_REPURCHASE])
def on_conflict_with_predicate(connection: Connection, student: int, course: int, amount: int) -> bool:
    """Refutes "PostgreSQL doesn't support WHERE clauses in ON CONFLICT": with the partial index this is the answer."""
    skip = "ON CONFLICT (student_id, course_id) WHERE is_active = true DO NOTHING"
    return insert(connection, student, course, amount, on_conflict=skip)


@purchase.strategy(expect=[unsafe("25P02", layout="none"), NO_REPURCHASE])
def on_conflict_then_look_in_one_transaction(connection: Connection, student: int, course: int, amount: int) -> bool:
    """The same in a transaction that goes on after the error: 42P10 is caught, every later statement is 25P02."""
    with connection.transaction():
        try:
            return on_conflict_with_predicate(connection, student, course, amount)
        except InvalidColumnReference:
            return not owned(connection, student, course) and insert(connection, student, course, amount)


@purchase.strategy(expect=[unsafe("42P10", layout=("none", "partial")), NO_REPURCHASE])
def on_conflict_with_predicate_as_parameter(connection: Connection, student: int, course: int, amount: int) -> bool:
    """Passes on a young connection; 42P10 once the plan is generic, when the server no longer knows the value."""
    skip = "ON CONFLICT (student_id, course_id) WHERE is_active = %s DO NOTHING"
    return insert(connection, student, course, amount, True, on_conflict=skip)


# The shipped fix, and what it rests on.

purchases.sql_strategy(
    "without_the_where",
    doc='Refutes "PostgreSQL automatically matches partial unique indexes": 42P10 on every call, index or not.',
    expect=[unsafe("42P10", layout=("none", "partial")), NO_REPURCHASE],
    purchase="""
        INSERT INTO student_course_purchases (student_id, course_id, amount) VALUES ($1, $2, $3)
        ON CONFLICT (student_id, course_id) DO NOTHING""",
)


@purchases.strategy(
    expect=[
        unsafe("duplicate", layout="none", state=("new", "refunded")),
        unsafe("23505", layout="partial", state=("new", "refunded")),
        unsafe("23505", layout="full"),
    ]
)
class ShippedFix:
    """Refutes "only one active purchase", "idempotent" and "should succeed in both cases".

    Without the index two deliveries both look, both insert, both report a sale. With it the statement without the WHERE
    is 42P10 on every call, the fallback runs all the same, and the index turns the second sale into a 23505.
    """

    REMEMBERED_S = 300.0
    index_exists: bool | None = None  # of this worker process

    def __init__(self) -> None:
        self._looked_at = time.monotonic()

    def purchase(self, pool: Pool, student: int, course: int, amount: int) -> bool:
        with pool.connection() as first:
            if self._has_index(first):
                try:
                    skip = "ON CONFLICT (student_id, course_id) DO NOTHING"
                    return insert(first, student, course, amount, on_conflict=skip)
                except InvalidColumnReference:
                    first.rollback()
        with pool.connection() as fresh:
            return not owned(fresh, student, course) and insert(fresh, student, course, amount)

    def _has_index(self, connection: Connection) -> bool:
        if self.index_exists is None or time.monotonic() - self._looked_at >= self.REMEMBERED_S:
            query = "SELECT 1 FROM pg_indexes WHERE indexname = 'unique_active_purchase'"
            self.index_exists = connection.execute(query).fetchone() is not None
            self._looked_at = time.monotonic()
        return self.index_exists


@purchases.strategy(
    expect=[
        unsafe("duplicate", layout="none", state=("new", "refunded")),
        unsafe("23505", layout="partial", state=("new", "refunded")),
        NO_REPURCHASE,
    ]
)
class ShippedFixRemembersAnIndex(ShippedFix):
    """The answer is stale: the index was there when this worker looked, and may have been dropped since.

    Nothing gets worse without it, since even with it every call ends in the fallback.
    """

    index_exists = True


@purchases.strategy(
    expect=[
        unsafe("duplicate", layout="none", state=("new", "refunded")),
        unsafe("23505", layout="partial", state=("new", "refunded")),
        unsafe("23505", layout="full"),
    ]
)
class ShippedFixRemembersNoIndex(ShippedFix):
    """The answer is stale: the index has been created since. For five minutes the fallback meets it: 23505."""

    index_exists = False


# Alternatives, right at READ COMMITTED: the first two with the partial index, the others on bare tables too.


@purchase.strategy(expect=[unsafe("wrong-alone", layout="none"), NO_REPURCHASE])
def insert_in_savepoint(connection: Connection, student: int, course: int, amount: int) -> bool:
    """Inserts and lets the index object; the savepoint keeps the transaction alive for what comes after."""
    with connection.transaction():
        try:
            with connection.transaction():
                return insert(connection, student, course, amount)
        except UniqueViolation:
            return False


@purchase.strategy(
    expect=[
        unsafe("duplicate", layout="none", state=("new", "refunded"), isolation=REPEATABLE_READ),
        unsafe("23505", layout="partial", state=("new", "refunded"), isolation=REPEATABLE_READ),
        unsafe("23505", layout="full", state="new", isolation=REPEATABLE_READ),
        NO_REPURCHASE_23505,
    ]
)
def advisory_lock(connection: Connection, student: int, course: int, amount: int) -> bool:
    """One purchase of a course by a student at a time, by agreement.

    Not at REPEATABLE READ: the statement that waits for the lock has taken the snapshot already, and what the holder
    inserted stays invisible behind it.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s::int, %s::int)", (student, course))
        return not owned(connection, student, course) and insert(connection, student, course, amount)


@purchase.strategy(expect=[NO_REPURCHASE_23505])
def lock_table(connection: Connection, student: int, course: int, amount: int) -> bool:
    """One purchase at a time. LOCK TABLE takes no snapshot, so it holds at every isolation level."""
    with connection.transaction():
        connection.execute("LOCK TABLE student_course_purchases IN SHARE ROW EXCLUSIVE MODE")
        return not owned(connection, student, course) and insert(connection, student, course, amount)


@purchase.strategy(isolation=SERIALIZABLE, expect=[NO_REPURCHASE_23505])
def serializable_with_retry(connection: Connection, student: int, course: int, amount: int) -> bool:
    """Looks and inserts, and is told by the server when that was not as if alone."""
    while True:
        try:
            with connection.transaction():
                return not owned(connection, student, course) and insert(connection, student, course, amount)
        except SerializationFailure:
            continue
