"""At most one item of a name. A scenario small enough to be explored in every test of the command line."""

from enum import Enum

from hypothesis import strategies as st

from harness import READ_COMMITTED, Connection, Identity, Key, Own, Scenario, unsafe


class Colour(Enum):
    RED = "red"


items = Scenario(
    "items",
    tables="CREATE TABLE item (name text NOT NULL, colour text NOT NULL, amount int NOT NULL)",
    layouts={"unique": "CREATE UNIQUE INDEX item_name ON item (name)"},
    identity=Identity("item", by="name"),
)


@items.operation(name=Key(str), colour=Colour, amount=Own(st.integers(1, 100)))
def put(connection: Connection, name: str, colour: Colour, amount: int) -> bool:
    """Whether this call made the item."""
    if connection.execute("SELECT 1 FROM item WHERE name = %s", [name]).fetchone():
        return False
    connection.execute("INSERT INTO item VALUES (%s, %s, %s)", [name, colour.value, amount])
    return True


@put.strategy(isolation=READ_COMMITTED, expect=[unsafe("duplicate", layout="none"), unsafe("23505", layout="unique")])
def look_then_insert(connection: Connection, name: str, colour: Colour, amount: int) -> bool:
    """Two may look before either inserts."""
    return put(connection, name, colour, amount)


@put.strategy(isolation=READ_COMMITTED)
def hopeful(connection: Connection, name: str, colour: Colour, amount: int) -> bool:
    """The same, expected to be safe."""
    return put(connection, name, colour, amount)


@put.strategy(isolation=READ_COMMITTED, expect=[unsafe("42P10", layout="none"), unsafe("23505", layout="unique")])
def on_conflict(connection: Connection, name: str, colour: Colour, amount: int) -> bool:
    """Right where its index is; the second rule is stale."""
    insert = "INSERT INTO item VALUES (%s, %s, %s) ON CONFLICT (name) DO NOTHING"
    return connection.execute(insert, [name, colour.value, amount]).rowcount == 1
