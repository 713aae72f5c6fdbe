"""A business account is shared by many users: one row for each user and account, and nobody's row becomes another's.

What surprises: ON CONFLICT (waba_id) failed on every call, and that was luck: with the index it asks for, it moves the
row to whoever comes last. The fix names the pair, and has its index. But ON CONFLICT arbitrates on one unique key, and
the primary key, which the caller makes, is another; and no index helps a webhook that guesses whose account it brings.
"""

from collections.abc import Callable

from hypothesis import strategies as st
from psycopg.errors import SerializationFailure, UniqueViolation

from harness import REPEATABLE_READ, SERIALIZABLE, Connection, Identity, Key, Own, Scenario, unsafe

USERS = (
    "INSERT INTO users VALUES ('other'); INSERT INTO users VALUES (%(user)s); INSERT INTO users VALUES (%(newcomer)s)"
)
ROW = "INSERT INTO waba_accounts VALUES ({}, DEFAULT, {}, 'b0', 't0', NULL, '2024-01-01', '2024-01-01')"

accounts = Scenario(
    "waba_accounts",
    tables="""
        CREATE TABLE users (id varchar PRIMARY KEY);
        CREATE TABLE waba_accounts (id varchar PRIMARY KEY, account_number serial, waba_id varchar NOT NULL,
            user_id varchar NOT NULL REFERENCES users (id), owner_business_id varchar, access_token text,
            token_expires_at timestamp, created_at timestamp NOT NULL DEFAULT now(),
            updated_at timestamp NOT NULL DEFAULT now(), owner_user_id uuid);
        CREATE TABLE oauth_states (id serial PRIMARY KEY, user_id varchar NOT NULL REFERENCES users (id),
            created_at timestamp NOT NULL DEFAULT now())""",  # oauth_states (ours)
    layouts={  # "none" is before the migration, and again after the rollback that the report offers
        "pair": "CREATE UNIQUE INDEX ON waba_accounts (user_id, waba_id)",
        "waba": "CREATE UNIQUE INDEX ON waba_accounts (waba_id)",
    },
    states={  # each statement is run once for each user, or user and account, of the contest
        "new": USERS,
        "connected": f"{USERS}; " + ROW.format("'old ' || %(user)s || %(waba)s", "%(waba)s, %(user)s"),
        # The id that the caller will make stands on another pair: what the code before left where it moved a row.
        "id_taken": f"{USERS}; " + ROW.format("%(user)s || '/' || %(waba)s", "%(user)s || %(waba)s, 'other'"),
    },
    identity=Identity("waba_accounts", by=("user_id", "waba_id")),
)
INSERT = """
    INSERT INTO waba_accounts (id, user_id, waba_id, owner_business_id, access_token)
    VALUES ({id}, %(user)s, %(waba)s, %(business)s, %(token)s)"""
SET = {
    "webhook": "SET owner_business_id = %(business)s, updated_at = now()",
    "callback": "SET owner_business_id = %(business)s, access_token = %(token)s, updated_at = now()",
}
UPDATE = "UPDATE waba_accounts {set} WHERE user_id = %(user)s AND waba_id = %(waba)s"
MADE, OTHER = "%(made)s", "%(made)s || '/2'"  # ids that the caller makes of the pair (ours)
FREE = f"CASE WHEN EXISTS (SELECT FROM waba_accounts WHERE id = {MADE}) THEN {OTHER} ELSE {MADE} END"


def run(connection: Connection, sql: str, event: str, user: str, waba: str, number: int, id: str = MADE) -> bool:
    """Whether the statement wrote a row. A webhook brings a business id, an OAuth callback a token as well."""
    token = f"t{number}" if event == "callback" else None
    row = {"made": f"{user}/{waba}", "user": user, "waba": waba, "business": f"b{number}", "token": token}
    return connection.execute(sql.format(id=id, set=SET[event]), row).rowcount > 0


