"""Races that are hard to hit: hidden among other statements, of three sessions, of two preemptions."""

from typing import Any

from harness.scenario.language import Scenario
from harness.scenario.parameters import Connection, Identity, Key

needles = Scenario(
    "needles",
    tables="CREATE TABLE counter (name text PRIMARY KEY, n int NOT NULL); CREATE TABLE other (name text, n int)",
    states={
        "zero": (
            "INSERT INTO counter VALUES ('a', 0), ('b', 0), ('c', 0) ON CONFLICT DO NOTHING",
            "INSERT INTO other VALUES (%(key)s, 0)",
        )
    },
    identity=Identity("counter", by="name"),
)


def read(connection: Connection[Any], name: str = "a") -> int:
    row = connection.execute("SELECT n FROM counter WHERE name = %s", [name]).fetchone()
    assert row is not None
    return int(row[0])


def write(connection: Connection[Any], n: int, name: str = "a") -> None:
    connection.execute("UPDATE counter SET n = %s WHERE name = %s", [n, name])


def others(connection: Connection[Any], count: int) -> None:
    for number in range(count):  # each another: equal ones in a row are taken for a loop that waits for somebody
        connection.execute("SELECT n FROM other WHERE n > %s", [number])


@needles.operation(key=Key(str))
def early(connection: Connection[Any], key: str) -> None:
    """Read, modify, write; then eight other statements."""
    write(connection, read(connection) + 1)
    others(connection, 8)


@needles.operation(key=Key(str))
def middle(connection: Connection[Any], key: str) -> None:
    """The same with four of them before and four after."""
    others(connection, 4)
    write(connection, read(connection) + 1)
    others(connection, 4)


@needles.operation(key=Key(str))
def late(connection: Connection[Any], key: str) -> None:
    """The same with all of them before."""
    others(connection, 8)
    write(connection, read(connection) + 1)


def next_to(connection: Connection[Any], this: str, that: str) -> None:
    """That becomes one more than this."""
    write(connection, read(connection, this) + 1, that)


@needles.operation(key=Key(str))
def a_to_b(connection: Connection[Any], key: str) -> None:
    """With the next two a ring: any two of the three come to what a serial order comes to, all three need not."""
    next_to(connection, "a", "b")
    others(connection, 4)


@needles.operation(key=Key(str))
def b_to_c(connection: Connection[Any], key: str) -> None:
    others(connection, 2)
    next_to(connection, "b", "c")
    others(connection, 2)


@needles.operation(key=Key(str))
def c_to_a(connection: Connection[Any], key: str) -> None:
    others(connection, 4)
    next_to(connection, "c", "a")


@needles.operation(key=Key(str))
def looks_twice(connection: Connection[Any], key: str) -> bool:
    """Whether what it saw changed: another has to stop between its writes, and this one between its looks."""
    others(connection, 1)
    before = read(connection)
    after = read(connection)
    others(connection, 5)
    return before != after


@needles.operation(key=Key(str))
def up_and_down(connection: Connection[Any], key: str) -> None:
    """Leaves the counter as it was."""
    n = read(connection)
    others(connection, 5)
    write(connection, n + 1)
    write(connection, n)
    connection.execute("UPDATE other SET n = n + 1")
