"""Items moved between two shelves, locked as they come or by name."""

from hypothesis import strategies as st

from harness import Connection, Key, Own, Scenario

shelves = Scenario(
    "shelves",
    tables="CREATE TABLE shelf (name text PRIMARY KEY, items int NOT NULL)",
    states={"two": "INSERT INTO shelf VALUES (%(here)s, 5)"},
)


CHANGE = "UPDATE shelf SET items = items + %s WHERE name = %s"


@shelves.operation(here=Key(str), there=Key(str, "here"), many=Own(st.integers(1, 9)))
def move(connection: Connection, here: str, there: str, many: int) -> None:
    with connection.transaction():
        connection.execute(CHANGE, (-many, here))
        connection.execute(CHANGE, (many, there))


@move.strategy
def as_they_come(connection: Connection, here: str, there: str, many: int) -> None:
    move(connection, here, there, many)


@move.strategy
def by_name(connection: Connection, here: str, there: str, many: int) -> None:
    """The repaired twin."""
    with connection.transaction():
        for name, change in sorted([(here, -many), (there, many)]):
            connection.execute(CHANGE, (change, name))
