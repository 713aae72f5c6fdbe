"""More of an item on stock, in ways whose story follows by hand from the rules of snapshots and unique indexes."""

from hypothesis import strategies as st

from harness import Connection, Identity, Key, Own, Scenario

stock = Scenario(
    "stock",
    tables="CREATE TABLE stock (item text NOT NULL, count int NOT NULL)",
    layouts={"unique": "CREATE UNIQUE INDEX by_item ON stock (item)"},
    states={"new": "", "there": "INSERT INTO stock VALUES (%(item)s, 0)"},
    identity=Identity("stock", by="item"),
)
LOOK = "SELECT count FROM stock WHERE item = %s"
INSERT = "INSERT INTO stock VALUES (%s, %s)"
ADD = "UPDATE stock SET count = count + %s WHERE item = %s"


@stock.operation(item=Key(str), many=Own(st.integers(1, 9)))
def add(connection: Connection, item: str, many: int) -> None:
    if connection.execute(ADD, (many, item)).rowcount == 0:
        connection.execute(INSERT, (item, many))


@add.strategy
def look_then_insert(connection: Connection, item: str, many: int) -> None:
    if connection.execute(LOOK, (item,)).fetchone() is None:
        connection.execute(INSERT, (item, many))
    else:
        connection.execute(ADD, (many, item))


@add.strategy
def on_conflict(connection: Connection, item: str, many: int) -> None:
    """The repaired twin, with its index."""
    query = f"{INSERT} ON CONFLICT (item) DO UPDATE SET count = stock.count + EXCLUDED.count"
    connection.execute(query, (item, many))


@add.strategy
def lock_what_is_not_there(connection: Connection, item: str, many: int) -> None:
    with connection.transaction():
        if connection.execute(f"{LOOK} FOR UPDATE", (item,)).fetchone() is None:
            connection.execute(INSERT, (item, many))
        else:
            connection.execute(ADD, (many, item))


@add.strategy(retryable=())
def read_and_write_back(connection: Connection, item: str, many: int) -> None:
    with connection.transaction():
        found = connection.execute(LOOK, (item,)).fetchone()
        if found is None:
            connection.execute(INSERT, (item, many))
        else:
            connection.execute("UPDATE stock SET count = %s WHERE item = %s", (found[0] + many, item))
