"""One strategy for every way in which a cell comes to its verdict."""

from hypothesis import strategies as st

from harness import READ_COMMITTED, SERIALIZABLE, Connection, Identity, Key, Own, Scenario, unsafe

ways = Scenario(
    "ways",
    tables="CREATE TABLE item (name text NOT NULL, live boolean NOT NULL DEFAULT true, amount int NOT NULL)",
    layouts={"partial": "CREATE UNIQUE INDEX ON item (name) WHERE live"},
    identity=Identity("item", by="name", live="live"),
)

INSERT = "INSERT INTO item (name, amount) VALUES (%s, %s)"


@ways.operation(name=Key(str), amount=Own(st.integers(1, 100)))
def put(connection: Connection, name: str, amount: int) -> bool:
    """Whether this call made the item."""
    taken = connection.execute("SELECT 1 FROM item WHERE name = %s AND live", [name]).fetchone()
    return not taken and connection.execute(INSERT, [name, amount]).rowcount == 1


@put.strategy(isolation=READ_COMMITTED, expect=unsafe("duplicate", layout="none"))
def on_conflict(connection: Connection, name: str, amount: int) -> bool:
    """Interleaved, or safe: alone, it does what it should as long as each item is put once."""
    if connection.execute("SELECT 1 FROM pg_indexes WHERE tablename = 'item'").fetchone():
        return connection.execute(f"{INSERT} ON CONFLICT (name) WHERE live DO NOTHING", [name, amount]).rowcount == 1
    return put(connection, name, amount)


@put.strategy(isolation=READ_COMMITTED, expect=unsafe("wrong-alone"))
def never(connection: Connection, name: str, amount: int) -> bool:
    """Alone."""
    return False


@put.strategy(isolation=READ_COMMITTED, expect=unsafe("42P10"))
def on_conflict_with_a_parameter(connection: Connection, name: str, amount: int) -> bool:
    """Alone; on the index, only once its plan is generic."""
    guess = f"{INSERT} ON CONFLICT (name) WHERE live = %s DO NOTHING"
    return connection.execute(guess, [name, amount, True]).rowcount == 1


@put.strategy(isolation=SERIALIZABLE)
def in_a_transaction(connection: Connection, name: str, amount: int) -> bool:
    """Safe, if it is called again."""
    with connection.transaction():
        return put(connection, name, amount)


# Interleaved inside the statement.
ways.sql_strategy(
    "one_statement",
    isolation=READ_COMMITTED,
    expect=[unsafe("duplicate", layout="none"), unsafe("23505", layout="partial")],
    put="INSERT INTO item (name, amount) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM item WHERE name = $1 AND live)",
)
