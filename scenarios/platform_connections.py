"""One live connection per organisation, platform and account, where disconnecting only marks the row as deleted.

Deleted rows are invisible to the application and not to a full unique index, so that nobody could ever connect again.
What surprises about the fix: with the partial index a live and a deleted row of one key stand side by side, and the
deleted one, if it is found first, cannot be restored; restoring and updating are two transactions, and who looks
between them gets the token that was thrown away; and two people who connect at once still meet 23505.
"""

from uuid import UUID, uuid4

from hypothesis import strategies as st
from psycopg.errors import SerializationFailure, UniqueViolation

from harness import READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE, Connection, Identity, Key, Own, Scenario, unsafe

TABLE = "cmis.platform_connections"
KEY = "org_id = %s AND platform = 'meta' AND account_id = %s"  # of all platforms one is enough
ROW = f"INSERT INTO {TABLE} VALUES (DEFAULT, %(org)s, 'meta', %(account)s, 'token0'"

platform_connections = Scenario(
    "platform_connections",
    schemas="cmis",
    tables=f"""
        CREATE TABLE {TABLE} (  -- left out: name, status, created_at, on which nothing here turns
            id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            org_id        uuid NOT NULL,
            platform      text NOT NULL,
            account_id    text NOT NULL,
            access_token  text NOT NULL,
            deleted_at    timestamptz,
            updated_at    timestamptz NOT NULL DEFAULT now()
        )""",
    layouts={
        "full": f"ALTER TABLE {TABLE} ADD CONSTRAINT uq_platform_connections UNIQUE (org_id, platform, account_id)",
        "partial": f"""
            CREATE UNIQUE INDEX uq_platform_connections ON {TABLE} (org_id, platform, account_id)
            WHERE deleted_at IS NULL""",
    },
    states={
        "new": "",
        "live": f"{ROW}, NULL, '2024-01-01')",
        "deleted": f"{ROW}, '2024-01-01', '2024-01-01')",
        # What update_or_create makes of a deleted one where the index lets it: not with the full one.
        "live_and_deleted": (f"{ROW}, '2024-01-01', '2024-01-01')", f"{ROW}, NULL, '2024-01-02')"),
    },
    identity=Identity(TABLE, by=("org_id", "platform", "account_id"), live="deleted_at IS NULL"),
)
TOKEN = st.integers(1, 99).map("token{}".format)


def insert(connection: Connection, *row: object, on_conflict: str = "") -> None:
    query = f"INSERT INTO {TABLE} (id, org_id, platform, account_id, access_token) VALUES (%s, %s, 'meta', %s, %s)"
    connection.execute(f"{query} {on_conflict}", (uuid4(), *row))  # ids are made by the application


def first(connection: Connection, *key: object, condition: str = "true", order: str = "") -> tuple[UUID, bool] | None:
    query = f"SELECT id, deleted_at IS NOT NULL FROM {TABLE} WHERE {KEY} AND {condition} {order} LIMIT 1"
    return connection.execute(query, key).fetchone()


def save(connection: Connection, id: UUID, token: str) -> None:
    connection.execute(f"UPDATE {TABLE} SET access_token = %s, updated_at = now() WHERE id = %s", (token, id))


@platform_connections.operation(org=Key(UUID), account=Key(str), token=Own(TOKEN))
def connect(connection: Connection, org: UUID, account: str, token: str) -> None:
    """For the first time, again while connected, or after a disconnect: a live connection with this token."""
    query = f"UPDATE {TABLE} SET access_token = %s, updated_at = now() WHERE {KEY} AND deleted_at IS NULL"
    if connection.execute(query, (token, org, account)).rowcount == 0:
        insert(connection, org, account, token)


@platform_connections.operation(org=Key(UUID), account=Key(str))
def disconnect(connection: Connection, org: UUID, account: str) -> bool:
    query = f"UPDATE {TABLE} SET deleted_at = now(), updated_at = now() WHERE {KEY} AND deleted_at IS NULL"
    return connection.execute(query, (org, account)).rowcount > 0


@platform_connections.operation(org=Key(UUID), account=Key(str))
def token_of(connection: Connection, org: UUID, account: str) -> tuple[str] | None:
    query = f"SELECT access_token FROM {TABLE} WHERE {KEY} AND deleted_at IS NULL"
    return connection.execute(query, (org, account)).fetchone()


# Before. No transaction: each statement commits itself.


@connect.strategy(
    expect=[
        unsafe("23505", layout="full"),
        unsafe("23505", layout="partial", state=("new", "deleted")),
        unsafe("duplicate", layout="none", state=("new", "deleted")),
    ]
)
def update_or_create(connection: Connection, org: UUID, account: str, token: str) -> None:
    """Looks among live rows. With the full index a deleted one is 23505, alone; with either, two at once are."""
    if found := first(connection, org, account, condition="deleted_at IS NULL"):
        return save(connection, found[0], token)
    return insert(connection, org, account, token)


@connect.strategy(
    expect=[
        unsafe("23505", layout="full", state=("live", "deleted")),
        unsafe("23505", layout=("full", "partial"), isolation=REPEATABLE_READ),
        unsafe("duplicate", layout="none", state=("new", "deleted")),
        unsafe("23505", layout="partial", larger=True),  # the winner is disconnected before the loser looks again
    ]
)
def update_or_create_in_savepoint(connection: Connection, org: UUID, account: str, token: str) -> None:
    """Newer versions of the framework, within a transaction: insert in a savepoint, catch 23505, look again.

    Ends the race where looking again can see the winner; the deleted row of the full index is as invisible as before.
    """
    with connection.transaction():
        found = first(connection, org, account, condition="deleted_at IS NULL")
        if not found:
            try:
                with connection.transaction():
                    return insert(connection, org, account, token)
            except UniqueViolation:
                found = first(connection, org, account, condition="deleted_at IS NULL")
                if not found:
                    raise
        return save(connection, found[0], token)


