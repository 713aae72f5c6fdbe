"""Two that go opposite ways: a deadlock."""

from hypothesis import strategies as st

from harness import READ_COMMITTED, Connection, Identity, Key, Own, Scenario, unsafe

moves = Scenario(
    "moves",
    tables="CREATE TABLE account (owner text PRIMARY KEY, amount int NOT NULL)",
    states={"there": "INSERT INTO account VALUES (%(owner)s, 100)"},
    identity=Identity("account", by="owner"),
)


@moves.operation(source=Key(str, "owner"), target=Key(str, "owner"), amount=Own(st.integers(1, 100)))
def move(connection: Connection, source: str, target: str, amount: int) -> None:
    """Both rows are changed, or neither."""
    with connection.transaction():
        for owner, change in ((source, -amount), (target, amount)):
            connection.execute("UPDATE account SET amount = amount + %s WHERE owner = %s", (change, owner))


@move.strategy(isolation=READ_COMMITTED, expect=unsafe("deadlock"))
def in_order_of_arguments(connection: Connection, source: str, target: str, amount: int) -> None:
    """Two that go opposite ways wait for each other."""
    move(connection, source, target, amount)
