"""What a trial was like inside: what each statement returned, which lock it waited for, which row versions it left.

A Recorder that also asks the server between steps, on the control connection, where it is in nobody's way: when all
sessions have their answer or wait. What a transaction has not committed cannot be seen so; what it has, is told from
what there was a step earlier. So that one step has one commit, the hub lets those who wait go on one by one.
"""

from dataclasses import dataclass, field
from typing import Any

from psycopg.pq import TransactionStatus

from harness.model.cell import Isolation
from harness.model.contest import OpRef
from harness.model.trace import Gate, Observed, Ran, Refusal, Transaction, Values, Version, Wait
from harness.runners.canonical import Canonicaliser
from harness.runners.recorder import Recorder
from harness.sessions.arena import Arena
from harness.sessions.control import Result
from harness.sessions.gates import GATE_KEYS
from harness.sessions.session import Session, State
from harness.sessions.statement import Kind, Statement

ROWS_KEPT, TEXT_KEPT = 3, 60  # of what a statement returned

# Of the application: no catalogue, no gate. A virtual transaction's own lock says nothing.
_LOCKS = """
SELECT pid, locktype, mode, granted,
       coalesce(relation::regclass::text, ''),
       coalesce('(' || page || ',' || tuple || ')', ''),
       coalesce(transactionid::text, virtualxid, classid || '/' || objid || '/' || objsubid, '')
  FROM pg_locks
 WHERE pid IN ({pids}) AND (relation IS NULL OR relation >= 16384) AND (locktype <> 'virtualxid' OR NOT granted)
   AND NOT (locktype = 'advisory' AND objsubid = 2 AND classid::bigint IN ({keys}))"""
_MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)  # PostgreSQL, 13.3.1; weakest first

_Place = tuple[str, str, str, str]  # table, its oid (of a partition), ctid, xmin: one version of a row


@dataclass(frozen=True, slots=True)
class _Lock:
    pid: int
    kind: str
    mode: str
    granted: bool
    relation: str
    place: str  # ctid
    key: str  # transaction id, or what else it is on

    @property
    def object(self) -> tuple[str, ...]:
        return self.kind, self.relation, self.place, self.key


@dataclass(slots=True)
class _Transaction:
    number: int
    session: int
    autocommitted: bool
    snapshot: int | None = None
    ended: int | None = None
    committed: bool | None = None
    added: list[Version] = field(default_factory=list)
    removed: list[Version] = field(default_factory=list)
    whole: bool = True
    statements: list["_Statement"] = field(default_factory=list)


@dataclass(slots=True)
class _Statement:
    number: int
    session: int
    call: OpRef
    transaction: _Transaction
    began: int
    statement: Statement
    ended: int | None = None
    status: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[Values, ...] = ()
    returned: int = 0
    error: Refusal | None = None
    waits: list[Wait] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)