# The shipped fix.

NOT_SERIALIZABLE = (READ_COMMITTED, REPEATABLE_READ)
NOT_READ_COMMITTED = (REPEATABLE_READ, SERIALIZABLE)
RESTORED_BESIDE_LIVE = (
    unsafe("23505", layout="partial", state="live_and_deleted"),
    unsafe("wrong-alone", layout="none", state="live_and_deleted"),
)


@connect.strategy(
    expect=[
        unsafe("23505", layout=("full", "partial"), state="new"),
        unsafe("duplicate", layout="none", state="new"),
        *RESTORED_BESIDE_LIVE,
        unsafe("wrong-answer", state="deleted"),
        # A disconnect after the restore: above READ COMMITTED the update is 40001, and the restore has happened.
        unsafe("non-serializable", state="deleted", isolation=NOT_READ_COMMITTED),
        unsafe("partial-effect", layout="none", state="live_and_deleted", isolation=NOT_READ_COMMITTED),
    ]
)
def shipped_fix(connection: Connection, org: UUID, account: str, token: str) -> None:
    """Looks among all rows, restores, updates: three transactions, and nothing says which row is looked at first.

    Proves "existing connections are unaffected" (state live), and where one deleted row is all there is "users can now
    reconnect", though until the update has come whoever asks gets the old token (wrong-answer). Refutes both where a
    deleted row lies beside a live one: 23505 with the partial index, without concurrency. Refutes "restored and updated
    rather than creating duplicates" there, two live rows without an index, and on a new key for two at once.
    """
    found = first(connection, org, account)
    if not found:
        return insert(connection, org, account, token)
    id, deleted = found
    if deleted:
        connection.execute(f"UPDATE {TABLE} SET deleted_at = NULL, updated_at = now() WHERE id = %s", (id,))
    return save(connection, id, token)


@connect.strategy(
    expect=[
        unsafe("23505", layout=("full", "partial"), state="new", isolation=NOT_SERIALIZABLE),
        unsafe("duplicate", layout="none", state="new", isolation=NOT_SERIALIZABLE),
        *RESTORED_BESIDE_LIVE,
    ]
)
def shipped_fix_in_one_transaction(connection: Connection, org: UUID, account: str, token: str) -> None:
    """The same in one transaction (ours): nobody gets the old token any more, and the rest stays as it was.

    At SERIALIZABLE the server remembers that both looked: 40001 in place of what the race did.
    """
    with connection.transaction():
        shipped_fix(connection, org, account, token)


# Alternatives, right at READ COMMITTED: the first two with their index, the others on bare tables too.


@connect.strategy(expect=[unsafe("42P10", layout="none")])
def upsert(connection: Connection, org: UUID, account: str, token: str) -> None:
    """The predicate fits both indexes: restores under the full one, and starts a new row under the partial one."""
    replace = """ON CONFLICT (org_id, platform, account_id) WHERE deleted_at IS NULL
                 DO UPDATE SET access_token = EXCLUDED.access_token, deleted_at = NULL, updated_at = now()"""
    insert(connection, org, account, token, on_conflict=replace)


@connect.strategy(
    expect=[
        unsafe("23505", layout="full", state=("live", "deleted")),
        unsafe("duplicate", layout="none", state=("new", "deleted")),
    ]
)
def update_else_insert_again(connection: Connection, org: UUID, account: str, token: str) -> None:
    """For the partial index: whoever met 23505 finds, at the second attempt, the row that was in the way."""
    for attempt in (1, 2, 3):
        try:
            connect(connection, org, account, token)
            return
        except UniqueViolation:
            if attempt == 3:
                raise


def restore_or_insert(connection: Connection, org: UUID, account: str, token: str) -> None:
    """The fix as it should have been: the live row first, else the one deleted last, and one UPDATE for all."""
    found = first(connection, org, account, order="ORDER BY deleted_at DESC NULLS FIRST")
    if not found:
        insert(connection, org, account, token)
    else:
        query = f"UPDATE {TABLE} SET access_token = %s, deleted_at = NULL, updated_at = now() WHERE id = %s"
        connection.execute(query, (token, found[0]))


@connect.strategy
def lock_table(connection: Connection, org: UUID, account: str, token: str) -> None:
    """One connect at a time. LOCK TABLE takes no snapshot, so it holds at every isolation level."""
    with connection.transaction():
        connection.execute(f"LOCK TABLE {TABLE} IN SHARE ROW EXCLUSIVE MODE")
        restore_or_insert(connection, org, account, token)


@connect.strategy(
    expect=[
        unsafe("23505", layout=("full", "partial"), state="new", isolation=REPEATABLE_READ),
        unsafe("duplicate", layout="none", state="new", isolation=REPEATABLE_READ),
    ]
)
def advisory_lock(connection: Connection, org: UUID, account: str, token: str) -> None:
    """One connect of an account at a time, by agreement.

    Not at REPEATABLE READ: the statement that waits for the lock has taken its snapshot already.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"{org}/{account}",))
        restore_or_insert(connection, org, account, token)


@connect.strategy(isolation=SERIALIZABLE)
def serializable_with_retry(connection: Connection, org: UUID, account: str, token: str) -> None:
    """Looks and writes, and is told by the server when that was not as if alone."""
    while True:
        try:
            with connection.transaction():
                return restore_or_insert(connection, org, account, token)
        except SerializationFailure:
            continue
