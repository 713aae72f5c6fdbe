"""INSERT INTO nowhere (a) VALUES (1)"""

from textwrap import dedent

from psycopg import sql
from sqlalchemy import text

TABLE = "commits"


def save(cr, sha, table):
    # harness: ignore D103, D107 (checked by hand)
    cr.execute(
        """
        INSERT INTO runbot_commit (sha, name, rate)
             VALUES (%(sha)s, %(name)s, '100%%')
        ON CONFLICT (sha) DO UPDATE SET name = %(name)s
        """,
        {"sha": sha},
    )
    cr.execute(f"INSERT INTO {TABLE} (sha) VALUES (%s) ON CONFLICT (sha) DO NOTHING", [sha])
    cr.execute(f"INSERT INTO {table} (sha) VALUES (%s) ON CONFLICT (sha) DO NOTHING", [sha])


def kv_put(session, ns, key):
    session.execute(text("SELECT v FROM kv WHERE ns = :ns AND k = :k"), {"ns": ns})
    put = "INSERT INTO kv (ns, k, v) VALUES (:ns, :k, CAST(:v AS jsonb))"
    session.execute(text(put + " ON CONFLICT (ns, k) DO UPDATE SET v = kv.v || :v::jsonb"))


def composed(cr):
    cr.execute(
        sql.SQL("INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT ({key}) DO NOTHING").format(
            table=sql.Identifier("runbot", "build"),
            columns=sql.SQL(", ").join([sql.Identifier("id"), sql.Identifier("hash")]),
            values=sql.SQL(", ").join([sql.Placeholder(), sql.Placeholder()]),
            key=sql.Identifier("hash"),
        )
    )
    cr.execute(
        dedent(
            """\
            MERGE INTO build AS b USING (VALUES (%s, %s)) AS v (id, hash) ON v.id = b.id
            WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.hash)
            """
        )
    )