class Watcher(Recorder):
    """Of one trial. `one_by_one` is what the hub reads: whether those who wait may be held back to be looked at."""

    one_by_one = True

    def __init__(self, arena: Arena, canonical: Canonicaliser, given: frozenset[object], isolation: Isolation) -> None:
        super().__init__()
        self._arena, self._canonical, self._given, self._isolation = arena, canonical, given, isolation
        self._statements: list[_Statement] = []
        self._transactions: list[_Transaction] = []
        self._open: dict[int, _Transaction] = {}  # by backend
        self._just_ended: list[_Transaction] = []  # since the last look
        self._in_flight: dict[int, _Statement] = {}  # by backend
        self._writers: dict[str, _Transaction] = {}  # by transaction id, of subtransactions as well
        self._versions: dict[_Place, tuple[Values, str]] | None = None  # with their xmax
        self._known: dict[_Place, Version] = {}
        self._locked_in: dict[tuple[str, str, str], _Statement] = {}  # table, ctid, xmax -> the statement that did it
        self._held: dict[tuple[int, tuple[str, ...], str], _Statement] = {}  # backend, object, mode
        self._newest: dict[int, _Statement] = {}  # by backend: what it last sent

    # ---- told by the hub ------------------------------------------------------------------------------------------

    def step_begins(self, session: int) -> None:
        super().step_begins(session)
        if self._versions is None:
            self._read_versions()

    def sent(self, session: int, statement: Statement, result: str) -> None:
        super().sent(session, statement, result)
        self._ends(session, statement)

    def completed(self, session: int, statement: Statement, result: str) -> None:
        super().completed(session, statement, result)
        self._ends(session, statement)

    def waiting(self, session: int, statement: Statement, why: str) -> None:
        super().waiting(session, statement, why)
        owner = self._session(session)
        draft = self._draft(owner, statement)
        if why.startswith("at gate "):
            draft.gates.append(Gate(why.removeprefix("at gate "), max(self._step, 0)))
        else:
            self._look_at_locks()
            self._notes_wait(owner, draft)

    def settled(self) -> None:
        """Everybody has an answer, or waits."""
        self._look_at_locks()
        for owner in dict.fromkeys(self._arena.owners.values()):
            pid = owner.connection.pid if owner.connection is not None else 0
            if owner.state is State.BLOCKED and pid in self._in_flight:
                self._notes_wait(owner, self._in_flight[pid])
        self._read_versions()

    # ---- statements and transactions ------------------------------------------------------------------------------

    def _session(self, index: int) -> Session:
        return next(owner for owner in self._arena.owners.values() if owner.index == index)

    def _draft(self, owner: Session, statement: Statement) -> _Statement:
        """What is known of the statement that is in flight on the session's connection."""
        pid = owner.connection.pid
        if pid not in self._in_flight:
            call = owner.operation if isinstance(owner.operation, OpRef) else OpRef(owner.index, 0)
            transaction = self._open.get(pid)
            if transaction is None:
                transaction = _Transaction(len(self._transactions), call.session, owner.autonomous)
                self._transactions.append(transaction)
                self._open[pid] = transaction
            step = max(self._step, 0)
            if transaction.snapshot is None and _takes_snapshot(statement):
                transaction.snapshot = step
            draft = _Statement(len(self._statements), call.session, call, transaction, step, statement)
            self._statements.append(draft)
            transaction.statements.append(draft)
            self._in_flight[pid] = self._newest[pid] = draft
        return self._in_flight[pid]

    def _ends(self, session: int, statement: Statement) -> None:
        owner = self._session(session)
        draft, connection = self._draft(owner, statement), owner.connection
        transaction = draft.transaction
        del self._in_flight[connection.pid]
        draft.ended = max(self._step, 0)
        if owner.failure is not None:
            draft.error = _refusal(owner.failure)
        elif statement.kind is Kind.STATEMENT:
            self._notes_result(draft, getattr(owner.cursor, "pgresult", None))
        else:
            draft.status = statement.text
        if connection.closed or connection.pgconn.transaction_status == TransactionStatus.IDLE:
            del self._open[connection.pid]
            transaction.ended = draft.ended
            self._just_ended.append(transaction)
            if not connection.closed:
                transaction.committed = draft.error is None and statement.kind is not Kind.ROLLBACK

    def _notes_result(self, draft: _Statement, result: Any) -> None:
        if result is None:
            return
        draft.status = (result.command_status or b"").decode()
        draft.returned = result.ntuples if result.nfields else 0
        types = [result.ftype(column) for column in range(result.nfields)]
        draft.columns = tuple((result.fname(column) or b"").decode() for column in range(result.nfields))
        draft.rows = tuple(
            tuple(self._masked(result.get_value(row, column), type_) for column, type_ in enumerate(types))
            for row in range(min(draft.returned, ROWS_KEPT))
        )

    def _masked(self, value: bytes | str | None, type_: int) -> str | None:
        if value is None:
            return None
        text = value if isinstance(value, str) else value.decode(errors="replace")
        text = self._canonical.masked(text, type_, self._arena.started, self._given)
        return text if len(text) <= TEXT_KEPT else text[: TEXT_KEPT - 3] + "..."

    # ---- locks ----------------------------------------------------------------------------------------------------

    def _look_at_locks(self) -> None:
        """Whose transaction ids are whose, and through which statement each lock came."""
        pids = ", ".join(map(str, self._arena.owners)) or "0"
        (rows,) = self._arena.control.run(_LOCKS.format(pids=pids, keys=", ".join(map(str, GATE_KEYS))))
        self._locks = [
            _Lock(int(row[0] or 0), row[1] or "", row[2] or "", row[3] == "t", row[4] or "", row[5] or "", row[6] or "")
            for row in rows
        ]
        for lock in self._locks:
            if not lock.granted:
                continue
            if lock.pid in self._newest:
                self._held.setdefault((lock.pid, lock.object, lock.mode), self._newest[lock.pid])
            if lock.kind == "transactionid" and lock.pid in self._open:
                self._writers.setdefault(lock.key, self._open[lock.pid])

    def _notes_wait(self, owner: Session, draft: _Statement) -> None:
        pid = owner.connection.pid
        lock = next((lock for lock in self._locks if lock.pid == pid and not lock.granted), None)
        if lock is None:
            return
        row = next((lock for lock in self._locks if lock.pid == pid and lock.granted and lock.kind == "tuple"), lock)
        owners = self._arena.owners
        holders = tuple(sorted({owners[blocker].index for blocker in owner.blockers if blocker in owners}))
        wait = Wait(
            lock.kind,
            lock.mode,
            f"{row.relation} {row.place}".strip(),
            max(self._step, 0),
            holders,
            self._held_through(lock, row, owner.blockers),
        )
        last = draft.waits[-1] if draft.waits else None
        if last is None or (last.kind, last.mode, last.on, last.holders) != (lock.kind, lock.mode, wait.on, holders):
            draft.waits.append(wait)

    def _held_through(self, lock: _Lock, row: _Lock, blockers: frozenset[int]) -> int | None:
        """The statement that took the lock in the way; None where there may be several."""
        if lock.kind == "transactionid":
            writer = self._writers.get(lock.key)
            taken = self._locked_in.get((row.relation, row.place, lock.key)) if row is not lock else None
            if taken is None and writer is not None:
                wrote = [draft for draft in writer.statements if _may_have_written(draft)]
                taken = wrote[0] if len(wrote) == 1 else None
        else:
            ways = [
                (_MODES.index(mode) if mode in _MODES else 0, draft)
                for (pid, held, mode), draft in self._held.items()
                if pid in blockers and held == lock.object
            ]
            taken = max(ways, key=lambda way: way[0])[1] if len(blockers) == 1 and ways else None
        return None if taken is None else taken.number

    # ---- row versions ---------------------------------------------------------------------------------------------

    def _read_versions(self) -> None:
        tables = self._arena.tables
        queries = [f"SELECT tableoid, ctid, xmin, xmax, t.* FROM {table.name} t" for table in tables]
        results: list[Result] = self._arena.control.run(";".join(queries)) if queries else []
        now: dict[_Place, tuple[Values, str]] = {}
        for table, rows in zip(tables, results, strict=True):
            for oid, ctid, xmin, xmax, *row in rows:
                values = tuple(self._masked(v, c.type) for v, c in zip(row, table.columns, strict=True))
                now[table.name, oid or "", ctid or "", xmin or ""] = values, xmax or "0"
        before, self._versions = self._versions, now
        self._attribute(before, now)

    def _attribute(
        self, before: dict[_Place, tuple[Values, str]] | None, now: dict[_Place, tuple[Values, str]]
    ) -> None:
        """What has come and gone since the last look is the work of who has committed in this step."""
        committed = [t for t in self._just_ended if t.committed is not False]
        self._just_ended.clear()
        columns = {table.name: tuple(column.name for column in table.columns) for table in self._arena.tables}
        for place in now:
            if place in self._known:
                continue
            if before is None:
                writer, known = None, True
            else:
                writer = self._writers.get(place[3])
                if writer not in committed:
                    writer = committed[0] if len(committed) == 1 else None
                known = writer is not None
            version = Version(
                place[0], columns[place[0]], now[place][0], place[2], writer.number if writer else None, known
            )
            self._known[place] = version
            if writer is not None:
                writer.added.append(version)
        for place in (before or {}).keys() - now.keys():
            xmax = before[place][1] if before else "0"
            remover = self._writers.get(xmax)
            if remover not in committed:
                remover = committed[0] if len(committed) == 1 else None
            if remover is not None:
                remover.removed.append(self._known[place])
        if len(committed) > 1:
            for transaction in committed:
                transaction.whole = False
        for place, (_, xmax) in now.items():
            writer = self._writers.get(xmax)
            if writer is not None and writer.statements:
                self._locked_in.setdefault((place[0], place[2], xmax), writer.statements[-1])

    # ---- what comes of it -----------------------------------------------------------------------------------------

    @property
    def observed(self) -> Observed:
        drafts = sorted(self._statements, key=lambda draft: (draft.ended is None, draft.ended, draft.number))
        return Observed(
            tuple(map(_ran, drafts)),
            tuple(_frozen(transaction) for transaction in self._transactions),
            self._isolation is not Isolation.READ_COMMITTED,
            tuple(version for version in self._known.values() if version.writer is None and version.known),
            tuple(self._known[place] for place in self._versions or ()),
        )


