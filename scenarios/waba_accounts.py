"""A business account is shared by many users: one row for each user and account, and nobody's row becomes another's.

What surprises: ON CONFLICT (waba_id) failed on every call, and that was luck: with the index it asks for, it moves the
row to whoever comes last. The fix names the pair, and has its index. But ON CONFLICT arbitrates on one unique key, and
the primary key, which the caller makes, is another; and no index helps a webhook that guesses whose account it brings.
"""

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
    states={  # each statement is run once for each user, account or pair of the contest
        "new": USERS,
        "connected": f"{USERS}; " + ROW.format("'old ' || %(user)s || %(waba)s", "%(waba)s, %(user)s"),
        "shared": f"{USERS}; " + ROW.format("'old ' || %(waba)s", "%(waba)s, 'other'"),
        # The id that the caller will make stands on another pair: what the code before left where it moved a row.
        "id_taken": f"{USERS}; " + ROW.format("%(user)s || '/' || %(waba)s", "%(user)s || %(waba)s, 'other'"),
    },
    identity=Identity("waba_accounts", by=("user_id", "waba_id")),
)

INSERT = """
    INSERT INTO waba_accounts (id, user_id, waba_id, owner_business_id, access_token)
    VALUES (%(id)s, %(user)s, %(waba)s, %(business)s, %(token)s)"""
SET = {
    "webhook": "SET owner_business_id = %(business)s, updated_at = now()",
    "callback": "SET owner_business_id = %(business)s, access_token = %(token)s, updated_at = now()",
}
UPDATE = "UPDATE waba_accounts {set} WHERE user_id = %(user)s AND waba_id = %(waba)s"


def run(connection: Connection, sql: str, event: str, user: str, waba: str, number: int, again: bool = False) -> bool:
    """Whether the statement wrote, or found, a row. Ids are made of the pair (ours), other ones when tried again."""
    row = {
        "id": f"{user}/{waba}{'/2' if again else ''}",
        "user": user,
        "waba": waba,
        "business": f"b{number}",
        "token": f"t{number}" if event == "callback" else None,
    }
    return connection.execute(sql.format(set=SET[event]), row).rowcount > 0


