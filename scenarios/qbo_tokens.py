"""One active token per user and company, kept behind an HTTP data API, where every request is a transaction.

To store one took two requests, UPDATE and INSERT; the fix made them one function that deletes and inserts. What
surprises: a function is one transaction and still not alone. A second call waits for the row that the first deletes,
then deletes nothing, since the row put in its place is too new for its snapshot. A refresh that waits for the same row
finds nothing to refresh either, and the token that it brought is lost.
"""

from hypothesis import strategies as st
from psycopg.errors import SerializationFailure, UniqueViolation

from harness import READ_COMMITTED as RC
from harness import REPEATABLE_READ, SERIALIZABLE, Connection, Identity, Key, Own, Pool, Scenario, unsafe

ROW = "INSERT INTO qbo_tokens VALUES (DEFAULT, %(user)s, %(realm)s, 'token0'"

# access_token stands for all that comes with it (refresh_token, expires_at). No created_at: whether a new token makes a
# new row is a matter of taste. No row-level security with its policy per user: superusers do not meet it, and it would
# hide rows of other users only, which no call asks for.
qbo_tokens = Scenario(
    "qbo_tokens",
    tables="""
        CREATE TABLE qbo_tokens (
            id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            user_id       text NOT NULL,
            realm_id      text NOT NULL,
            access_token  text NOT NULL,
            is_active     boolean NOT NULL DEFAULT true,
            updated_at    timestamptz NOT NULL DEFAULT now()
        );
        CREATE FUNCTION store_qbo_token(p_user text, p_realm text, p_access text) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            DELETE FROM qbo_tokens WHERE user_id = p_user AND realm_id = p_realm;
            INSERT INTO qbo_tokens (user_id, realm_id, access_token) VALUES (p_user, p_realm, p_access);
        END $$""",
    layouts={
        "full": "CREATE UNIQUE INDEX unique_token ON qbo_tokens (user_id, realm_id)",
        "partial": "CREATE UNIQUE INDEX unique_active_token ON qbo_tokens (user_id, realm_id) WHERE is_active",
    },
    states={
        "new": "",
        "active": f"{ROW}, true, '2024-01-01')",
        "inactive": f"{ROW}, false, '2024-01-01')",
        "history": (f"{ROW}, false, '2024-01-01')", f"{ROW}, true, '2024-01-02')"),  # not with the full index
    },
    identity=Identity("qbo_tokens", by=("user_id", "realm_id"), live="is_active"),
)
TOKEN = st.integers(1, 99).map("token{}".format)
WITH_ACTIVE_TOKEN = ("active", "history")
WITH_INDEX = ("full", "partial")


def delete(connection: Connection, user: str, realm: str) -> None:
    connection.execute("DELETE FROM qbo_tokens WHERE user_id = %s AND realm_id = %s", (user, realm))


def insert(connection: Connection, *row: str, on_conflict: str = "") -> None:
    query = f"INSERT INTO qbo_tokens (user_id, realm_id, access_token) VALUES (%s, %s, %s) {on_conflict}"
    connection.execute(query, row)


@qbo_tokens.operation(user=Key(str), realm=Key(str), token=Own(TOKEN))
def store(connection: Connection, user: str, realm: str, token: str) -> None:
    """After authentication: this token and no other."""
    delete(connection, user, realm)
    insert(connection, user, realm, token)


@qbo_tokens.operation(user=Key(str), realm=Key(str), token=Own(TOKEN))
def update(connection: Connection, user: str, realm: str, token: str) -> bool:
    """After a refresh, which made the old token worthless. Whether there was one to replace."""
    query = """UPDATE qbo_tokens SET access_token = %s, updated_at = now()
               WHERE user_id = %s AND realm_id = %s AND is_active"""
    return connection.execute(query, (token, user, realm)).rowcount > 0


@qbo_tokens.operation(user=Key(str), realm=Key(str))
def deactivate(connection: Connection, user: str, realm: str) -> bool:
    query = """UPDATE qbo_tokens SET is_active = false, updated_at = now()
               WHERE user_id = %s AND realm_id = %s AND is_active"""
    return connection.execute(query, (user, realm)).rowcount > 0


@qbo_tokens.operation(user=Key(str), realm=Key(str))
def get(connection: Connection, user: str, realm: str) -> tuple[str] | None:
    query = "SELECT access_token FROM qbo_tokens WHERE user_id = %s AND realm_id = %s AND is_active"
    return connection.execute(query, (user, realm)).fetchone()


# Before. Who comes between the two requests finds no token: get and deactivate say so, what a refresh brought is lost.

BETWEEN = unsafe("wrong-answer", "lost-update", layout=("none", "partial"), state=WITH_ACTIVE_TOKEN)
ALWAYS_409 = unsafe("23505", layout="full")


@store.strategy(expect=[ALWAYS_409, unsafe("23505", layout="partial"), unsafe("duplicate", layout="none"), BETWEEN])
def two_requests(pool: Pool, user: str, realm: str, token: str) -> None:
    """The 409 Conflict is 23505: with the full index every second store meets it alone, with the partial one a race."""
    with pool.connection() as request:
        deactivate(request, user, realm)
    with pool.connection() as request:
        insert(request, user, realm, token)


