"""One database, its tables and its connections: where trials run, one after the other, each from the same start."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from select import select
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import ConnStatus

from harness.model.cell import Isolation
from harness.model.schedule import Gates
from harness.servers.server import Server, one_line
from harness.sessions.connection import GatedConnection
from harness.sessions.control import Control, ControlLost, Result, SqlRefused
from harness.sessions.gates import GATE_KEYS, Installed, install, parse_notice
from harness.sessions.pool import SessionPool
from harness.sessions.session import Session

_TRUNCATE_EVERY = 1000  # DELETE leaves dead rows behind: 1.3 us a reset more after each thousand


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: int  # oid
    generated: bool  # the server makes the value: identity, serial, gen_random_uuid()


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table of the scenario as the server describes it."""

    oid: int
    name: str  # schema-qualified where it is not public; quoted where needed
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What stands in the tables after a trial, as text; and what identities and invariants say of it."""

    tables: tuple[Result, ...]
    queries: tuple[Result, ...]
    started: str  # clock_timestamp() when the tables were last made ready


class ResetFailed(RuntimeError):
    """The tables could not be emptied between two trials: nothing after it could be believed."""


_CATALOGUE = """
SELECT c.oid, c.oid::regclass, a.attname, a.atttypid,
       a.attidentity <> ''
       OR coalesce(pg_get_expr(d.adbin, d.adrelid), '') ~ '(nextval|gen_random_uuid|uuid_generate|uuidv[47])\\('
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'harness_gates')
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = c.oid AND e.deptype = 'e')
 ORDER BY c.oid, a.attnum"""

_SEQUENCES = """
SELECT c.oid::regclass::text, s.seqmax
  FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid ORDER BY c.oid"""


_TIME = re.compile(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(\+00:00)?"')  # as JSON has it; literals have no microseconds


def _long_ago(rows: Sequence[str], started: str) -> dict[str, str]:
    """For each time that was made while the tables were filled, one of 2001; others lose what is below a second."""
    made = {time[0] for text in rows for time in _TIME.finditer(text)}
    moments = {time: datetime.fromisoformat(time.strip('"')).replace(tzinfo=UTC) for time in made}
    began = datetime.fromisoformat(started)
    ticks = {moment: timedelta(seconds=tick) for tick, moment in enumerate(sorted(set(moments.values())))}
    told = {}
    for time, moment in moments.items():
        near = abs((moment - began).total_seconds()) < 60
        other = datetime(2001, 1, 1) + ticks[moment] if near else moment.replace(microsecond=0)
        told[time] = f'"{other:%Y-%m-%dT%H:%M:%S}{"+00:00" if "+" in time else ""}"'
    return told


class Arena:
    """A database of our own with a scenario's tables in one layout, and everything that a trial needs there."""

    def __init__(
        self,
        server: Server,
        database: str,
        ddl: Sequence[str],
        *,
        queries: Sequence[str] = (),  # run after every trial: identities, invariants
        observe: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        cpu: int | None = None,
    ) -> None:
        self.server, self.database, self.cpu = server, database, cpu
        self._settings = dict(settings or {})
        self.control = Control(server, database)
        self._pin(self.control.pid)
        self._connections: dict[tuple[bool, bool], list[GatedConnection]] = {}
        self.owners: dict[int, Session] = {}
        self._isolation = Isolation.READ_COMMITTED
        self._lent: dict[tuple[bool, bool], int] = {}
        self._touched: set[GatedConnection] = set()
        self.gated = False  # whether gates hold sessions in the next trial
        self.gates = Installed(Gates.NONE)
        self.truncates = False  # between all trials, for code that sees where rows lie on the heap
        self.seeds: dict[object, bytes] = {}  # start states already written out, for whoever runs contests here
        self._scribe: psycopg.Connection[Any] | None = None
        try:
            for statement in ddl:
                self.control.run(statement)
            self._learn(queries, observe or {})
        except BaseException:
            self.control.close()
            raise

    # ---- tables ---------------------------------------------------------------------------------------------------

    def _learn(self, queries: Sequence[str], observe: Mapping[str, str]) -> None:
        columns: dict[tuple[int, str], list[Column]] = {}
        for oid, table, name, type_, generated in self.control.run(_CATALOGUE)[0]:
            columns.setdefault((int(oid or 0), table or ""), []).append(
                Column(name or "", int(type_ or 0), generated == "t")
            )
        self.tables = tuple(TableFacts(oid, name, tuple(cols)) for (oid, name), cols in columns.items())
        reads = [observe.get(t.name, f"SELECT * FROM {t.name}") for t in self.tables]
        reads += queries
        # Counted on the heap: a damaged index must not hide a duplicate.
        self.control.run(
            "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; SET jit = off"
        )
        self._read = ";".join(reads).encode()
        names = ", ".join(t.name for t in self.tables)
        sequences = self.control.run(_SEQUENCES)[0]
        # Generated numbers start where no argument does, so that an id in an answer is known for one.
        self.sequence_bases = tuple(
            (1_000_000 if int(top or 0) > 100_000_000 else 10_000) * (i + 1) + 1 for i, (_, top) in enumerate(sequences)
        )
        setvals = "".join(
            f", setval('{name}', {base}, false)" for (name, _), base in zip(sequences, self.sequence_bases, strict=True)
        )
        # Emptiness is read back; the time comes last, for a start state's own times are not the trial's.
        left_over = " + ".join(f"(SELECT count(*) FROM {t.name})" for t in self.tables) or "0"
        self._check_empty = f"SELECT {left_over}{setvals}".encode()
        self._truncate = f"TRUNCATE {names}".encode() if names else b"SELECT"
        self._delete = self._fast_reset() if names else self._truncate
        self._query_count = len(queries)
        self._seed: bytes | None = None
        self._since_truncate = 0
        self._started = ""

    def _fast_reset(self) -> bytes:
        """DELETE is ten times faster than TRUNCATE, if nothing fires; foreign keys are triggers, too."""
        deletes = ";".join(f"DELETE FROM {t.name}" for t in self.tables)
        oids = ", ".join(str(t.oid) for t in self.tables)
        if self.control.run(f"SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid IN ({oids}))")[0][0][0] == "f":
            return deletes.encode()
        if not self.server.superuser:
            return self._truncate
        role = "SET session_replication_role = "
        return f"{role}replica;{deletes};{role}origin".encode()

    def prepare(self, seed: bytes, *, truncate: bool = False) -> None:
        """Make the tables ready: empty, sequences at their start, then the statements of `seed`."""
        truncate = truncate or (self.truncates and self._since_truncate > 0)
        if self._seed != seed or truncate:
            truncate = truncate or self.truncates or self._seed is None
            self._seed = None
            self._ready(self.control.run_raw(self._made_ready(seed, truncate=truncate)))
            self._seed = seed
            if truncate:
                self._since_truncate = 0

    def finish(self) -> Reading:
        """Read what the trial left, and make the tables ready for the next one, in one round trip."""
        if self._seed is None:
            raise ResetFailed("finish() without prepare()")
        self._put_back()
        self._since_truncate += 1
        truncate = self.truncates or self._since_truncate >= _TRUNCATE_EVERY
        if truncate:
            self._since_truncate = 0
        started = self._started
        count = len(self.tables)
        results = self.control.run_raw(self._read + b";" + self._made_ready(self._seed, truncate=truncate))
        reads = self._reads
        self._ready(results[reads:])
        return Reading(tuple(results[:count]), tuple(results[count:reads]), started)

    def freeze(self) -> bytes:
        """What stands in the tables now, as statements: a start state made by running operations, to be made again.

        Sequences go on from where they are. Times become times long ago, in the same order: those of a start state must
        not look like the trial's, nor move away from it trial by trial.
        """
        as_json = "SELECT coalesce(json_agg(t), '[]') FROM {} t"
        read = [self.control.run(as_json.format(table.name))[0][0][0] or "" for table in self.tables]
        long_ago = _long_ago(read, self._started)
        statements = []
        for table, rows in zip(self.tables, read, strict=True):
            frozen = sql.Literal(_TIME.sub(lambda time: long_ago.get(time[0], time[0]), rows)).as_string(None)
            made_of = f"SELECT * FROM json_populate_recordset(NULL::{table.name}, {frozen})"
            statements.append(f"INSERT INTO {table.name} OVERRIDING SYSTEM VALUE {made_of}")
        for sequence, _ in self.control.run(_SEQUENCES)[0]:
            last, called = self.control.run(f"SELECT last_value, is_called FROM {sequence}")[0][0]
            statements.append(f"SELECT setval('{sequence}', {last}, '{called}')")
        return ";".join(statements).encode()

    def look(self) -> Reading:
        """Read what stands in the tables, and leave it."""
        results = self.control.run_raw(self._read)
        count = len(self.tables)
        return Reading(tuple(results[:count]), tuple(results[count:]), self._started)

    def discard(self) -> None:
        """The trial was given up: nothing of it is read."""
        self._put_back()
        if self._seed is not None:
            self._ready(self.control.run_raw(self._made_ready(self._seed, truncate=self.truncates)))

    @property
    def started(self) -> str:
        """clock_timestamp() when the tables were last made ready."""
        return self._started

    @property
    def _reads(self) -> int:
        return len(self.tables) + self._query_count

    def _made_ready(self, seed: bytes, *, truncate: bool) -> bytes:
        """Empty the tables, put the sequences back, make the start state: one message, with few statements."""
        emptied = (self._truncate if truncate else self._delete) + b";" + self._check_empty
        return emptied + (b";" + seed + b";SELECT" if seed else b",") + b" clock_timestamp()"

    def _ready(self, results: list[Result]) -> None:
        rows = [result for result in results if result and result[0]]
        left_over = rows[0][0][0]
        if left_over != "0":
            raise ResetFailed(
                f"{left_over} rows are left after the tables were emptied: a trigger or a rule keeps them"
            )
        self._started = rows[-1][0][-1] or ""

    # ---- connections ----------------------------------------------------------------------------------------------

    def begin(self, isolation: Isolation, *, aged: bool = False) -> None:
        """Before each trial: connections are handed out anew, at this isolation level."""
        self._isolation, self._aged = isolation, aged
        self._lent.clear()
        self.owners.clear()

    def lend(self, session: Session | None, *, autocommit: bool = True) -> GatedConnection:
        """The next connection of this trial; the same trial gets the same ones in the same order."""
        key = (self._aged, autocommit)
        position = self._lent.get(key, 0)
        self._lent[key] = position + 1
        kept = self._connections.setdefault(key, [])
        if position >= len(kept):
            kept.append(self._connect(*key))
        connection = kept[position]
        if connection.closed or select([connection.pgconn.socket], (), (), 0)[0]:
            # Nobody asked it anything: if it has something to say, it says that its backend was ended.
            connection.close()
            connection = kept[position] = self._connect(*key)
        if connection.at is not self._isolation:
            self._plainly(connection, f"SET default_transaction_isolation = '{self._isolation.sql}'")
            connection.at = self._isolation
        if connection.gated is not self.gated:
            self._plainly(connection, f"SET harness.gates = '{'on' if self.gated else 'off'}'")
            if self.gated and not connection.turnstile:
                self.control.run(f"SELECT pg_advisory_lock({GATE_KEYS[0]}, {connection.pid})")
                connection.turnstile = True
            connection.gated = self.gated
        connection.owners = self.owners
        self._touched.add(connection)
        if session is not None:
            self.owners[connection.pid] = session
        return connection

    def pool(self, *, autocommit: bool = True, max_size: int = 4) -> SessionPool:
        return SessionPool(lambda session: self.lend(session, autocommit=autocommit), max_size=max_size)

    def _plainly(self, connection: GatedConnection, statement: str) -> None:
        """Send a statement of ours on a session's connection, past the gate."""
        result = connection.pgconn.exec_(statement.encode())
        if connection.pgconn.status != ConnStatus.OK:
            raise ControlLost(one_line(connection.pgconn.get_error_message()))
        if result.error_message:
            raise SqlRefused(result.error_message.decode().strip(), "")

    def _connect(self, aged: bool, autocommit: bool) -> GatedConnection:
        settings = {"timezone": "UTC", "synchronous_commit": "off", **self._settings}  # nothing here has to last
        if aged:
            settings["plan_cache_mode"] = "force_generic_plan"
        # As start-up options they survive DISCARD ALL; a space in a value would begin the next option.
        options = " ".join(
            "-c {}={}".format(name, re.sub(r"([\\\\ ])", r"\\\1", value)) for name, value in settings.items()
        )
        connection: GatedConnection = GatedConnection.connect(
            self.server.dsn(self.database),
            autocommit=autocommit,
            options=options,
            application_name="harness session",
            # fresh: planned for each execution; aged: prepared at the first, with a generic plan
            prepare_threshold=0 if aged else None,
        )
        connection.guard()
        connection.at = Isolation.READ_COMMITTED
        connection.autocommit_at_start = autocommit
        connection.threshold = connection.prepare_threshold
        connection.add_notice_handler(lambda diagnostic: _on_notice(connection, diagnostic))
        self._pin(connection.pid)
        self._plainly(connection, "SET default_transaction_isolation = 'read committed'")
        return connection

    def _put_back(self) -> None:
        """After a trial: what the code under test changed on its connections must not reach the next."""
        for connection in self._touched:
            try:
                self._clean(connection)
            except (SqlRefused, ControlLost):  # its backend was ended; the next trial gets another
                connection.close()
        self._touched.clear()

    def _clean(self, connection: GatedConnection) -> None:
        if connection.closed:
            return
        if connection.pgconn.pipeline_status:  # the trial was given up inside a pipeline
            connection.close()
            return
        if connection.pgconn.transaction_status != 0:
            # The operation left its transaction open; a client that goes away rolls back.
            self._plainly(connection, "ROLLBACK")
        if connection.traces and connection.threshold is not None:
            connection.close()  # psycopg would not know that DISCARD ALL dropped its prepared statements
            return
        if connection.traces:
            self._plainly(connection, "DISCARD ALL")
            self._plainly(connection, f"SET default_transaction_isolation = '{connection.at.sql}'")
            if connection.gated:
                self._plainly(connection, "SET harness.gates = 'on'")
            connection.traces = False
        connection.restore()

    def install_gates(self, gates: Gates = Gates.USUAL) -> None:
        """Put gates inside the statements that write the scenario's tables; a setting closes and opens them."""
        if self.gates.gates is gates:
            return
        if self.gates.gates:
            raise ValueError(f"gates={gates.name}: this database has {self.gates.gates.name} already")
        self.gates = install(self.control, self.tables, gates)
        self._delete = self._fast_reset()

    def _pin(self, pid: int) -> None:
        """Client and backend on one CPU: round trips take 11 us instead of 50, and vary less."""
        if self.cpu is not None and self.server.local:
            with suppress(OSError):
                os.sched_setaffinity(pid, {self.cpu})

    @contextmanager
    def gates_open(self, gated: bool) -> Iterator[None]:
        """Within the block gates hold sessions, or do not, whatever holds around it."""
        before, self.gated = self.gated, gated
        try:
            yield
        finally:
            self.gated = before

    @contextmanager
    def spread_out(self) -> Iterator[None]:
        """Within the block the backends of sessions are on different CPUs, so that they really run at once."""
        if self.cpu is None or not self.server.local:
            yield
            return
        backends = [connection.pid for kept in self._connections.values() for connection in kept]
        count = os.cpu_count() or 1
        try:
            for position, pid in enumerate(backends):
                with suppress(OSError):
                    os.sched_setaffinity(pid, {(self.cpu + 1 + position) % count})
            yield
        finally:
            for pid in backends:
                self._pin(pid)

    @property
    def scribe(self) -> psycopg.Connection[Any]:
        """A connection that writes parameters into statements, and sends nothing."""
        if self._scribe is None or self._scribe.closed:
            self._scribe = psycopg.connect(self.server.dsn(self.database), autocommit=True)
        return self._scribe

    def close(self) -> None:
        if self._scribe is not None:
            self._scribe.close()
        for connections in self._connections.values():
            for connection in connections:
                with suppress(psycopg.Error):
                    connection.close()
        self.control.close()


def _on_notice(connection: GatedConnection, diagnostic: Any) -> None:
    gate = parse_notice(diagnostic.message_primary or "")
    if gate is None:
        return
    session = connection.owners.get(connection.pid)
    if session is not None:
        session.gate_key, session.gate = gate


def seed_bytes(connection: psycopg.Connection[Any], statements: Iterable[tuple[str, Mapping[str, object]]]) -> bytes:
    """State statements with their parameters bound, as one message."""
    cursor = psycopg.ClientCursor(connection)
    return b";".join(cursor.mogrify(query, parameters).encode() for query, parameters in statements)


def quoted(*names: str) -> str:
    return sql.Identifier(*names).as_string(None)