@accounts.operation(event=["webhook", "callback"], user=Key(str), waba=Key(str), number=Own(st.integers(1, 99)))
def store(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """One row for the pair, under an id that is free; a webhook leaves its token alone."""
    if not run(connection, UPDATE, event, user, waba, number):
        run(connection, INSERT, event, user, waba, number, FREE)


@accounts.operation(newcomer=Key(str), number=Own(st.integers(1, 99)))
def connect(connection: Connection, newcomer: str, number: int) -> None:
    """A user opens the provider's dialog, and an OAuth state is kept for it; then the account's webhook comes in."""
    connection.execute("INSERT INTO oauth_states (user_id) VALUES (%s)", (newcomer,))
    store(connection, "webhook", newcomer, f"waba of {newcomer}", number)


def retried(call: Callable[[], None]) -> None:
    """As providers send a webhook again until it is taken."""
    while True:
        try:
            return call()
        except SerializationFailure:
            continue


@store.strategy(
    expect=[
        unsafe("42P10", layout=("none", "pair")),
        unsafe("wrong-alone", layout="waba", state="new"),
        unsafe("23505", layout="waba", state=("new", "id_taken")),
    ]
)
def on_conflict_waba(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """The code before: 42P10 on every call. With the index that it asks for, it takes the row from whoever had it."""
    upsert = f"{INSERT} ON CONFLICT (waba_id) DO UPDATE {{set}}, user_id = EXCLUDED.user_id"
    run(connection, upsert, event, user, waba, number)


@store.strategy(
    expect=[
        unsafe("42P10", layout=("none", "waba")),
        unsafe("23505", layout="pair", state=("new", "id_taken")),
    ]
)
def shipped_fix(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """The shipped fix. "Allows multiple users to access the same WABA", many accounts for one user, many to many, and
    "prevents duplicate WABA entries per user": proved, where the index is there; the rollback brings 42P10 back. Not
    told: an id that stands on another pair is 23505 in spite of ON CONFLICT; and of two first calls for one pair, which
    both probe the pair's index and find nobody, the second is told 23505 by the primary key."""
    upsert = f"{INSERT} ON CONFLICT (user_id, waba_id) DO UPDATE {{set}}"
    run(connection, upsert, event, user, waba, number)


@store.strategy(
    expect=[
        unsafe("42P10", layout=("none", "waba")),
        unsafe("wrong-alone", layout="pair", state=("new", "connected")),
        unsafe("23505", layout="pair", state="id_taken"),
    ]
)
def do_nothing(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """A duplicate insert with DO NOTHING is "handled gracefully": refuted; the token that it brings is thrown away."""
    run(connection, f"{INSERT} ON CONFLICT (user_id, waba_id) DO NOTHING", event, user, waba, number)


@connect.strategy(expect=[unsafe("42P10", layout=("none", "waba")), unsafe("non-serializable", "23505", layout="pair")])
def most_recent_state(connection: Connection, newcomer: str, number: int) -> None:
    """How the shipped webhook finds its user. Two connect at once, and both accounts are stored for the later one;
    every row is well formed, so no index objects, at no isolation level."""
    connection.execute("INSERT INTO oauth_states (user_id) VALUES (%s)", (newcomer,))

    def webhook() -> None:
        found = connection.execute("SELECT user_id FROM oauth_states ORDER BY created_at DESC LIMIT 1").fetchone()
        shipped_fix(connection, "webhook", found[0] if found else "nobody", f"waba of {newcomer}", number)

    retried(webhook)


@connect.strategy(expect=[unsafe("42P10", layout=("none", "waba")), unsafe("23505", layout="pair")])
def state_sent_along(connection: Connection, newcomer: str, number: int) -> None:
    """The same, if the provider sends the state back: that is what the parameter is for. The 23505 stays."""
    state = connection.execute("INSERT INTO oauth_states (user_id) VALUES (%s) RETURNING id", (newcomer,)).fetchone()

    def webhook() -> None:
        found = connection.execute("SELECT user_id FROM oauth_states WHERE id = %s", state).fetchone()
        shipped_fix(connection, "webhook", found[0] if found else "nobody", f"waba of {newcomer}", number)

    retried(webhook)


@store.strategy(
    expect=[
        unsafe("wrong-alone", layout="none", state=("new", "connected")),
        unsafe("23505", layout="waba", state=("new", "id_taken")),
    ]
)
def insert_first(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """The indexes decide, whichever of them: what they refuse is there to be updated. Inside the caller's transaction
    the INSERT needs a savepoint, and READ COMMITTED."""
    try:
        run(connection, INSERT, event, user, waba, number, FREE)
    except UniqueViolation:
        if not run(connection, UPDATE, event, user, waba, number):
            raise  # layout waba: somebody else's row


@store.strategy(expect=[unsafe("23505", layout="waba", state=("new", "id_taken"))])
def lock_table(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """One at a time, with any index or none; only the one that forbids sharing still does."""
    with connection.transaction():
        connection.execute("LOCK TABLE waba_accounts IN SHARE ROW EXCLUSIVE MODE")
        store(connection, event, user, waba, number)


@store.strategy(
    expect=[
        unsafe("23505", layout="waba", state=("new", "id_taken")),
        unsafe("23505", state=("new", "id_taken"), isolation=REPEATABLE_READ),
    ]
)
def lock_user(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """One at a time for each user, whose row is there to be locked. At READ COMMITTED only: the SELECT that waits has
    its snapshot already, and above that level what follows is as old."""
    with connection.transaction():
        connection.execute("SELECT FROM users WHERE id = %s FOR NO KEY UPDATE", (user,))
        store(connection, event, user, waba, number)


@store.strategy(isolation=SERIALIZABLE, expect=[unsafe("23505", layout="waba", state=("new", "id_taken"))])
def serializable_with_retry(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """Looks and writes, and lets the server find the race; then again."""

    def call() -> None:
        with connection.transaction():
            store(connection, event, user, waba, number)

    retried(call)