@store.strategy(
    expect=[
        ALWAYS_409,
        unsafe("duplicate", layout="none"),
        BETWEEN,
        unsafe("23505", layout="partial", larger=True),  # of four sessions one may lose three times
    ]
)
def two_requests_retried(pool: Pool, user: str, realm: str, token: str) -> None:
    """With the application's retry, three attempts (ours): ends the race of two, and helps nobody against the full
    index."""
    for attempt in (1, 2, 3):
        try:
            two_requests(pool, user, realm, token)
            return
        except UniqueViolation:
            if attempt == 3:
                raise


# The shipped fix.

# At REPEATABLE READ to wait for a row that is then deleted is 40001. A first store finds none to wait for.
TWO_FIRST_STORES = (
    unsafe("23505", layout=WITH_INDEX, state="new", isolation=REPEATABLE_READ),
    unsafe("duplicate", layout="none", state="new", isolation=REPEATABLE_READ),
)


@store.strategy(
    expect=[
        unsafe("23505", layout=WITH_INDEX, isolation=RC),
        unsafe("duplicate", layout="none", isolation=RC),
        unsafe("wrong-answer", state=WITH_ACTIVE_TOKEN, isolation=RC),
        *TWO_FIRST_STORES,
    ]
)
def shipped_fix(connection: Connection, user: str, realm: str, token: str) -> None:
    """One call, committed by itself. The other functions of the fix are one statement each, as the operations here are.

    Proves "handles delete + insert atomically" (nobody is told that there is no token) and, one at a time, "old tokens
    properly deleted". Refutes "no race conditions possible", "zero 409 Conflict errors" (two stores at once, with
    either index) and, without an index, "old tokens properly deleted". Refutes "token refresh continues working": a
    refresh that waits for the row which a store deletes is told there is no token, and what it brought is not kept.
    """
    connection.execute("SELECT store_qbo_token(%s, %s, %s)", (user, realm, token))


# Alternatives, right at READ COMMITTED: the first two with an index, the others on bare tables too.


@store.strategy(expect=[unsafe("42P10", layout="none")])
def upsert(connection: Connection, user: str, realm: str, token: str) -> None:
    """One row that stays, so that whoever waits for it finds it. This predicate fits both indexes."""
    replace = """ON CONFLICT (user_id, realm_id) WHERE is_active
                 DO UPDATE SET access_token = EXCLUDED.access_token, is_active = true, updated_at = now()"""
    insert(connection, user, realm, token, on_conflict=replace)


@store.strategy(
    expect=[
        unsafe("wrong-alone", layout="none"),
        # The partial index lets old rows be: to revive them all is 23505, to revive one undoes its deactivation.
        unsafe("23505", layout="partial", state=("inactive", "history")),
        unsafe("lost-update", layout="partial", state="active", isolation=RC),
    ]
)
def insert_in_savepoint(connection: Connection, user: str, realm: str, token: str) -> None:
    """For the full index: inserts, and where that is 23505 updates the row that was in the way.

    At REPEATABLE READ the UPDATE may not see that row and change nothing: as if the other had stored last.
    """
    query = """UPDATE qbo_tokens SET access_token = %s, is_active = true, updated_at = now()
               WHERE user_id = %s AND realm_id = %s"""
    with connection.transaction():
        try:
            with connection.transaction():
                insert(connection, user, realm, token)
        except UniqueViolation:
            connection.execute(query, (token, user, realm))


@store.strategy
def lock_table(connection: Connection, user: str, realm: str, token: str) -> None:
    """One store at a time; a refresh waits for the table, before its snapshot, and not for a row that will be gone."""
    with connection.transaction():
        connection.execute("LOCK TABLE qbo_tokens IN SHARE ROW EXCLUSIVE MODE")
        store(connection, user, realm, token)


@qbo_tokens.strategy(expect=TWO_FIRST_STORES)
class AdvisoryLock:
    """Helps if all take it: a refresh without it would still wait for the row that is being deleted.

    Not at REPEATABLE READ: the statement that waits for the lock has taken the snapshot already.
    """

    def store(self, connection: Connection, user: str, realm: str, token: str) -> None:
        with connection.transaction():
            self._lock(connection, user, realm)
            store(connection, user, realm, token)

    def update(self, connection: Connection, user: str, realm: str, token: str) -> bool:
        with connection.transaction():
            self._lock(connection, user, realm)
            return update(connection, user, realm, token)

    def deactivate(self, connection: Connection, user: str, realm: str) -> bool:
        with connection.transaction():
            self._lock(connection, user, realm)
            return deactivate(connection, user, realm)

    def _lock(self, connection: Connection, user: str, realm: str) -> None:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s), hashtext(%s))", (user, realm))


@store.strategy(isolation=SERIALIZABLE)
def serializable_with_retry(connection: Connection, user: str, realm: str, token: str) -> None:
    """The shipped function, which is right once the server says when it was not as if alone."""
    while True:
        try:
            return shipped_fix(connection, user, realm, token)
        except SerializationFailure:
            continue
