"""Points inside a statement at which a session can be held, on a stock server: triggers with a two-key turnstile.

A gate announces itself with INFO (sent at once, whatever client_min_messages says) and then waits for an advisory
lock. One key is not enough: the harness could answer before the backend waits, or the session could run through its
next gate before the harness has locked again. With two keys, of which the harness always holds exactly one, the gate
finds out which BEFORE it announces, and the release takes the other before it lets go of this one.

Where gates stand:
- statement-level BEFORE triggers: after the statement took its snapshot, before it scans anything, for zero rows too;
- row-level BEFORE triggers, from the second row of a statement on: what was done to the first is not yet visible;
- AFTER triggers: everything is written, foreign keys are not yet checked, nothing is committed;
- an index whose expression is a gate, older than every other index: ExecInsertIndexTuples (execIndexing.c) goes through
  a table's indexes by oid, so a row is held here after ON CONFLICT has probed and before any unique index has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from harness.model.schedule import Gates
from harness.sessions.control import Control, SqlRefused

if TYPE_CHECKING:
    from harness.sessions.arena import TableFacts

NOTICE = "harness gate"
ROW = "BEFORE ROW"
INDEX = "BEFORE THE INDEXES"  # of a row that is about to be inserted into them

GATE_KEYS = _FIRST, _SECOND = (1163416881, 1163416882)
"""First halves of the two advisory keys of the turnstile; the second half is the backend's pid."""

_ROWS_MAX = 2  # of one statement before which it is held, the first apart: each gate multiplies the orders

_ANNOUNCES = f"""DECLARE
  held int := {_FIRST};
  backend int := pg_backend_pid();
BEGIN
  IF pg_try_advisory_lock({_FIRST}, backend) THEN
    PERFORM pg_advisory_unlock({_FIRST}, backend);
    held := {_SECOND};
  END IF;
  RAISE INFO '{NOTICE} % %', held, place;
  PERFORM pg_advisory_lock(held, backend), pg_advisory_unlock(held, backend);
END"""

_PLPGSQL = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS"
_ON = "current_setting('harness.gates', true) = 'on'"


def functions(waits: str = _ANNOUNCES, *, called_in: str | None = None) -> str:
    """What gates call. `waits` is the body of the one that all end in: how a session stands at a place.

    Of the others only those that the SQL `called_in` speaks of, if that is told.
    """
    places = [text for name, text in _PLACES.items() if called_in is None or f"harness_gates.{name}(" in called_in]
    return f"""
CREATE SCHEMA harness_gates;
CREATE FUNCTION harness_gates.wait(place text) RETURNS void {_PLPGSQL} $gate$
{waits} $gate$;
{"".join(places)}
GRANT USAGE ON SCHEMA harness_gates TO PUBLIC;"""


_PLACES = {
    "statement": f"""
CREATE FUNCTION harness_gates.statement() RETURNS trigger {_PLPGSQL} $gate$
BEGIN
  IF {_ON} THEN
    PERFORM set_config('harness.rows_' || tg_op, '0', false),
            harness_gates.wait(format('%s %s ON %s', tg_when, tg_op, tg_relid::regclass));
  END IF;
  RETURN NULL;
END $gate$;
""",
    "row": f"""
CREATE FUNCTION harness_gates.row() RETURNS trigger {_PLPGSQL} $gate$
DECLARE
  n int;
BEGIN
  IF {_ON} THEN
    n := coalesce(nullif(current_setting('harness.rows_' || tg_op, true), ''), '0');
    PERFORM set_config('harness.rows_' || tg_op, (n + 1)::text, false), set_config('harness.row', tg_op, false);
    IF n BETWEEN 1 AND {_ROWS_MAX} THEN
      PERFORM harness_gates.wait(format('{ROW} %s OF %s ON %s', n + 1, tg_op, tg_relid::regclass));
    END IF;
  END IF;
  IF tg_op = 'DELETE' THEN
    RETURN old;
  END IF;
  RETURN new;
END $gate$;
""",
    "after_row": f"""
CREATE FUNCTION harness_gates.after_row() RETURNS trigger {_PLPGSQL} $gate$
BEGIN
  IF {_ON} THEN
    PERFORM harness_gates.wait(format('AFTER ROW %s ON %s', tg_op, tg_relid::regclass));
  END IF;
  RETURN NULL;
END $gate$;
""",
    "before_the_indexes": f"""
-- Not IMMUTABLE in truth: its value is, and what else it does is the point. Rows that are updated pass it, too, but
-- only if their page has no room for a HOT update: that depends on the heap's past, so they are not held.
CREATE FUNCTION harness_gates.before_the_indexes(int, place text) RETURNS int IMMUTABLE {_PLPGSQL} $gate$
BEGIN
  IF {_ON} AND current_setting('harness.row', true) = 'INSERT' THEN
    PERFORM harness_gates.wait('{INDEX} ON ' || place);
  END IF;
  RETURN 0;
END $gate$;
""",
}

# Triggers fire in the order of their names: '!' sorts before whatever the application called its own, and before the
# triggers of foreign keys.
_BEFORE = """
CREATE TRIGGER "!harness_gate" BEFORE INSERT OR UPDATE OR DELETE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION harness_gates.statement();
CREATE TRIGGER "!harness_gate_of_rows" BEFORE INSERT OR UPDATE OR DELETE ON {table}
FOR EACH ROW EXECUTE FUNCTION harness_gates.row();"""
_AFTER = """
CREATE TRIGGER "!harness_gate_after" AFTER INSERT OR UPDATE OR DELETE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION harness_gates.statement();"""
_AFTER_ROWS = """
CREATE TRIGGER "!harness_gate_after_rows" AFTER INSERT OR UPDATE OR DELETE ON {table}
FOR EACH ROW EXECUTE FUNCTION harness_gates.after_row();"""

