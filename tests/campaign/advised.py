"""A race that turns on everything that can be varied: the amount, the layout, the start state, the isolation level."""

from hypothesis import strategies as st

from harness import READ_COMMITTED, SERIALIZABLE, Connection, Identity, Key, Own, Scenario, unsafe

ROW = "INSERT INTO item VALUES (%(name)s, 0)"

advised = Scenario(
    "advised",
    tables="CREATE TABLE item (name text NOT NULL, amount int NOT NULL)",
    layouts={"unique": "CREATE UNIQUE INDEX item_name ON item (name)"},
    states={"new": "", "there": ROW, "twice": f"{ROW}; {ROW}"},  # the last not with the index
    identity=Identity("item", by="name"),
)

INSERT = "INSERT INTO item VALUES (%s, %s)"


@advised.operation(name=Key(str), amount=Own(st.integers(1, 100)), note=st.sampled_from(["", "a", "bb"]))
def put(connection: Connection, name: str, amount: int, note: str) -> bool:
    """Whether this call made the item. The note is there to be of no matter."""
    taken = connection.execute("SELECT 1 FROM item WHERE name = %s", [name]).fetchone()
    return not taken and connection.execute(INSERT, [name, amount]).rowcount == 1


@put.strategy(expect=[unsafe("duplicate", layout="none"), unsafe("23505", layout="unique")])
def look_then_insert(connection: Connection, name: str, amount: int, note: str) -> bool:
    return put(connection, name, amount, note)


@put.strategy(expect=[unsafe("duplicate", layout="none"), unsafe("23505", layout="unique")])
def careful_with_much(connection: Connection, name: str, amount: int, note: str) -> bool:
    """A race for small amounts only."""
    return put(connection, name, amount, note) if amount < 5 else lock_table(connection, name, amount, note)


@put.strategy(expect=[unsafe("duplicate", layout="none"), unsafe("23505", layout="unique")])
def in_a_transaction(connection: Connection, name: str, amount: int, note: str) -> bool:
    """Not at SERIALIZABLE."""
    with connection.transaction():
        return put(connection, name, amount, note)


@put.strategy(expect=[unsafe("42P10", layout="none")])
def on_conflict(connection: Connection, name: str, amount: int, note: str) -> bool:
    return connection.execute(f"{INSERT} ON CONFLICT (name) DO NOTHING", [name, amount]).rowcount == 1


@put.strategy(isolation=READ_COMMITTED)
def lock_table(connection: Connection, name: str, amount: int, note: str) -> bool:
    with connection.transaction():
        connection.execute("LOCK TABLE item IN SHARE ROW EXCLUSIVE MODE")
        return put(connection, name, amount, note)


@put.strategy(isolation=SERIALIZABLE, expect=[unsafe("duplicate", layout="none"), unsafe("23505", layout="unique")])
def other_level(connection: Connection, name: str, amount: int, note: str) -> bool:
    """Each statement for itself: SERIALIZABLE does not help."""
    return put(connection, name, amount, note)
