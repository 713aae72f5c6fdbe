"""A schedule replayed once to be written down: every command, the tables before and after, and what was to be seen."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from harness.campaign.again import run_again, violation_of
from harness.campaign.job import ddl_of
from harness.campaign.judge import Judge
from harness.campaign.replay import ReplayError, opened
from harness.model.outcome import Outcome, Row, Table
from harness.model.schedule import Schedule
from harness.model.trace import Trace
from harness.model.verdict import Finding, Violation
from harness.runners.scribe import Scribe, TellingRecorder
from harness.runners.script import Script
from harness.schedulers.protocol import Departure
from harness.servers.server import Server
from harness.sessions.arena import Arena
from harness.sessions.gates import Made
from harness.sessions.steering import OutOfTime, Uncontrolled


@dataclass(frozen=True, slots=True)
class Check:
    """A question to be asked when all is over, and what the answer was."""

    about: str  # "student_course_purchases", "more than one live row"
    query: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]  # text, as the server prints it; None is NULL


@dataclass(frozen=True, slots=True)
class Recorded:
    """All that an export is made of."""

    schedule: Schedule
    version: str  # of the server: "18.4"
    script: Script
    trace: Trace
    outcome: Outcome
    allowed: tuple[Outcome, ...]
    violation: Violation | None  # None: nothing is wrong with it
    tables: tuple[str, ...]  # SQL that makes tables and layout in an empty database
    start: tuple[str, ...]  # SQL that makes the start state
    gates: tuple[Made, ...]
    settings: Mapping[str, str]  # of the sessions, besides their isolation level
    drops: tuple[str, ...]  # SQL that takes away what `tables` made
    checks: tuple[Check, ...]

    @property
    def finding(self) -> Finding | None:
        """As reports want it; None where nothing is wrong."""
        if self.violation is None:
            return None
        schedule = self.schedule
        return Finding(
            self.violation, schedule.contest, schedule, self.trace, self.outcome, self.allowed, replayed=1, replays=1
        )


def record(schedule: Schedule, server: Server, *, source: str | None = None) -> Recorded:
    """Replay the schedule once, from truncated tables.

    Raises ReplayError where it cannot be replayed or the code now goes another way, Unwritable where a session sends
    what is no SQL command, ScenarioError as `replay` does.
    """
    with opened(schedule, server, source=source) as judge:
        explorer, contest = judge.explorer, schedule.contest
        start = _start(explorer.arena)
        # The trial begins with what the export will begin with: the same ids, the same times.
        explorer.arena.seeds[contest] = ";".join(start).encode()
        explorer.start(contest)
        scribe = Scribe(contest, "\n".join(start), schedule.aged, schedule.fault)
        try:
            again = run_again(schedule, judge, recorder=TellingRecorder(scribe), tracker=scribe)
        except (Departure, Uncontrolled, OutOfTime) as departure:
            raise ReplayError(f"the code no longer goes the way of this line: {departure}") from departure
        finally:
            scribe.close()
        outcome = again.outcome
        violation = violation_of(schedule, judge, again)
        scenario = explorer.scenario
        return Recorded(
            schedule=schedule,
            version=server.version,
            script=scribe.script,
            trace=again.recorder.trace,
            outcome=outcome,
            allowed=judge.allowed(contest, outcome, again.before, again.trial, schedule.fault) if violation else (),
            violation=violation,
            tables=tuple(ddl_of(scenario, schedule.cell.layout)),
            start=start,
            gates=explorer.arena.gates.made,
            settings=scenario.settings,
            drops=_drops(explorer.arena),
            checks=tuple(_checks(judge, outcome, violation)),
        )


# Before.


_INSERTABLE = """
SELECT quote_ident(attname), attidentity = 'a' FROM pg_attribute
 WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"""
_SEQUENCES = "SELECT c.oid::regclass FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid ORDER BY c.oid"


def _start(arena: Arena) -> tuple[str, ...]:
    """What stands in the tables now, as statements that put it there, with every value written out."""
    statements = []
    for table in arena.tables:
        columns = arena.control.run(_INSERTABLE.format(oid=table.oid))[0]
        names = [name or "" for name, _ in columns]
        values = ", ".join(f"quote_nullable({name}::text)" for name in names)
        (rows,) = arena.control.run(f"SELECT {values or 'NULL'} FROM {table.name} ORDER BY ctid")
        if rows and names:
            overriding = " OVERRIDING SYSTEM VALUE" if any(always == "t" for _, always in columns) else ""
            written = ",\n       ".join(f"({', '.join(value or 'NULL' for value in row)})" for row in rows)
            statements.append(f"INSERT INTO {table.name} ({', '.join(names)}){overriding}\nVALUES {written}")
    for (name,) in arena.control.run(_SEQUENCES)[0]:
        ((last, called),) = arena.control.run(f"SELECT last_value, is_called FROM {name}")[0]
        statements.append(f"SELECT setval({_literal(name or '')}, {last}, {'true' if called == 't' else 'false'})")
    return tuple(statements)


_OURS = """
    NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = o.oid AND e.deptype IN ('e', 'i'))
    AND o.oid >= 16384"""  # FirstNormalObjectId (access/transam.h): what initdb made is below
_DROPS = f"""
SELECT 0, 'DROP SCHEMA ' || quote_ident(nspname) || ' CASCADE' FROM pg_namespace o
 WHERE {_OURS} AND nspname !~ '^pg_' AND nspname <> 'harness_gates'
