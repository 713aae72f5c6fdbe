"""What a step touches, learnt from the locks that the server took for it, and which steps depend on each other.

Locks see through views, functions, triggers and foreign keys, where a reader of SQL would not. What they do not show
is not guessed: a statement never seen to its end, DDL, a function that may hide its locks conflict with everything.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus

from harness.model.cell import Isolation
from harness.sessions.connection import GatedConnection
from harness.sessions.control import Control
from harness.sessions.gates import GATE_KEYS
from harness.sessions.session import Session, State
from harness.sessions.statement import Kind, Statement

Relations = frozenset[int]
NONE: Relations = frozenset()

ADVISORY, CLOCK = -1, -2
"""Not relations, but shared like one. All advisory locks are one; the clock is what `now()` shows."""


class Access(NamedTuple):
    """What one statement touches, by oid of the table."""

    reads: Relations = NONE
    writes: Relations = NONE  # or locks against writers
    published: Relations = NONE  # seen by others before the transaction ends, or kept from their readers

    def __or__(self, other: "Access") -> "Access":
        return Access(self.reads | other.reads, self.writes | other.writes, self.published | other.published)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one step touches, with all that it set going in other sessions."""

    reads: Relations = NONE
    writes: Relations = NONE
    published: Relations = NONE  # what others can see from now on: all writes of a transaction that ended
    everything: bool = False  # not known, or a deadlock
    blocks: bool = False  # somebody waits at its end
    snapshot: bool = False  # takes the one snapshot of a transaction: reads whatever will be read in it
    ends_transaction: bool = False
    serializable: bool = False
    begins: bool = False  # an operation: its call...
    answers: bool = False  # ...and its answer: real time is a constraint of the oracles


def dependent(a: Footprint, b: Footprint) -> bool:
    """Whether the order of two steps of different sessions may matter.

    Under MVCC a plain read does not depend on a write, only on the COMMIT that publishes it. Fuzz-tested against brute
    force (tests/quality/test_reduction.py), not proven. The order in which two sessions begin to wait is the order in
    which they wake, and decides who closes a deadlock.
    """
    if a.everything or b.everything or (a.blocks and b.blocks):
        return True
    if (a.answers and b.begins) or (b.answers and a.begins):
        return True
    if a.writes & b.writes or a.published & (b.reads | b.writes) or b.published & (a.reads | a.writes):
        return True
    if (a.snapshot and b.published) or (b.snapshot and a.published):
        return True
    if a.serializable or b.serializable:
        # A reader can doom a writer, whose next statement fails, wherever it is: hence whole transactions (Tracker).
        return a.ends_transaction or b.ends_transaction or bool(a.reads & b.writes or b.reads & a.writes)
    return False


class Irreducible(RuntimeError):
    """Orders cannot be told to be equivalent: the reason is the report's."""


# ---- what SQL texts touch -----------------------------------------------------------------------------------------