def _takes_snapshot(statement: Statement) -> bool:
    """LOCK takes none (PostgreSQL, 13.3: "before any SELECT or data modification statement"), nor does COMMIT."""
    return statement.kind is Kind.STATEMENT and not statement.text.lstrip()[:5].upper().startswith("LOCK")


def _may_have_written(draft: _Statement) -> bool:
    """A plain SELECT takes no transaction id; one that calls a function, or locks rows, may."""
    if draft.statement.kind is not Kind.STATEMENT or draft.status in ("UPDATE 0", "DELETE 0", "INSERT 0 0", "SELECT 0"):
        return False
    text = draft.statement.text.upper()
    return not text.lstrip().startswith(("SELECT", "LOCK")) or "FOR " in text or "(" in text


def _refusal(failure: BaseException) -> Refusal:
    diagnostic: Any = getattr(failure, "diag", None)
    message = getattr(diagnostic, "message_primary", None) or str(failure).partition("\n")[0]
    told = (getattr(diagnostic, name, None) or "" for name in ("message_detail", "constraint_name", "table_name"))
    return Refusal(getattr(failure, "sqlstate", None) or "", message, *told)


def _ran(draft: _Statement) -> Ran:
    return Ran(
        draft.number,
        draft.session,
        draft.call,
        draft.transaction.number,
        draft.began,
        draft.ended,
        str(draft.statement),
        draft.statement.text,
        draft.status,
        draft.columns,
        draft.rows,
        draft.returned,
        draft.error,
        tuple(draft.waits),
        tuple(draft.gates),
    )


def _frozen(transaction: _Transaction) -> Transaction:
    return Transaction(
        transaction.number,
        transaction.session,
        transaction.autocommitted,
        transaction.snapshot,
        transaction.ended,
        transaction.committed,
        tuple(transaction.added),
        tuple(transaction.removed),
        transaction.whole,
    )