UNION ALL
SELECT 1, 'DROP ' || CASE relkind WHEN 'v' THEN 'VIEW ' WHEN 'm' THEN 'MATERIALIZED VIEW ' WHEN 'S' THEN 'SEQUENCE '
       ELSE 'TABLE ' END || 'IF EXISTS ' || o.oid::regclass || ' CASCADE' FROM pg_class o
 WHERE {_OURS} AND relkind IN ('r', 'p', 'v', 'm', 'S') AND relnamespace = 'public'::regnamespace
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = o.oid AND e.deptype = 'a')
UNION ALL
SELECT 2, 'DROP ' || CASE prokind WHEN 'p' THEN 'PROCEDURE ' WHEN 'a' THEN 'AGGREGATE ' ELSE 'FUNCTION ' END
       || 'IF EXISTS ' || o.oid::regprocedure || ' CASCADE' FROM pg_proc o
 WHERE {_OURS} AND pronamespace = 'public'::regnamespace
UNION ALL
SELECT 3, 'DROP TYPE IF EXISTS ' || o.oid::regtype || ' CASCADE' FROM pg_type o
 WHERE {_OURS} AND typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd', 'r')
UNION ALL
SELECT 4, 'DROP EXTENSION ' || quote_ident(extname) || ' CASCADE' FROM pg_extension o WHERE o.oid >= 16384
ORDER BY 1, 2"""


def _drops(arena: Arena) -> tuple[str, ...]:
    return tuple(statement or "" for _, statement in arena.control.run(_DROPS)[0])


def _literal(text: str) -> str:
    return sql.Literal(text).as_string(None)


# After.


def _checks(judge: Judge, outcome: Outcome, violation: Violation | None) -> list[Check]:
    explorer = judge.explorer
    scenario, seen = explorer.scenario, explorer.find(outcome)
    checks = []
    if violation is not None and violation.kind == "duplicate" and seen is not None:
        for identity, counted in zip(scenario.identity, seen.live.values(), strict=True):
            twice = [(*key, str(count)) for key, count in counted.items() if count > 1]
            key = ", ".join(identity.by)
            numbers = ", ".join(str(number + 1) for number in range(len(identity.by)))
            live = f" WHERE {identity.live}" if identity.live else ""
            query = f"SELECT {key}, count(*) FROM {identity.table}{live} GROUP BY {numbers} HAVING count(*) > 1"
            if twice:
                checks.append(Check("more than one live row", query, (*identity.by, "count"), tuple(twice)))
    if violation is not None and violation.kind == "invariant" and seen is not None:
        checks += [
            Check(f"rows that break the invariant {name}", scenario.invariants[name], (), ()) for name, _ in seen.broken
        ]
    observe = scenario.observe or {}
    checks += [_rows(table, observe.get(table.name)) for table in outcome.rows]
    return checks


_MADE_UP = re.compile(r"\w+#\d+|gone|<now[^>]+>")  # what the server made, and times that were computed from now()
_NOW = "<now>"


def _rows(table: Table, observed: str | None) -> Check:
    """The rows without what will be another value the next time."""
    kept = [
        place
        for place in range(len(table.columns))
        if not any(isinstance(row[place], str) and _MADE_UP.fullmatch(str(row[place])) for row in table.rows)
    ]
    source = f"({observed.strip().rstrip(';')}) AS observed" if observed else table.name
    names = [table.columns[place] for place in kept]
    rows = tuple(tuple(row[place] for place in kept) for row in table.rows)
    if not kept:
        return Check(f"rows of {table.name}", f"SELECT count(*) FROM {source}", ("count",), ((str(len(rows)),),))
    listed = ", ".join(_told(name, any(row[at] == _NOW for row in rows)) for at, name in enumerate(names))
    order = ", ".join(str(number + 1) for number in range(len(names)))
    return Check(table.name, f"SELECT {listed} FROM {source} ORDER BY {order}", tuple(names), _sorted(rows))


def _told(column: str, now: bool) -> str:
    name = sql.Identifier(column).as_string(None) if not re.fullmatch(r"[a-z_][a-z0-9_]*", column) else column
    if not now:
        return name
    return f"CASE WHEN {name} > now() - interval '1 hour' THEN '{_NOW}' ELSE {name}::text END AS {name}"


def _sorted(rows: Sequence[Row]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=lambda row: [(value is None, str(value)) for value in row]))
