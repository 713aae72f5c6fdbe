"""Points inside a statement at which a session can be held, on a stock server: triggers with a two-key turnstile.

A statement-level BEFORE trigger fires after the statement took its snapshot and before it scans anything, for zero rows
too. It announces itself with INFO (sent at once, whatever client_min_messages says) and then waits for an advisory
lock. One key is not enough: the harness could answer before the backend waits, or the session could run through its
next gate before the harness has locked again. With two keys, of which the harness always holds exactly one, the
trigger finds out which BEFORE it announces, and the release takes the other before it lets go of this one.
"""

from harness.sessions.hub import GATE_KEYS

NOTICE = "harness gate"

_FIRST, _SECOND = GATE_KEYS

FUNCTION = f"""
CREATE SCHEMA harness_gates;
CREATE FUNCTION harness_gates.gate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $gate$
DECLARE
  held int := {_FIRST};
  backend int := pg_backend_pid();
BEGIN
  IF current_setting('harness.gates', true) = 'on' THEN
    IF pg_try_advisory_lock({_FIRST}, backend) THEN
      PERFORM pg_advisory_unlock({_FIRST}, backend);
      held := {_SECOND};
    END IF;
    RAISE INFO '{NOTICE} % % % ON %', held, tg_when, tg_op, tg_relid::regclass;
    PERFORM pg_advisory_lock(held, backend), pg_advisory_unlock(held, backend);
  END IF;
  RETURN NULL;
END $gate$;
GRANT USAGE ON SCHEMA harness_gates TO PUBLIC;"""

# Triggers fire in the order of their names: '!' sorts before whatever the application called its own.
TRIGGER = """
CREATE TRIGGER "!harness_gate" BEFORE INSERT OR UPDATE OR DELETE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION harness_gates.gate();"""


def parse_notice(message: str) -> tuple[int, str] | None:
    """The key that the harness holds and the gate's name, from the text of an INFO; None if it is no gate."""
    if not message.startswith(NOTICE):
        return None
    key, _, name = message.removeprefix(NOTICE).strip().partition(" ")
    return int(key), name
