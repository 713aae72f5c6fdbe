"""Ten ways to write an upsert, as isolationtester ran them: every session does the same, s1 with 'a', s2 with 'b'.

The steps are the SQL of the specs, verbatim but for the value and the session's number. A spec has no control flow, so
what a step decides on is kept in a setting, and what decides is a DO block. `twins.py` has the same ten as an
application would write them.
"""

from dataclasses import dataclass

TABLE = """
CREATE TABLE t (id serial PRIMARY KEY, k int NOT NULL, v text, n int, deleted_at timestamptz,
                is_active boolean NOT NULL DEFAULT true)"""
LAYOUTS = {"U": (TABLE, "CREATE UNIQUE INDEX t_k ON t(k)"), "N": (TABLE,)}
STARTS = {"absent": "", "present": "INSERT INTO t(k,v,n) VALUES (1,'init',10)"}
LEVELS = {"RC": "READ COMMITTED", "RR": "REPEATABLE READ", "SER": "SERIALIZABLE"}
FINAL = """
SELECT coalesce(string_agg(concat_ws(',', v, n, CASE WHEN deleted_at IS NULL THEN 'L' ELSE 'D' END), ';'
                           ORDER BY id), '-')
  FROM t WHERE k = 1"""


@dataclass(frozen=True, slots=True)
class Strategy:
    number: int
    title: str
    steps: tuple[tuple[str, str], ...]  # a letter, and the SQL with {v} for the session's value; COMMIT follows

    def of_session(self, index: int) -> tuple[tuple[str, str], ...]:
        """Named as in the truth: r1, w1, c1."""
        steps = (*self.steps, ("c", "COMMIT"))
        return tuple((f"{letter}{index + 1}", sql.replace("{v}", "ab"[index])) for letter, sql in steps)


def begin(level: str) -> str:
    return f"BEGIN ISOLATION LEVEL {LEVELS[level]}; SET LOCAL h.f = ''"


READ = (
    "DO $$ DECLARE f int; BEGIN SELECT n INTO f FROM t WHERE k=1 AND deleted_at IS NULL ORDER BY id LIMIT 1;"
    " PERFORM set_config('h.f', coalesce((f)::text, ''), false);"
    " RAISE NOTICE 'read=%', coalesce((f)::text, 'none'); END $$"
)
WRITE = (
    "DO $$ BEGIN IF current_setting('h.f') = '' THEN INSERT INTO t(k,v,n) VALUES (1,'{v}',1);"
    " ELSE UPDATE t SET v='{v}', n=n+1 WHERE k=1 AND deleted_at IS NULL; END IF; END $$"
)
UPDATE = (
    "DO $$ DECLARE f int; BEGIN UPDATE t SET v='{v}', n=n+1 WHERE k=1 AND deleted_at IS NULL;"
    " GET DIAGNOSTICS f = ROW_COUNT; PERFORM set_config('h.f', f::text, false); RAISE NOTICE 'updated=%', f; END $$"
)
INSERT_IF_NONE = (
    "DO $$ BEGIN IF current_setting('h.f') = '0' THEN INSERT INTO t(k,v,n) VALUES (1,'{v}',1); END IF; END $$"
)
INSERT_OR_CATCH = (
    "DO $$ BEGIN BEGIN INSERT INTO t(k,v,n) VALUES (1,'{v}',1); PERFORM set_config('h.f','ins',false);"
    " EXCEPTION WHEN unique_violation THEN PERFORM set_config('h.f','dup',false);"
    " RAISE NOTICE 'caught 23505'; END; END $$"
)
UPDATE_IF_CAUGHT = (
    "DO $$ DECLARE f int; BEGIN IF current_setting('h.f') = 'dup' THEN UPDATE t SET v='{v}', n=n+1"
    " WHERE k=1 AND deleted_at IS NULL; GET DIAGNOSTICS f = ROW_COUNT; RAISE NOTICE 'updated=%', f; END IF; END $$"
)
MERGE = (
    "MERGE INTO t USING (VALUES (1,'{v}')) s(k,v) ON t.k=s.k AND t.deleted_at IS NULL"
    " WHEN MATCHED THEN UPDATE SET v=s.v, n=t.n+1 WHEN NOT MATCHED THEN INSERT (k,v,n) VALUES (s.k,s.v,1)"
)
DO_UPDATE = "INSERT INTO t(k,v,n) VALUES (1,'{v}',1) ON CONFLICT (k) DO UPDATE SET v=excluded.v, n=t.n+1"
DO_NOTHING = "INSERT INTO t(k,v,n) VALUES (1,'{v}',1) ON CONFLICT (k) DO NOTHING"
NOT_EXISTS = "INSERT INTO t(k,v,n) SELECT 1,'{v}',1 WHERE NOT EXISTS (SELECT 1 FROM t WHERE k=1 AND deleted_at IS NULL)"
DELETE = "DELETE FROM t WHERE k=1 AND deleted_at IS NULL"
INSERT = "INSERT INTO t(k,v,n) VALUES (1,'{v}',1)"
LOCK_KEY = "SELECT pg_advisory_xact_lock(1)"
LOCK_TABLE = "LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE"

STRATEGIES = {
    strategy.number: strategy
    for strategy in (
        Strategy(1, "SELECT, then INSERT or UPDATE", (("r", READ), ("w", WRITE))),
        Strategy(2, "INSERT ON CONFLICT DO UPDATE", (("u", DO_UPDATE),)),
        Strategy(3, "ON CONFLICT DO NOTHING, then SELECT", (("i", DO_NOTHING), ("r", READ))),
        Strategy(5, "UPDATE, then INSERT if no row", (("u", UPDATE), ("i", INSERT_IF_NONE))),
        Strategy(6, "INSERT in a savepoint, on 23505 UPDATE", (("i", INSERT_OR_CATCH), ("u", UPDATE_IF_CAUGHT))),
        Strategy(8, "an advisory lock, SELECT, INSERT or UPDATE", (("l", LOCK_KEY), ("r", READ), ("w", WRITE))),
        Strategy(9, "LOCK TABLE, SELECT, INSERT or UPDATE", (("l", LOCK_TABLE), ("r", READ), ("w", WRITE))),
        Strategy(10, "MERGE", (("m", MERGE),)),
        Strategy(12, "INSERT SELECT WHERE NOT EXISTS", (("i", NOT_EXISTS),)),
        Strategy(13, "DELETE and INSERT", (("d", DELETE), ("i", INSERT))),
    )
}
