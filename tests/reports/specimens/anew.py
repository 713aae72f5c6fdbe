"""One function that deletes and inserts: a single statement outside, and two snapshots inside."""

from hypothesis import strategies as st

from harness import Connection, Identity, Key, Own, Scenario

anew = Scenario(
    "anew",
    tables="""
        CREATE TABLE stock (item text NOT NULL, count int NOT NULL);
        CREATE FUNCTION put_anew(the text, many int) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            DELETE FROM stock WHERE item = the;
            INSERT INTO stock VALUES (the, many);
        END $$""",
    states={"there": "INSERT INTO stock VALUES (%(item)s, 0)"},
    identity=Identity("stock", by="item"),
)


@anew.operation(item=Key(str), many=Own(st.integers(1, 9)))
def put(connection: Connection, item: str, many: int) -> None:
    connection.execute("DELETE FROM stock WHERE item = %s", (item,))
    connection.execute("INSERT INTO stock VALUES (%s, %s)", (item, many))


@put.strategy
def in_a_function(connection: Connection, item: str, many: int) -> None:
    connection.execute("SELECT put_anew(%s, %s)", (item, many))
