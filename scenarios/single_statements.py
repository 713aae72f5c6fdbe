"""One statement is not one instant: it looks with the snapshot that it began with, and writes later.

MERGE, a writable CTE, INSERT ... WHERE NOT EXISTS and an UPDATE that reads what it writes look atomic, pass every test
that runs statements one after the other, and fail in production a few times in a thousand. What surprises: ON CONFLICT,
which does neither, still fails where a second unique index knows of the same collision.
"""

from hypothesis import strategies as st
from psycopg.errors import UniqueViolation

from harness import READ_COMMITTED, Connection, Identity, Key, Own, Scenario, unsafe

scores = Scenario(
    "single_statements",
    tables="CREATE TABLE score (player text NOT NULL, slug text NOT NULL, points int NOT NULL)",
    layouts={
        "unique": "CREATE UNIQUE INDEX ON score (player)",
        "two": "CREATE UNIQUE INDEX ON score (slug); CREATE UNIQUE INDEX ON score (player)",
    },
    states={
        "new": "",
        "there": "INSERT INTO score VALUES (%(player)s, lower(%(player)s), 0)",
    },
    identity=Identity("score", by="player"),
)

UNIQUE = ("unique", "two")
BEFORE_15 = ("pg13", "pg14")  # there is no MERGE
ROW = "%(player)s, lower(%(player)s), %(points)s::int"
MERGE = """
    MERGE INTO score USING (VALUES (%(player)s, %(points)s::int)) AS won (player, points) ON score.player = won.player
    WHEN MATCHED THEN UPDATE SET points = score.points + won.points
    WHEN NOT MATCHED THEN INSERT VALUES (won.player, lower(won.player), won.points)"""


def run(connection: Connection, statement: str, player: str, points: int) -> int:
    return connection.execute(statement, {"player": player, "points": points}).rowcount


@scores.operation(player=Key(str), points=Own(st.integers(1, 100)))
def win(connection: Connection, player: str, points: int) -> None:
    """So many points more, for a player who may be new."""
    if not run(connection, "UPDATE score SET points = points + %(points)s WHERE player = %(player)s", player, points):
        run(connection, f"INSERT INTO score VALUES ({ROW})", player, points)


# Look, then write.


@win.strategy(
    isolation=READ_COMMITTED,
    expect=[
        unsafe("duplicate", layout="none", state="new"),
        unsafe("23505", layout=UNIQUE, state="new"),
        unsafe("42601", server=BEFORE_15),
    ],
)
def merge(connection: Connection, player: str, points: int) -> None:
    """Whether it matches is decided by the snapshot: MERGE has no ON CONFLICT."""
    run(connection, MERGE, player, points)


@win.strategy(
    isolation=READ_COMMITTED,
    expect=[unsafe("duplicate", layout="none", state="new"), unsafe("23505", layout=UNIQUE, state="new")],
)
def writable_cte(connection: Connection, player: str, points: int) -> None:
    """Both parts see one snapshot."""
    upsert = f"""
        WITH updated AS (UPDATE score SET points = points + %(points)s WHERE player = %(player)s RETURNING player)
        INSERT INTO score SELECT {ROW} WHERE NOT EXISTS (SELECT FROM updated)"""
    run(connection, upsert, player, points)


@win.strategy(
    isolation=READ_COMMITTED,
    expect=[unsafe("duplicate", layout="none", state="new"), unsafe("23505", layout=UNIQUE, state="new")],
)
def where_not_exists(connection: Connection, player: str, points: int) -> None:
    """A check and an insert in one statement are still a check and an insert."""
    there = "SELECT FROM score WHERE player = %(player)s"
    if not run(connection, f"INSERT INTO score SELECT {ROW} WHERE NOT EXISTS ({there})", player, points):
        run(connection, "UPDATE score SET points = points + %(points)s WHERE player = %(player)s", player, points)


@win.strategy(
    isolation=READ_COMMITTED,
    expect=[unsafe("21000", layout="none"), unsafe("lost-update", layout=UNIQUE)],
)
def read_while_writing(connection: Connection, player: str, points: int) -> None:
    """The row is read again once its lock was waited for; the subselect beside it is not. (Without an index each call
    inserts, and then the subselect has several rows.)"""
    nothing = "INSERT INTO score VALUES (%(player)s, lower(%(player)s), 0) ON CONFLICT DO NOTHING"
    before = "SELECT points FROM score WHERE player = %(player)s"
    run(connection, nothing, player, points)
    run(connection, f"UPDATE score SET points = ({before}) + %(points)s WHERE player = %(player)s", player, points)


# Let an index decide.


@win.strategy(
    isolation=READ_COMMITTED, expect=[unsafe("42P10", layout="none"), unsafe("23505", layout="two", state="new")]
)
def on_conflict(connection: Connection, player: str, points: int) -> None:
    """Safe, unless another index knows of the collision: that one is no arbiter, and its 23505 is final."""
    upsert = f"INSERT INTO score VALUES ({ROW}) ON CONFLICT (player) DO UPDATE SET points = score.points + %(points)s"
    run(connection, upsert, player, points)


@win.strategy(isolation=READ_COMMITTED, expect=[unsafe("wrong-alone", layout="none")])
def do_nothing_then_update(connection: Connection, player: str, points: int) -> None:
    """Without a target every unique index is an arbiter; and the UPDATE reads the row that it has locked."""
    if not run(connection, f"INSERT INTO score VALUES ({ROW}) ON CONFLICT DO NOTHING", player, points):
        run(connection, "UPDATE score SET points = points + %(points)s WHERE player = %(player)s", player, points)


@win.strategy(
    isolation=READ_COMMITTED,
    expect=[unsafe("duplicate", layout="none", state="new"), unsafe("42601", server=BEFORE_15)],
)
def merge_again(connection: Connection, player: str, points: int) -> None:
    """The MERGE, called again where an index refused it: now there is a row to match."""
    while True:
        try:
            return merge(connection, player, points)
        except UniqueViolation:
            continue


@win.strategy(isolation=READ_COMMITTED)
def lock_table(connection: Connection, player: str, points: int) -> None:
    """Any of them is safe behind a lock that is taken first, on any layout."""
    with connection.transaction():
        connection.execute("LOCK TABLE score IN SHARE ROW EXCLUSIVE MODE")
        writable_cte(connection, player, points)