@accounts.operation(event=["webhook", "callback"], user=Key(str), waba=Key(str), number=Own(st.integers(1, 99)))
def store(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """A webhook brings a business id; an OAuth callback a business id and a token, which a webhook must not erase."""
    if not run(connection, UPDATE, event, user, waba, number):
        taken = run(connection, "SELECT FROM waba_accounts WHERE id = %(id)s", event, user, waba, number)
        run(connection, INSERT, event, user, waba, number, again=taken)


@accounts.operation(newcomer=Key(str), number=Own(st.integers(1, 99)))
def connect(connection: Connection, newcomer: str, number: int) -> None:
    """A user opens the provider's dialog, for which an OAuth state is kept; then the webhook of the account comes in."""
    connection.execute("INSERT INTO oauth_states (user_id) VALUES (%s)", (newcomer,))
    store(connection, "webhook", newcomer, f"waba of {newcomer}", number)


@store.strategy(
    expect=[
        unsafe("42P10", layout=("none", "pair")),
        unsafe("wrong-alone", layout="waba", state=("new", "shared")),
        unsafe("23505", layout="waba", state="id_taken"),
    ]
)
def on_conflict_waba(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """The code before: 42P10 on every call. Where its index is there, it runs, and takes the row from whoever had it."""
    upsert = f"{INSERT} ON CONFLICT (waba_id) DO UPDATE {{set}}, user_id = EXCLUDED.user_id"
    run(connection, upsert, event, user, waba, number)


@store.strategy(expect=[unsafe("42P10", layout=("none", "waba")), unsafe("23505", layout="pair", state="id_taken")])
def shipped_fix(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """The shipped fix. "Allows multiple users to access the same WABA", one user many, many to many; "prevents duplicate
    WABA entries per user": proved on its index, for the pair. Refuted for the id: one that stands on another pair is
    23505 in spite of ON CONFLICT. The rollback (layout none, code unchanged) brings 42P10 back."""
    upsert = f"{INSERT} ON CONFLICT (user_id, waba_id) DO UPDATE {{set}}"
    run(connection, upsert, event, user, waba, number)


@store.strategy(
    expect=[
        unsafe("42P10", layout=("none", "waba")),
        unsafe("wrong-alone", layout="pair"),
        unsafe("23505", layout="pair", state="id_taken"),
    ]
)
def one_upsert_for_both(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """The fix written once for both events (ours): the webhook, which has no token, erases the callback's."""
    upsert = f"{INSERT} ON CONFLICT (user_id, waba_id) DO UPDATE {SET['callback']}"
    run(connection, upsert, event, user, waba, number)


@connect.strategy(expect=[unsafe("42P10", layout=("none", "waba")), unsafe("non-serializable", layout="pair")])
def most_recent_state(connection: Connection, newcomer: str, number: int) -> None:
    """How the shipped webhook finds its user. Two connect at once, and both accounts are stored for the later one: every
    row is well formed, so no index objects, at no isolation level."""
    connection.execute("INSERT INTO oauth_states (user_id) VALUES (%s)", (newcomer,))
    found = connection.execute("SELECT user_id FROM oauth_states ORDER BY created_at DESC LIMIT 1").fetchone()
    assert found
    shipped_fix(connection, "webhook", found[0], f"waba of {newcomer}", number)


@connect.strategy(expect=[unsafe("42P10", layout=("none", "waba"))])
def state_sent_along(connection: Connection, newcomer: str, number: int) -> None:
    """The same, if the provider sends the state back: that is what the parameter is for."""
    state = connection.execute("INSERT INTO oauth_states (user_id) VALUES (%s) RETURNING id", (newcomer,)).fetchone()
    found = connection.execute("SELECT user_id FROM oauth_states WHERE id = %s", state).fetchone()
    assert found
    shipped_fix(connection, "webhook", found[0], f"waba of {newcomer}", number)


@store.strategy(
    expect=[
        unsafe("wrong-alone", layout="none", state="connected"),
        unsafe("23505", layout="waba", state=("new", "shared", "id_taken")),
    ]
)
def insert_first(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """Whichever unique key refuses the INSERT, the UPDATE says whether it was the pair's; if not, another id is made."""
    for again in (False, True):
        try:
            with connection.transaction():
                run(connection, INSERT, event, user, waba, number, again)
            return
        except UniqueViolation:
            if run(connection, UPDATE, event, user, waba, number):
                return
            if again:
                raise


@store.strategy(expect=[unsafe("23505", layout="waba", state=("new", "shared", "id_taken"))])
def lock_table(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """One at a time, whatever the index: the only layout that fails is the one that forbids sharing."""
    with connection.transaction():
        connection.execute("LOCK TABLE waba_accounts IN SHARE ROW EXCLUSIVE MODE")
        store(connection, event, user, waba, number)


@store.strategy(
    expect=[
        unsafe("23505", layout="waba", state=("new", "shared", "id_taken")),
        unsafe("23505", state=("new", "shared", "id_taken"), isolation=REPEATABLE_READ),
    ]
)
def lock_user(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    """One at a time for each user. At READ COMMITTED only: above it the snapshot is as old as the wait for the lock."""
    with connection.transaction():
        connection.execute("SELECT FROM users WHERE id = %s FOR NO KEY UPDATE", (user,))
        store(connection, event, user, waba, number)


@store.strategy(isolation=SERIALIZABLE, expect=[unsafe("23505", layout="waba", state=("new", "shared", "id_taken"))])
def serializable_with_retry(connection: Connection, event: str, user: str, waba: str, number: int) -> None:
    while True:
        try:
            with connection.transaction():
                return store(connection, event, user, waba, number)
        except SerializationFailure:
            continue
