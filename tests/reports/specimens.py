"""Strategies that go wrong in ways whose story follows by hand from the server's rules, and twins that do not."""

from hypothesis import strategies as st

from harness import REPEATABLE_READ, Connection, Identity, Key, Own, Scenario

stock = Scenario(
    "stock",
    tables="""
        CREATE TABLE stock (item text NOT NULL, count int NOT NULL);
        CREATE FUNCTION put_anew(the text, many int) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            DELETE FROM stock WHERE item = the;
            INSERT INTO stock VALUES (the, many);
        END $$""",
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


anew = Scenario(
    "anew",
    tables=stock.tables,
    states={"there": "INSERT INTO stock VALUES (%(item)s, 0)"},
    identity=Identity("stock", by="item"),
)


@anew.operation(item=Key(str), many=Own(st.integers(1, 9)))
def put(connection: Connection, item: str, many: int) -> None:
    connection.execute("DELETE FROM stock WHERE item = %s", (item,))
    connection.execute(INSERT, (item, many))


@put.strategy
def in_a_function(connection: Connection, item: str, many: int) -> None:
    connection.execute("SELECT put_anew(%s, %s)", (item, many))


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


watch = Scenario(
    "watch",
    tables="CREATE TABLE on_watch (person text PRIMARY KEY)",
    states={"both": "INSERT INTO on_watch VALUES (%(person)s)"},
)


@watch.operation(person=Key(str), other=Key(str, "person"))
def go(connection: Connection, person: str, other: str) -> bool:
    with connection.transaction():
        if connection.execute("SELECT person FROM on_watch WHERE person = %s", (other,)).fetchone() is None:
            return False
        return connection.execute("DELETE FROM on_watch WHERE person = %s", (person,)).rowcount == 1


@go.strategy(isolation=REPEATABLE_READ)
def look_and_go(connection: Connection, person: str, other: str) -> bool:
    return go(connection, person, other)
