"""One installation for each location and for each agency, though the OAuth callback may arrive twice with other tokens.

One table, two identities, a partial unique index for each. What surprises: ON CONFLICT was never incompatible with
these indexes, it only has to repeat their predicates; and the SELECT, then UPDATE or INSERT that was shipped in its
place is no upsert: of two first callbacks one is told 23505 where the index is there, and both insert where it is not,
with a transaction around them as well as without.
"""

from hypothesis import strategies as st
from psycopg.errors import SerializationFailure, UniqueViolation

from harness import READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE, Connection, Identity, Key, Own, Scenario, unsafe

ROWS = "INSERT INTO hl_installations VALUES"
LOCATION = "(DEFAULT, %(owner)s, NULL, 'a0', 'r0', NULL, '2024-01-01', '2024-01-01')"
AGENCY = "(DEFAULT, NULL, %(owner)s, 'a0', 'r0', NULL, '2024-01-01', '2024-01-01')"

installations = Scenario(
    "oauth_installations",
    tables="""
        CREATE TABLE hl_installations (id serial PRIMARY KEY, location_id text, agency_id text,
            access_token text NOT NULL, refresh_token text NOT NULL, expires_at timestamptz,
            created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
            CHECK (num_nonnulls(location_id, agency_id) = 1));
        CREATE TABLE oauth_codes (code text NOT NULL UNIQUE)""",  # both (ours)
    layouts={
        "partial": """
            CREATE UNIQUE INDEX ON hl_installations (location_id) WHERE location_id IS NOT NULL;
            CREATE UNIQUE INDEX ON hl_installations (agency_id) WHERE location_id IS NULL""",  # predicates (ours)
        "whole": """
            CREATE UNIQUE INDEX ON hl_installations (location_id);
            CREATE UNIQUE INDEX ON hl_installations (agency_id)""",
        "composite": "CREATE UNIQUE INDEX ON hl_installations (location_id, agency_id)",  # one is NULL: refuses nothing
    },
    states={  # each statement is run once for each owner of the contest
        "new": "",
        "installed": f"{ROWS} {LOCATION}, {AGENCY}",
        "duplicated": f"{ROWS} {LOCATION}, {LOCATION}, {AGENCY}, {AGENCY}",
    },
    identity=[Identity("hl_installations", by="location_id"), Identity("hl_installations", by="agency_id")],
    invariants={
        "tokens agree": "SELECT id FROM hl_installations WHERE ltrim(access_token, 'a') <> ltrim(refresh_token, 'r')"
    },
)
UNIQUE, BARE = ("partial", "whole"), ("composite", "none")

LOOK = "SELECT id FROM hl_installations WHERE {0} = %(owner)s"
INSERT = "INSERT INTO hl_installations ({0}, access_token, refresh_token) VALUES (%(owner)s, %(access)s, %(refresh)s)"
SET = "SET access_token = %(access)s, refresh_token = %(refresh)s, updated_at = now()"
UPDATE = f"UPDATE hl_installations {SET} WHERE {{0}} = %(owner)s"


def run(connection: Connection, statement: str, kind: str, owner: str, token: int = 0) -> int | None:
    """The id that the statement returns for this location or agency, if it returns one."""
    arguments = {"owner": owner, "access": f"a{token}", "refresh": f"r{token}"}
    row = connection.execute(statement.format(f"{kind}_id"), arguments).fetchone()
    return row[0] if row else None


@installations.operation(kind=["location", "agency"], owner=Key(str), token=Own(st.integers(1, 99)))
def install(connection: Connection, kind: str, owner: str, token: int) -> int | None:
    """Store the two tokens of one callback, written as one number; the answer is the id of their row."""
    found = run(connection, LOOK, kind, owner)
    return run(connection, f"{UPDATE if found else INSERT} RETURNING id", kind, owner, token)


@installations.operation(kind=["location", "agency"], owner=Key(str))
def uninstall(connection: Connection, kind: str, owner: str) -> None:
    connection.execute(f"DELETE FROM hl_installations WHERE {kind}_id = %s", (owner,))


@installations.operation(code=Key(str))
def redeem(connection: Connection, code: str) -> bool:
    """Whether this callback may exchange its authorization code: a code is good for one exchange."""
    taken = connection.execute("SELECT 1 FROM oauth_codes WHERE code = %s", (code,)).fetchone()
    return not taken and connection.execute("INSERT INTO oauth_codes VALUES (%s)", (code,)).rowcount == 1


@install.strategy(expect=[unsafe("42P10", layout=("partial", *BARE))])
def on_conflict(connection: Connection, kind: str, owner: str, token: int) -> int | None:
    """The code before. "ON CONFLICT was incompatible with the host's PostgreSQL configuration, specifically with
    partial indexes": refuted by `on_conflict_with_predicate`; and on whole indexes this very statement is safe."""
    return run(connection, f"{INSERT} ON CONFLICT ({{0}}) DO UPDATE {SET} RETURNING id", kind, owner, token)


