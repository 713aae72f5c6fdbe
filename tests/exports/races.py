"""Races for exports: values that the server made and are used again, gates, savepoints, pools, braces."""

from hypothesis import strategies as st
from psycopg.errors import UniqueViolation

from harness import READ_COMMITTED, REPEATABLE_READ, Connection, Identity, Key, Own, Pool, Scenario, unsafe

races = Scenario(
    "races",
    tables="""
        CREATE TABLE item (
            id      uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name    text NOT NULL,
            amount  int NOT NULL,
            note    jsonb NOT NULL DEFAULT '{"by": {}}'
        );
        CREATE FUNCTION add_to_item(p_name text, p_amount int) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            -- a closing brace: }
            UPDATE item SET amount = amount + p_amount WHERE name = p_name AND note <> '{}';
            IF NOT found THEN
                INSERT INTO item (name, amount, note) VALUES (p_name, p_amount, '{"by": {}}');
            END IF;
        END $$""",
    layouts={"unique": "CREATE UNIQUE INDEX item_name ON item (name)"},
    states={
        "new": "",
        "there": "INSERT INTO item (name, amount) VALUES (%(name)s, 0)",
    },
    identity=Identity("item", by="name"),
)
AMOUNT = Own(st.integers(1, 100))


def find(connection: Connection, name: str) -> tuple[object, int] | None:
    row: tuple[object, int] | None = connection.execute(
        "SELECT id, amount FROM item WHERE name = %s", [name]
    ).fetchone()
    return row


def insert(connection: Connection, name: str, amount: int) -> object:
    query = "INSERT INTO item (name, amount) VALUES (%(name)s, %(amount)s) RETURNING id"
    (made,) = connection.execute(query, {"amount": amount, "name": name}).fetchone() or (None,)
    return made


def increase(connection: Connection, made: object, amount: int) -> None:
    connection.execute("UPDATE item SET amount = amount + %s WHERE id = %s", (amount, made))


@races.operation(name=Key(str), amount=AMOUNT)
def add(connection: Connection, name: str, amount: int) -> None:
    """The amount is added, to an item that is made if there is none."""
    found = find(connection, name)
    if found is None:
        insert(connection, name, amount)
    else:
        increase(connection, found[0], amount)


@add.strategy(isolation=READ_COMMITTED, expect=[unsafe("duplicate", layout="none"), unsafe("23505", layout="unique")])
def look_first(connection: Connection, name: str, amount: int) -> None:
    """Finds an id, and goes on with it."""
    add(connection, name, amount)


@add.strategy(isolation=READ_COMMITTED, expect=[unsafe("duplicate", layout="none"), unsafe("23505", layout="unique")])
def make_then_fill(connection: Connection, name: str, amount: int) -> None:
    """Goes on with the id of a row of its own."""
    found = find(connection, name)
    increase(connection, found[0] if found else insert(connection, name, 0), amount)


@add.strategy(isolation=READ_COMMITTED, expect=unsafe("lost-update"))
def read_then_write(connection: Connection, name: str, amount: int) -> None:
    """What it read may be old when it writes."""
    found = find(connection, name)
    if found is None:
        insert(connection, name, amount)
    else:
        connection.execute("UPDATE item SET amount = %s WHERE id = %s", (found[1] + amount, found[0]))


@add.strategy(isolation=READ_COMMITTED, expect=[unsafe("duplicate", layout="none"), unsafe("23505", layout="unique")])
def in_a_function(connection: Connection, name: str, amount: int) -> None:
    """One statement, that races inside."""
    connection.execute("SELECT add_to_item(%s, %s)", (name, amount))


@add.strategy(isolation=REPEATABLE_READ, retryable=["40001"], expect=unsafe("lost-update"))
def swallow(connection: Connection, name: str, amount: int) -> None:
    """The savepoint saves the transaction, and the row that was in the way is invisible to it."""
    with connection.transaction():
        connection.execute("SELECT count(*) FROM item")
        try:
            with connection.transaction():
                insert(connection, name, amount)
        except UniqueViolation:
            connection.execute("UPDATE item SET amount = amount + %s WHERE name = %s", (amount, name))


@races.strategy(isolation=READ_COMMITTED, expect=unsafe("duplicate", layout="none"))
class TwoRequests:
    """Each on a connection of the pool, the second while the first is still held."""

    def add(self, pool: Pool, name: str, amount: int) -> None:
        with pool.connection() as first:
            found = find(first, name)
            with pool.connection() as second:
                if found is None:
                    insert(second, name, amount)
                else:
                    increase(second, found[0], amount)


@add.strategy(isolation=READ_COMMITTED, autocommit=False, expect=unsafe("duplicate", layout="none"))
def without_autocommit(connection: Connection, name: str, amount: int) -> None:
    """The driver says BEGIN."""
    add(connection, name, amount)
    connection.commit()


@add.strategy(isolation=READ_COMMITTED, expect=unsafe("42P10", layout="none"))
def upsert(connection: Connection, name: str, amount: int) -> None:
    """The safe twin."""
    query = """INSERT INTO item (name, amount) VALUES (%s, %s)
               ON CONFLICT (name) DO UPDATE SET amount = item.amount + excluded.amount"""
    connection.execute(query, (name, amount))