_FIRES_AFTER_ROWS = (
    "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = {oid} AND tgtype & 1 = 1 AND tgtype & 66 = 0)"
)

# Unique indexes a client can be refused by: not those over nothing but numbers that the server draws.
_UNIQUE = """
SELECT count(*) FILTER (
         WHERE (i.indisunique OR i.indisexclusion)
           AND (i.indexprs IS NOT NULL
                OR EXISTS (SELECT FROM pg_attribute a
                            WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
                              AND a.attname <> ALL ({drawn})))),
       bool_or(i.indisreplident), c.relkind
  FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid
 WHERE c.oid = {oid} GROUP BY c.relkind"""
_INDEXES = """
SELECT i.indexrelid::regclass, pg_get_indexdef(i.indexrelid), quote_ident(k.conname), pg_get_constraintdef(k.oid)
  FROM pg_index i
  LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype <> 'f'
 WHERE i.indrelid = {oid} ORDER BY i.indexrelid"""
_POINTING_HERE = """
SELECT conrelid::regclass, quote_ident(conname), pg_get_constraintdef(oid)
  FROM pg_constraint WHERE confrelid = {oid} AND contype = 'f' AND conparentid = 0 ORDER BY oid"""
_IS_OLDEST = """
SELECT min(indexrelid) = 'harness_gates_of_{oid}'::regclass FROM pg_index WHERE indrelid = {oid}"""


@dataclass(frozen=True, slots=True)
class Installed:
    """Which gates stand where; `missing` says for which tables one could not be built, and why."""

    gates: Gates
    missing: tuple[str, ...] = ()
    made: tuple["Made", ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """What was done to put gates on one table, in the order in which it was done."""

    table: str
    statements: tuple[str, ...]
    indexes: bool  # rebuilt, so that there is a gate before them; else there are triggers


def install(control: Control, tables: Sequence["TableFacts"], gates: Gates) -> Installed:
    """Put gates on the tables of a database of our own; a setting of the session closes and opens them."""
    after = gates is Gates.ALL
    control.run(functions())
    missing, made = [], []
    for table in tables:
        with_rows = after and _one(control, _FIRES_AFTER_ROWS.format(oid=table.oid)) == "t"
        statements = _BEFORE + (_AFTER if after else "") + (_AFTER_ROWS if with_rows else "")
        control.run(triggers := statements.format(table=table.name))
        made.append(Made(table.name, (triggers.strip(),), indexes=False))
        rebuilt = _install_before_the_indexes(control, table)
        if isinstance(rebuilt, str):
            missing.append(f"{table.name}: {rebuilt}")
        elif rebuilt:
            made.append(Made(table.name, tuple(rebuilt), indexes=True))
    return Installed(gates, tuple(missing), tuple(made))


def _install_before_the_indexes(control: Control, table: "TableFacts") -> list[str] | str:
    """An index that is older than every other one, which have to be made anew: what was done for it, if it is of use;
    why not, where it is not possible.

    Only where there are two unique ones: an ON CONFLICT that loses the race for its arbiter probes again, and one that
    loses it for another index fails.
    """
    drawn = sql.Literal([column.name for column in table.columns if column.generated]).as_string(None)
    ((unique, replicates, kind),) = control.run(_UNIQUE.format(drawn=f"{drawn}::name[]", oid=table.oid))[0]
    if int(unique or 0) < 2:
        return []
    if kind == "p":
        return "the indexes of a partitioned table are not rebuilt"
    if replicates == "t":
        return "one of its indexes is its replica identity"
    (indexes,), (pointing,) = (control.run(query.format(oid=table.oid)) for query in (_INDEXES, _POINTING_HERE))
    column = sql.Identifier(table.columns[0].name).as_string(None)  # an expression without one would be a constant
    place = sql.Literal(table.name if "." in table.name else f"public.{table.name}").as_string(None)
    drop = [f"ALTER TABLE {there} DROP CONSTRAINT {name}" for there, name, _ in pointing]
    drop += [
        f"ALTER TABLE {table.name} DROP CONSTRAINT {constraint}" if constraint else f"DROP INDEX {index}"
        for index, _, constraint, _ in indexes
    ]
    make = [
        f"CREATE INDEX harness_gates_of_{table.oid} ON {table.name}"
        f" (harness_gates.before_the_indexes(num_nulls({column}), {place}))"
    ]
    make += [
        f"ALTER TABLE {table.name} ADD CONSTRAINT {constraint} {definition}" if constraint else str(made)
        for _, made, constraint, definition in indexes
    ]
    make += [f"ALTER TABLE {there} ADD CONSTRAINT {name} {definition}" for there, name, definition in pointing]
    try:
        control.run(";".join(["BEGIN", *drop, *make, "COMMIT"]))
    except SqlRefused as refused:
        control.run("ROLLBACK")
        return f"its indexes cannot be rebuilt: {refused}"
    if _one(control, _IS_OLDEST.format(oid=table.oid)) != "t":
        return "its indexes were not rebuilt in order"
    return [*drop, *make]


def _one(control: Control, query: str) -> str | None:
    return control.run(query)[0][0][0]


def parse_notice(message: str) -> tuple[int, str] | None:
    """The key that the harness holds and the gate's name, from the text of an INFO; None if it is no gate."""
    if not message.startswith(NOTICE):
        return None
    key, _, name = message.removeprefix(NOTICE).strip().partition(" ")
    return int(key), name