@install.strategy(
    expect=[
        unsafe("duplicate", layout=BARE, state="new"),
        unsafe("23505", layout=UNIQUE, state="new"),
        unsafe("wrong-answer", state=("installed", "duplicated")),
    ]
)
def shipped_fix(connection: Connection, kind: str, owner: str, token: int) -> int | None:
    """The shipped fix, each statement on its own. "Eliminates constraint errors": refuted, it trades 42P10 for 23505.
    And where an uninstall comes between, the UPDATE returns no id: the callback is over, and nothing was stored."""
    found = run(connection, LOOK, kind, owner)
    # By location, not by the id just read: duplicates are all given the same tokens.
    return run(connection, f"{UPDATE if found else INSERT} RETURNING id", kind, owner, token)


@install.strategy(
    expect=[
        unsafe("duplicate", layout=BARE, state="new", isolation=(READ_COMMITTED, REPEATABLE_READ)),
        unsafe("23505", layout=UNIQUE, state="new", isolation=(READ_COMMITTED, REPEATABLE_READ)),
        unsafe("wrong-answer", state=("installed", "duplicated"), isolation=READ_COMMITTED),
    ]
)
def shipped_fix_in_transaction(connection: Connection, kind: str, owner: str, token: int) -> int | None:
    """The same in one transaction: "requires careful transaction management", shown nowhere. Proved, if careful means
    SERIALIZABLE and a retry; at READ COMMITTED a transaction changes nothing."""
    with connection.transaction():
        return shipped_fix(connection, kind, owner, token)


@install.strategy(expect=[unsafe("42P10", layout=BARE)])
def on_conflict_with_predicate(connection: Connection, kind: str, owner: str, token: int) -> int | None:
    """What the code before lacked: for each index, the predicate of that index. Whole indexes match as well. "Manual
    upsert may be slightly slower than native ON CONFLICT": one statement against two; the cost card tells."""
    predicate = "location_id IS NOT NULL" if kind == "location" else "location_id IS NULL"
    upsert = f"{INSERT} ON CONFLICT ({{0}}) WHERE {predicate} DO UPDATE {SET} RETURNING id"
    return run(connection, upsert, kind, owner, token)


@install.strategy(expect=[unsafe("wrong-alone", layout=BARE)])
def insert_first(connection: Connection, kind: str, owner: str, token: int) -> int | None:
    """The index decides, whichever it is; without one nobody does. Each try is a transaction, or a savepoint inside the
    caller's: there, above READ COMMITTED, the UPDATE may never see the row that refused the INSERT."""
    while True:  # again if it was uninstalled in between
        try:
            with connection.transaction():
                return run(connection, f"{INSERT} RETURNING id", kind, owner, token)
        except UniqueViolation:
            if updated := run(connection, f"{UPDATE} RETURNING id", kind, owner, token):
                return updated


@install.strategy
def lock_table(connection: Connection, kind: str, owner: str, token: int) -> int | None:
    """Safe on every layout, one callback at a time. LOCK takes no snapshot: what follows sees all that came before."""
    with connection.transaction():
        connection.execute("LOCK TABLE hl_installations IN SHARE ROW EXCLUSIVE MODE")
        return shipped_fix(connection, kind, owner, token)


@installations.strategy(
    expect=[
        unsafe("duplicate", layout=BARE, state="new", isolation=REPEATABLE_READ),
        unsafe("23505", layout=UNIQUE, state="new", isolation=REPEATABLE_READ),
    ]
)
class AdvisoryLock:
    """One call at a time for each owner, uninstall included. At READ COMMITTED only: the SELECT that waits for the lock
    has its snapshot already, and above that level the look that follows is as old."""

    def install(self, connection: Connection, kind: str, owner: str, token: int) -> int | None:
        with connection.transaction():
            self._lock(connection, kind, owner)
            return shipped_fix(connection, kind, owner, token)

    def uninstall(self, connection: Connection, kind: str, owner: str) -> None:
        with connection.transaction():
            self._lock(connection, kind, owner)
            uninstall(connection, kind, owner)

    def _lock(self, connection: Connection, kind: str, owner: str) -> None:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s), hashtext(%s))", (kind, owner))


@install.strategy(isolation=SERIALIZABLE)
def serializable_with_retry(connection: Connection, kind: str, owner: str, token: int) -> int | None:
    """The shipped fix, its transaction serializable and tried again: the server finds the race, on every layout."""
    while True:
        try:
            return shipped_fix_in_transaction(connection, kind, owner, token)
        except SerializationFailure:
            continue


STORE = "INSERT INTO oauth_codes VALUES (%s) ON CONFLICT (code) DO NOTHING"


@redeem.strategy
def code_store(connection: Connection, code: str) -> bool:
    """Beside it, said to be right. It is, if the caller reads the row count: nothing else says the code is taken."""
    return connection.execute(STORE, (code,)).rowcount == 1


@redeem.strategy(expect=[unsafe("wrong-alone")])
def code_store_unread(connection: Connection, code: str) -> bool:
    """The same without reading it (ours): no error, one row, and both callbacks exchange the code, even in turn."""
    connection.execute(STORE, (code,))
    return True


@redeem.strategy(expect=[unsafe("wrong-answer")])
def code_store_after_look(connection: Connection, code: str) -> bool:
    """The same after a look (ours): both callbacks look, one row is stored, no error, and both exchange the code."""
    taken = connection.execute("SELECT 1 FROM oauth_codes WHERE code = %s", (code,)).fetchone()
    connection.execute(STORE, (code,))
    return not taken