_QUOTED = re.compile(r"\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.S)
_LEARNABLE = re.compile(r"[\s(]*(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH|VALUES|TABLE|LOCK|TRUNCATE|DO)\b", re.I)
_LOCK = re.compile(r"\s*LOCK\b", re.I)
_DO = re.compile(r"\s*DO\b", re.I)
_CLOCK = re.compile(
    r"\b(now|current_(timestamp|time|date)|local(time|timestamp)|\w+_timestamp|timeofday|uuidv7)\b", re.I
)
_CLOCK_RUNS = re.compile(r"\b(clock_timestamp|statement_timestamp|timeofday|uuidv7)\b", re.I)
_ADVISORY = re.compile(r"\bpg_(try_)?advisory_", re.I)
# What looks past MVCC at other sessions, or tells them something without a lock; a search path changes what names mean.
_OPAQUE = re.compile(
    r"\b(dblink\w*|pg_notify|notify|listen|unlisten|lo_\w+|pg_(cancel|terminate)_backend|pg_blocking_pids|pg_locks|pg_stat\w*"
    r"|pg_current_\w+|txid_\w+|pg_export_snapshot|search_path|session_replication_role|set\s+role|authorization)\b",
    re.I,
)
# An EXCEPTION block gives back the locks of what it undoes; a session-level lock may be gone when we look.
_HIDES = re.compile(r"\bEXCEPTION\s+WHEN\b|\b(COMMIT|ROLLBACK)\b|\bpg_(try_)?advisory_", re.I)
_OWN_SETTINGS = re.compile(r"^ SET \w+ TO .*$", re.M)  # of a function: always the same
_BEFORE_IT_BEGAN = re.compile("BEFORE (INSERT|UPDATE|DELETE) ")
_ISOLATION = re.compile(r"isolation", re.I)

_STRONG = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")

_FUNCTIONS = """
SELECT p.proname, pg_get_functiondef(p.oid),
       EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid)
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE p.prokind <> 'a' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'harness_gates')
   AND NOT EXISTS (SELECT FROM pg_depend e
                    WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')"""

_FACTS = """
SELECT EXISTS (SELECT FROM pg_trigger WHERE tgdeferrable) OR EXISTS (SELECT FROM pg_constraint WHERE condeferrable),
       EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                WHERE p.pronamespace::regnamespace::text <> 'harness_gates'),
       EXISTS (SELECT FROM pg_class WHERE relkind = 'f'),
       (SELECT string_agg(pg_get_expr(adbin, adrelid), ' ') FROM pg_attrdef),
       (SELECT string_agg(definition, ' ') FROM pg_views
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema'))"""


class Texts:
    """What is known of SQL texts in one database: the union of all that they were seen to touch."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._known: dict[str, Access] = {}
        self._kinds: dict[int, tuple[int, str]] = {}  # oid -> its table (of a partition: the topmost), kind
        self.revision = 0  # grows whenever less was known before than was thought
        self.unknown: set[str] = set()  # texts that conflicted with everything
        ((deferrable, fires, foreign, defaults, views),) = control.run(_FACTS)[0]
        self.deferrable = deferrable == "t"  # COMMIT does more than publish
        self._fires = fires == "t"  # what a write touches may depend on the rows it meets
        functions = {
            name or "": (_OWN_SETTINGS.sub("", source or ""), used == "t")
            for name, source, used in control.run(_FUNCTIONS)[0]
        }
        hiding = {name for name, (source, _) in functions.items() if _HIDES.search(source) or _OPAQUE.search(source)}
        while (callers := _mentions(hiding)) is not None:
            before = len(hiding)
            hiding |= {name for name, (source, _) in functions.items() if callers.search(source)}
            if len(hiding) == before:
                break
        self._functions, self._hiding = _mentions(functions), _mentions(hiding)
        # A trigger, a default or a view may call it, and the text would not say so.
        self._all_hidden = foreign == "t" or any(functions[name][1] for name in hiding)
        sources = " ".join((defaults or "", views or "", *(source for source, _ in functions.values())))
        self.timed = bool(_CLOCK.search(sources))

    def of(self, text: str) -> Access | None:
        """What is known of a statement; None: it conflicts with everything."""
        known = self._known.get(text)
        if known is None:
            self.unknown.add(text)
        return known

    def wanted(self, text: str) -> bool:
        """Whether the locks of this statement are to be looked at once more."""
        known = self._known.get(text)
        return self.learnable(text) if known is None else self._branches(text, known)

    def learnable(self, text: str) -> bool:
        if self._all_hidden or not _LEARNABLE.match(text):
            return False
        code = _QUOTED.sub("''", text)
        if ";" in code.rstrip().rstrip(";") or _OPAQUE.search(code) or (self._hiding and self._hiding.search(text)):
            return False
        return not (_DO.match(text) and (_HIDES.search(text) or _OPAQUE.search(text)))

    def _branches(self, text: str, known: Access) -> bool:
        """Whether it may touch more the next time. The tables that a plain statement names are locked in any case."""
        return bool(
            (known.writes and self._fires)
            or _DO.match(text)
            or (self._functions is not None and self._functions.search(text))
        )

    def learn(self, text: str, pid: int) -> None:
        """The statement has ended, its transaction has not: what the backend holds is what it touched (or more)."""
        access = self.held_by(pid)
        if _ADVISORY.search(text):  # a session-level unlock leaves nothing to see
            access |= Access(writes=frozenset({ADVISORY}), published=frozenset({ADVISORY}))
        if _CLOCK_RUNS.search(text):
            access |= Access(writes=frozenset({CLOCK}), published=frozenset({CLOCK}))
        known = self._known.get(text)
        if known is None:
            self._known[text] = access
            if not self.timed and _CLOCK.search(text):
                self.timed = True
                self.revision += 1
        elif (both := known | access) != known:
            self._known[text] = both
            self.revision += 1
        self.unknown.discard(text)

    def held_by(self, pid: int) -> Access:
        """Locks of the application: neither those of its gates, nor what SERIALIZABLE remembers of ended ones."""
        keys = ", ".join(map(str, GATE_KEYS))
        (rows,) = self._control.run_raw(
            b"SELECT relation, mode FROM pg_locks WHERE pid = %d AND locktype = 'relation' AND granted"
            b" AND mode <> 'SIReadLock' UNION SELECT 0, 'advisory' FROM pg_locks WHERE pid = %d"
            b" AND locktype = 'advisory' AND NOT (objsubid = 2 AND classid::bigint IN (%b))" % (pid, pid, keys.encode())
        )
        self._look_up(int(oid or 0) for oid, _ in rows)
        reads, writes, published = set(), set(), set()
        for oid, mode in rows:
            if mode == "advisory":
                writes.add(ADVISORY)
                published.add(ADVISORY)
                continue
            table, kind = self._kinds.get(int(oid or 0), (0, "i"))
            if kind in "iIt":  # never without its table
                continue
            if mode == "AccessShareLock":
                reads.add(table)
                continue
            writes.add(table)
            # A number drawn from a sequence is gone at once for everybody. A strong lock keeps others from beginning.
            if kind == "S" or mode in _STRONG:
                published.add(table)
        return Access(frozenset(reads), frozenset(writes), frozenset(published))

    def _look_up(self, oids: Iterable[int]) -> None:
        unseen = ",".join(str(oid) for oid in oids if oid not in self._kinds)
        if unseen:
            (rows,) = self._control.run(
                "SELECT oid, CASE WHEN relispartition THEN coalesce(pg_partition_root(oid), oid) ELSE oid END, relkind"
                f" FROM pg_class WHERE oid IN ({unseen})"
            )
            self._kinds |= {int(oid or 0): (int(table or 0), kind or "") for oid, table, kind in rows}


def _mentions(names: Iterable[str]) -> re.Pattern[str] | None:
    alternatives = "|".join(map(re.escape, names))
    return re.compile(rf"\b({alternatives})\b", re.I) if alternatives else None


# ---- what steps touch ---------------------------------------------------------------------------------------------


@dataclass
class _Transaction:
    """What a connection has done since it last had none."""

    connection: GatedConnection
    reads: set[int] = field(default_factory=set)
    writes: set[int] = field(default_factory=set)
    unknown: bool = False
    snapshot: bool = False
    savepoints: bool = False
    wrapped: bool = False  # a BEGIN of ours before an autocommitted statement, so that its locks can be looked at
    gates: int = 0  # that the command in flight has met


@dataclass
class _Step:
    reads: set[int] = field(default_factory=set)
    writes: set[int] = field(default_factory=set)
    published: set[int] = field(default_factory=set)
    everything: bool = False
    blocks: bool = False
    snapshot: bool = False
    ends_transaction: bool = False


class Tracker:
    """Follows one exploration, as the hub tells it, and passes on what each step touched.

    `apart` is for runs that only serve to learn: every statement gets a transaction of its own, so that its locks are
    not mixed with those of the statements before. Their outcomes mean nothing.
    """

    def __init__(
        self,
        texts: Texts,
        isolation: Isolation,
        tell: Callable[[Footprint], None],
        *,
        apart: bool = False,
        shared_pool: bool = False,  # sessions hand each other connections
    ) -> None:
        self.texts, self._tell, self._apart, self._shared_pool = texts, tell, apart, shared_pool
        self._snapshots = isolation is not Isolation.READ_COMMITTED
        self._serializable = isolation is Isolation.SERIALIZABLE
        self._open: dict[int, _Transaction] = {}
        self._step = _Step()

    def trial_begins(self) -> None:
        self._open.clear()

    def step_begins(self, session: Session, sessions: list[Session], waiters: list[Session]) -> None:
        self._step = _Step()
        self._sessions, self._waiters = sessions, [(s, s.sent) for s in waiters]
        self._positions = [(s.position, s.state is State.DONE) for s in sessions]
        self._begins = session.state is State.BETWEEN

    def step_ends(self) -> None:
        step = self._step
        if step.published or step.ends_transaction:
            for session, statement in self._waiters:
                # It may have got one lock and now wait for the next.
                self._add(self._of(statement), self._transaction(session))
                step.blocks = step.blocks or session.state is State.BLOCKED
        for pid, transaction in list(self._open.items()):
            if transaction.connection.closed:  # its backend rolls back, in its own time
                step.everything = True
                del self._open[pid]
        if any(s.state is State.POOLED for s in self._sessions):
            raise Irreducible("a session waits for a connection of the pool")
        self._tell(
            Footprint(
                frozenset(step.reads),
                frozenset(step.writes),
                frozenset(step.published),
                step.everything,
                step.blocks,
                step.snapshot,
                step.ends_transaction,
                self._serializable,
                self._begins,
                [(s.position, s.state is State.DONE) for s in self._sessions] != self._positions,
            )
        )

    def spins(self) -> None:
        """A session was kept from going on because it repeats itself: whether it may go depends on what others do."""
        raise Irreducible("a session repeats the same statement")

    def deadlock(self) -> None:
        self._step.everything = True

    # ---- commands -------------------------------------------------------------------------------------------------

    def sends(self, session: Session) -> None:
        connection, statement = session.connection, session.sent
        idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if idle:
            self._open.pop(connection.pid, None)
            if self.texts.timed:  # now() is when the transaction began
                self._step.writes.add(CLOCK)
                self._step.published.add(CLOCK)
        transaction = self._transaction(session)
        transaction.gates = 0
        if statement is None:
            return
        if statement.leaves_traces and self._shared_pool:
            raise Irreducible("what a statement sets stays with a connection of the pool that the sessions share")
        if connection._isolation_level is not None:
            self._snapshots = self._serializable = True
        if statement.kind is Kind.LOCAL:
            self._notes(statement, transaction)
        elif statement.kind is Kind.STATEMENT:
            if self._snapshots and not transaction.snapshot:
                self._step.snapshot = True
                transaction.snapshot = not _LOCK.match(statement.text)  # which takes none
            if idle and session.autonomous and self._may_wrap(session, statement):
                connection.pgconn.exec_(b"BEGIN")
                transaction.wrapped = True

    def _notes(self, statement: Statement, transaction: _Transaction) -> None:
        if _ISOLATION.search(statement.text):
            self._snapshots = self._serializable = True
        if _OPAQUE.search(statement.text):
            raise Irreducible(f"{statement.text!r} changes what later statements mean")
        if statement.text.lstrip()[:9].upper() == "SAVEPOINT":
            transaction.savepoints = True

    def _may_wrap(self, session: Session, statement: Statement) -> bool:
        return (
            not self.texts.deferrable
            and not _LOCK.match(statement.text)  # an error outside a transaction
            and getattr(session.generator, "__name__", "") == "_execute_gen"
            and session.connection._pipeline is None
            and self.texts.wanted(statement.text)
        )

    def waits(self, session: Session) -> None:
        self._step.blocks = True
        self._add(self._of(session.sent), self._transaction(session))

    def held(self, session: Session) -> None:
        """At a gate. A single write that is held before it begins has taken its snapshot and done nothing yet."""
        transaction, statement = self._transaction(session), session.sent
        access = self._of(statement)
        transaction.gates += 1
        begins = transaction.gates == 1 and _BEFORE_IT_BEGAN.match(session.gate or "")
        if access is not None and statement is not None and statement.writes_only and begins:
            access = Access(reads=access.reads | access.writes)
        self._add(access, transaction)

    def done(self, session: Session) -> None:
        """The command has come to its end, or to its error; its code has not gone on yet."""
        connection, statement, transaction = session.connection, session.sent, self._transaction(session)
        step, status = self._step, connection.pgconn.transaction_status
        if statement is None or connection.closed or status == TransactionStatus.ACTIVE:
            step.everything = transaction.unknown = True
            return
        if statement.kind is Kind.LOCAL:
            return
        failed = session.failure is not None
        if statement.kind is Kind.STATEMENT:
            if not failed and status == TransactionStatus.INTRANS and self.texts.wanted(statement.text):
                self.texts.learn(statement.text, connection.pid)
            self._add(self._of(statement), transaction)
            if transaction.wrapped:
                self._unwrap(session)
                status = connection.pgconn.transaction_status
            elif self._apart and status == TransactionStatus.INTRANS and not transaction.savepoints:
                connection.pgconn.exec_(b"COMMIT")
                connection.pgconn.exec_(b"BEGIN")
        ended = status == TransactionStatus.IDLE
        if ended or failed or statement.kind is not Kind.STATEMENT:
            step.published |= transaction.writes
            step.ends_transaction = True
            if transaction.unknown or (self.texts.deferrable and transaction.writes):
                step.everything = True
        if ended:
            self._open.pop(connection.pid, None)

    def _unwrap(self, session: Session) -> None:
        connection = session.connection
        result = connection.pgconn.exec_(b"COMMIT" if session.failure is None else b"ROLLBACK")
        if result.status != ExecStatus.COMMAND_OK and session.failure is None:
            session.failure = error_from_result(result)

    # ---- adding up ------------------------------------------------------------------------------------------------

    def _transaction(self, session: Session) -> _Transaction:
        connection = session.connection
        if connection.pid not in self._open:
            self._open[connection.pid] = _Transaction(connection)
        return self._open[connection.pid]

    def _of(self, statement: Statement | None) -> Access | None:
        known = statement is not None and statement.kind is Kind.STATEMENT
        return self.texts.of(statement.text) if known and statement is not None else None

    def _add(self, access: Access | None, transaction: _Transaction) -> None:
        step = self._step
        if access is None:
            step.everything = transaction.unknown = True
            return
        transaction.reads |= access.reads
        transaction.writes |= access.writes
        step.published |= access.published
        if self._serializable:
            step.reads |= transaction.reads
            step.writes |= transaction.writes
        else:
            step.reads |= access.reads
            step.writes |= access.writes
