"""Write skew: somebody may go while another is on watch, and both look at once."""

from harness import REPEATABLE_READ, Connection, Key, Scenario

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
