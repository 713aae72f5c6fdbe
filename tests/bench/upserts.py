"""The statement by which the hammer is measured: one upsert, a row a key."""

from hypothesis import strategies as st

from harness import Connection, Identity, Key, Own, Scenario

upserts = Scenario(
    "upserts",
    tables="CREATE TABLE bench (k int NOT NULL, n int NOT NULL)",
    layouts={"unique": "CREATE UNIQUE INDEX one_row_a_key ON bench (k)"},
    identity=Identity("bench", by="k"),
)
UPSERT = "INSERT INTO bench (k, n) VALUES (%s, %s) ON CONFLICT (k) DO UPDATE SET n = bench.n + excluded.n"


@upserts.operation(k=Key(int), n=Own(st.integers(1, 100)))
def add(connection: Connection, k: int, n: int) -> None:
    connection.execute(UPSERT, (k, n))


@add.strategy
def do_update(connection: Connection, k: int, n: int) -> None:
    connection.execute(UPSERT, (k, n))
