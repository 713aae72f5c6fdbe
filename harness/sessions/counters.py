"""What the server counted: WAL, transaction ids, sequences, row versions, sizes; read before a block and after it.

WAL and transaction ids are the whole server's: nothing else is to run on it meanwhile. The rest is one database's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from harness.servers.server import Server

# Row versions are counted by the backends that make them, aborted ones included (chapter 27.2, pg_stat_all_tables), and
# reported when they are made to: see `Connections.flush_statistics`. pg_current_snapshot() assigns no transaction id.
_POSITION = """
SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS wal_bytes,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS transaction_ids"""

_REPORTED = """
SELECT (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()) AS deadlocks,
       coalesce(sum(n_tup_ins), 0) AS rows_inserted,
       coalesce(sum(n_tup_upd), 0) AS rows_updated,
       coalesce(sum(n_tup_hot_upd), 0) AS rows_updated_hot,
       coalesce(sum(pg_relation_size(relid)), 0) AS heap_bytes,
       coalesce(sum(pg_indexes_size(relid)), 0) AS index_bytes
  FROM pg_stat_user_tables WHERE relid = ANY(%s::oid[])"""

_TABLES = """
SELECT c.oid, c.oid::regclass::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = c.oid AND e.deptype = 'e')
 ORDER BY c.oid"""

_SEQUENCES = "SELECT c.oid::regclass::text, s.seqstart FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid"

_MARKED = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relid = 'harness_marks.mark'::regclass"


@dataclass(frozen=True, slots=True)
class Reading:
    """Absolute counts; what a block did is the difference of two."""

    came: dict[str, int]  # where the server's counts stood when the reading began
    went: dict[str, int]  # and when it ended: to read may cost a transaction
    counts: dict[str, int]
    rows: int  # visible, of all tables


class Counters:
    """The harness's own connection to a database with tables in it."""

    def __init__(self, server: Server, database: str) -> None:
        self._dsn = server.dsn(database)
        self.connection = psycopg.connect(self._dsn, autocommit=True, application_name="harness counters")
        self._old = self.connection.info.server_version < 150_000
        found = self.connection.execute(_TABLES).fetchall()
        self._oids = [oid for oid, _ in found]
        self.tables = [name for _, name in found]
        self._count = " + ".join(f"(SELECT count(*) FROM {name})" for name in self.tables) or "0"
        sequences = self.connection.execute(_SEQUENCES).fetchall()
        # A sequence that was never asked stands at its first value with is_called = false.
        drawn = [
            f"(SELECT (last_value - {start}) / increment + is_called::int FROM {name}, pg_sequence"
            f" WHERE seqrelid = '{name}'::regclass)".replace("increment", "seqincrement")
            for name, start in sequences
        ]
        self._sequences = " + ".join(drawn) or "0"
        if self._old:
            self.connection.execute("CREATE SCHEMA harness_marks; CREATE TABLE harness_marks.mark (n int)")
            self._marks = 0

    def close(self) -> None:
        self.connection.close()

    def empty(self) -> None:
        """Every table, as if made anew: new files, sequences at their start. Waits for no disk."""
        self.connection.execute("SET synchronous_commit = off")
        if self.tables:
            self.connection.execute(f"TRUNCATE {', '.join(self.tables)} RESTART IDENTITY CASCADE".encode())

    def read(self) -> Reading:
        """Of what was reported: ask sessions to flush before, and see that none is in the middle of something."""
        came = self._row(_POSITION)
        if self._old:
            self._wait_for_the_collector()
        else:
            self.connection.execute("SELECT pg_stat_force_next_flush()")
        counts = self._row(_REPORTED, (self._oids,))
        counts |= self._row(f"SELECT {self._sequences} AS sequence_values, {self._count} AS rows")
        rows = counts.pop("rows")
        return Reading(came, self._row(_POSITION), counts, rows)

    def between(self, before: Reading, after: Reading) -> dict[str, int]:
        """What happened between two readings; every version that was made and cannot be seen any more is dead."""
        told = {name: after.came[name] - count for name, count in before.went.items()}
        told |= {name: after.counts[name] - count for name, count in before.counts.items()}
        made = told["rows_inserted"] + told["rows_updated"]
        return {**told, "dead_tuples": made - (after.rows - before.rows)}

    def _row(self, query: str, parameters: Sequence[object] = ()) -> dict[str, int]:
        cursor = self.connection.execute(query.encode(), parameters)
        (row,) = cursor.fetchall()
        return {column.name: int(value) for column, value in zip(cursor.description or (), row, strict=True)}

    def waiting(self, pids: Sequence[int]) -> int:
        """How many of these backends wait for a heavyweight lock now."""
        row = self.connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s) AND wait_event_type = 'Lock'", (list(pids),)
        ).fetchone()
        return row[0] if row else 0

    def terminate(self, pids: Sequence[int]) -> None:
        self.connection.execute("SELECT pg_terminate_backend(p) FROM unnest(%s::int[]) AS p", (list(pids),))

    def _wait_for_the_collector(self) -> None:
        """Before 15 counts travel to a process of their own, in order: once it knows our mark, it knows all before it.

        The mark is made by a backend that ends, after those that are to be heard have ended.
        """
        while self.connection.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'harness client'"
        ).fetchone():
            pass
        with psycopg.connect(self._dsn, autocommit=True) as marker:
            marker.execute("INSERT INTO harness_marks.mark VALUES (1)")
        self._marks += 1
        while (row := self.connection.execute(_MARKED).fetchone()) is None or row[0] < self._marks:
            self.connection.execute("SELECT pg_stat_clear_snapshot()")
