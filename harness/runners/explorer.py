"""The explorer: runs the contests of one strategy in one layout, a step at a time, and sees what each trial came to."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import psycopg

from harness.generators.states import state_statements
from harness.model.cell import Isolation
from harness.model.contest import Call, Contest, OpRef, Order
from harness.model.outcome import Answer, Crashed, Failed, Ok, Outcome, Refused, Unknown
from harness.model.schedule import Failing, Fault
from harness.runners.canonical import Canonicaliser, Queries, Seen
from harness.runners.journal import Journal, Noted, Way
from harness.runners.observed import Watcher
from harness.runners.recorder import Recorder
from harness.scenario.bodies import wants_pool
from harness.scenario.language import Scenario
from harness.schedulers.protocol import Scheduler
from harness.sessions.arena import Arena, Reading, seed_bytes
from harness.sessions.connection import GatedConnection
from harness.sessions.control import SqlRefused
from harness.sessions.footprints import Texts
from harness.sessions.hub import Hub
from harness.sessions.overlap import Overlap
from harness.sessions.session import Operation, Session
from harness.sessions.steering import Ended, Observer, Steering, Tracker
from harness.sessions.steering import Scheduler as Steers

Body = Callable[..., Any]
BodiesOf = Callable[[int], Sequence[Mapping[str, Body]]]


class NotDeterministicAlone(RuntimeError):
    """A serial order disagrees with itself: nothing can be compared with it."""


class StateRefused(SqlRefused):
    """An operation that leads to the start state fails."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One contest under one schedule, seen."""

    seen: Seen
    ended: Ended
    before: frozenset[tuple[OpRef, OpRef]]
    retried: Mapping[OpRef, Answer]  # operations run again alone after the end

    @property
    def order(self) -> list[int]:
        """The sessions, in the order of their steps."""
        return [chosen for chosen, _, event in self.ended.choices if event == "run"]

    @property
    def overlapped(self) -> bool:
        """Whether two sessions were inside their operations at the same time: no serial order explains that away."""
        refs = [OpRef(*key) for key in self.ended.spans]
        return any(
            a.session != b.session and (a, b) not in self.before and (b, a) not in self.before
            for a, b in combinations(refs, 2)
        )


def queries_of(scenario: Scenario) -> tuple[list[str], Callable[[Arena], Queries]]:
    """What is asked after every trial besides the tables, and how its answers are to be read."""
    asked: list[str] = []
    names, distinct = [], []
    live_of: dict[str, list[str]] = {}
    for identity in scenario.identity:
        live = f"({identity.live})" if identity.live else "true"
        key = ", ".join(f"({column})::text" for column in identity.by)
        numbers = ", ".join(str(i + 1) for i in range(len(identity.by)))
        asked.append(f"SELECT {key}, count(*) FROM {identity.table} WHERE {live} GROUP BY {numbers}")
        names.append(
            f"{identity.table} ({', '.join(identity.by)})" + (f" WHERE {identity.live}" if identity.live else "")
        )
        distinct.append(identity.nulls_distinct)
        live_of.setdefault(identity.table, []).append(live)
    for table, conditions in live_of.items():
        asked.append(f"SELECT * FROM {table} WHERE {' OR '.join(conditions)}")
    asked += scenario.invariants.values()

    def read(arena: Arena) -> Queries:
        oids = {t.oid: t.name for t in arena.tables}
        live_tables = tuple(
            oids[int(arena.control.run(f"SELECT '{table}'::regclass::oid")[0][0][0] or 0)] for table in live_of
        )
        return Queries(tuple(names), tuple(distinct), live_tables, tuple(scenario.invariants))

    return asked, read


class Explorer:
    """One set of bodies (a strategy, or the specification) on one arena at one isolation level."""

    def __init__(
        self,
        arena: Arena,
        scenario: Scenario,
        bodies: BodiesOf,
        isolation: Isolation,
        steering: Steering,
        *,
        autocommit: bool = True,
        journal: Journal | None = None,
        alone: Way = Way.ALONE,
    ) -> None:
        self.journal, self._way_alone = journal, alone
        self.arena, self.scenario, self.isolation, self.steering = arena, scenario, isolation, steering
        self._bodies, self._autocommit = bodies, autocommit
        self._canonical = Canonicaliser(arena.tables, arena.sequence_bases, queries_of(scenario)[1](arena))
        self._seen: dict[Any, Seen] = {}
        self._pooled: dict[object, bool] = {}
        self._serial: dict[tuple[Contest, Order], Seen] = {}
        self._starts: dict[Contest, Seen] = {}
        self._by_outcome: dict[Outcome, Seen] = {}
        self._processes: Sequence[Mapping[str, Body]] = ()  # of the last trial
        self.aged = False
        self.gates_met: set[str] = set()
        self.observer: Observer | None = None  # of every trial that is not recorded

    def begin_again(self, *, truncates: bool) -> None:
        """Forget the serial outcomes; from now on every trial starts on a heap without a past, or not."""
        self.arena.truncates = truncates
        self._serial.clear()

    # ---- trials ---------------------------------------------------------------------------------------------------

    def run(
        self,
        contest: Contest,
        scheduler: Scheduler,
        *,
        recorder: Recorder | None = None,
        retryable: frozenset[str] = frozenset(),
        truncate: bool = False,
        tracker: Tracker | None = None,
        fault: Fault | None = None,
    ) -> Trial:
        """One trial under the scheduler. Operations that failed with a SQLSTATE of `retryable` are called again, alone.

        Called again in the trial that failed, after its rows were read: whether SERIALIZABLE fails can depend on which
        rows share a page, hence on earlier trials, so that a second trial might not fail.
        """
        self.prepare(contest, truncate=truncate)
        answers: dict[OpRef, Answer] = {}
        calls = self._calls(contest, answers, recorder)
        arena, programs = self.arena, _programs(contest, calls)
        arena.begin(self.isolation, aged=self.aged)
        hub = Hub(arena.control, self.steering, arena.owners, recorder or self.observer, tracker, fault)
        steers: Steers = scheduler
        if self.journal:
            self.journal.begins(contest, Way.CHOSEN, gates=arena.gated, aged=self.aged, fault=fault)
            steers = Noted(scheduler, self.journal)
        try:
            ended = hub.run(programs, steers)
            if fault is not None and fault.failing is Failing.LOST and ended.failed is not None:
                _forget(answers, OpRef(*ended.failed))
            scheduler.finished(ended.choices)
            failed = [ref for ref, told in answers.items() if isinstance(told, Failed) and told.sqlstate in retryable]
            left = arena.look() if failed else None
            retried = self._again(contest, failed) if failed else {}
        except BaseException:
            arena.discard()
            raise
        for ref in contest.operations:
            answers.setdefault(ref, Unknown())
        reading = arena.finish()
        if self.journal:
            self.journal.ends()
        return Trial(self._see(contest, answers, left or reading), ended, _before(ended), retried)

    def overlap(self, contest: Contest, times: int) -> Iterator[Seen]:
        """What the contest comes to when its sessions run at once, without gates; each of them begins in turn."""
        with self.arena.spread_out():
            for attempt in range(times):
                self.prepare(contest)
                answers: dict[OpRef, Answer] = {}
                calls = self._calls(contest, answers, None)
                arena, programs = self.arena, _programs(contest, calls)
                arena.begin(self.isolation, aged=self.aged)
                if self.journal:
                    self.journal.begins(contest, Way.AT_ONCE, aged=self.aged)
                try:
                    Overlap(arena.control, self.steering, arena.owners).race(programs, first=attempt % len(programs))
                except BaseException:
                    arena.discard()
                    raise
                for ref in contest.operations:
                    answers.setdefault(ref, Unknown())
                yield self._see(contest, answers, arena.finish())

    def serial(self, contest: Contest, order: Order) -> Outcome:
        """The operations one at a time in this order, from the start state. Remembered; run twice.

        Raises NotDeterministicAlone when the two runs differ.
        """
        key = (contest, order)
        if key not in self._serial:
            # Gates that hold nobody back must not change anything, nor where earlier trials left room on the heap.
            with self.arena.gates_open(bool(self.arena.gates.gates)):
                first = self._one_at_a_time(contest, order)
            with self.arena.gates_open(False):
                second = self._one_at_a_time(contest, order, truncate=True)
            if first.outcome != second.outcome:
                names = ", ".join(f"s{ref.session + 1}" for ref in order)
                raise NotDeterministicAlone(f"not deterministic alone: order {names}, run twice, came to two outcomes")
            self._serial[key] = self._by_outcome[first.outcome] = first
        return self._serial[key].outcome

    def serial_once(self, contest: Contest, order: Order) -> Outcome:
        """The same from one run: for contests that are drawn, of which each order is asked for once or twice."""
        key = (contest, order)
        if key not in self._serial:
            with self.arena.gates_open(False):
                seen = self._one_at_a_time(contest, order)
            self._serial[key] = self._by_outcome[seen.outcome] = seen
        return self._serial[key].outcome

    def forget(self, contest: Contest) -> None:
        """A contest that was drawn, passed, and will not be asked for again."""
        self._starts.pop(contest, None)
        self.arena.seeds.pop(contest, None)
        for key in [key for key in self._serial if key[0] == contest]:
            del self._serial[key]

    def serial_aged(self, contest: Contest, order: Order) -> Outcome:
        """The same with statements prepared at once and generic plans."""
        self.aged = True
        try:
            return self._one_at_a_time(contest, order).outcome
        finally:
            self.aged = False

    def find(self, outcome: Outcome) -> Seen | None:
        return self._by_outcome.get(outcome)

    def live(self, outcome: Outcome) -> Seen:
        """What was seen along with an outcome that `run` or `serial` gave."""
        return self._by_outcome[outcome]

    def start(self, contest: Contest) -> Seen:
        """The start state itself."""
        self.prepare(contest)
        seen = self._canonical.see(self.arena.look(), {}, _arguments(contest))
        seen = self._starts[contest] = self._by_outcome.setdefault(seen.outcome, seen)
        return seen

    def start_of(self, contest: Contest) -> Seen:
        """The start state as seen before."""
        return self._starts[contest]

    def alone(self, contest: Contest, order: Order) -> Seen:
        """The operations one at a time in this order, once; nothing is remembered."""
        return self._one_at_a_time(contest, order)

    def record_serial(
        self, contest: Contest, order: Order, recorder: Recorder, tracker: Tracker | None = None
    ) -> Outcome:
        """The same once more, for its trace."""
        return self._one_at_a_time(contest, order, recorder=recorder, truncate=True, tracker=tracker).outcome

    def watcher(self, contest: Contest) -> Watcher:
        """A recorder that sees more of the next trial of this contest."""
        return Watcher(self.arena, self._canonical, _arguments(contest), self.isolation)

    def _one_at_a_time(
        self,
        contest: Contest,
        order: Order,
        *,
        recorder: Recorder | None = None,
        truncate: bool = False,
        tracker: Tracker | None = None,
    ) -> Seen:
        self.prepare(contest, truncate=truncate)
        answers: dict[OpRef, Answer] = {}
        calls = self._calls(contest, answers, recorder, alone=True)
        arena = self.arena
        arena.begin(self.isolation, aged=self.aged)
        hub = Hub(arena.control, self.steering, arena.owners, recorder or self.observer, tracker)
        if self.journal:
            self.journal.begins(contest, self._way_alone, gates=arena.gated, aged=self.aged)
        try:
            ended = hub.run([[calls(ref) for ref in order]], _Alone())
        except BaseException:
            arena.discard()
            raise
        if self.journal:
            self.journal.ends()
        if ended.hang:
            for ref in order:
                answers.setdefault(ref, Unknown())
        self.gates_met |= set(ended.gates)
        return self._see(contest, answers, arena.finish())

    def _again(self, contest: Contest, again: Sequence[OpRef]) -> dict[OpRef, Answer]:
        answers: dict[OpRef, Answer] = {}
        calls = self._calls(contest, answers, None)
        self.arena.begin(self.isolation, aged=self.aged)
        Hub(self.arena.control, self.steering, self.arena.owners).run([[calls(ref) for ref in again]], _Alone())
        return answers

    # ---- what sessions have in common besides the server ------------------------------------------------------------

    @cached_property
    def texts(self) -> Texts:
        """What the statements of this strategy are known to touch."""
        return Texts(self.arena.control)

    @property
    def remembers(self) -> bool:
        """Whether sessions of the last trial shared a process object that remembers something."""
        return self._one_process and any(_has_state(getattr(b, "__self__", None)) for b in self._processes[0].values())

    @property
    def shares_pool(self) -> bool:
        return self._one_process and any(wants_pool(body) for body in self._processes[0].values())

    @property
    def _one_process(self) -> bool:
        return len({id(process) for process in self._processes}) < len(self._processes)

    # ---- what a trial is made of ----------------------------------------------------------------------------------

    def prepare(self, contest: Contest, *, truncate: bool = False) -> None:
        """Make the tables ready for this contest. Raises SqlRefused for a state the server refuses."""
        seed = self.arena.seeds.get(contest)
        if seed is None:
            seed = self.arena.seeds[contest] = self._make_seed(contest)
        self.arena.prepare(seed, truncate=truncate)

    def _make_seed(self, contest: Contest) -> bytes:
        steps = state_statements(self.scenario, contest)
        scribe, calls = self.arena.scribe, [step for step in steps if isinstance(step, Call)]
        if not calls:
            return seed_bytes(scribe, [step for step in steps if not isinstance(step, Call)])
        self.arena.prepare(b"", truncate=True)
        for position, step in enumerate(steps):
            if isinstance(step, Call):
                self._lead_to_start(step, position)
            else:
                self.arena.control.run(seed_bytes(scribe, [step]))
        return self.arena.freeze()

    def _lead_to_start(self, call: Call, position: int) -> None:
        """By the operation's own body, whatever is under test: both are to begin with the same rows."""
        before = OpRef(-1, position)  # no session's: what it draws at random is nobody else's
        answers: dict[OpRef, Answer] = {}
        alone = Contest("", ((call,),), "")
        bodies = [self.scenario.specification()]
        operation = self._calls(alone, answers, None, bodies=bodies)(OpRef(0, 0), before)
        self.arena.begin(Isolation.READ_COMMITTED)
        Hub(self.arena.control, self.steering, self.arena.owners).run([[operation]], _Alone())
        answer = answers.get(before, Unknown())
        if not isinstance(answer, Ok | Refused):
            raise StateRefused(f"{call} {answer}", answer.sqlstate if isinstance(answer, Failed) else "")

    def _calls(
        self,
        contest: Contest,
        answers: dict[OpRef, Answer],
        recorder: Recorder | None,
        *,
        alone: bool = False,
        bodies: Sequence[Mapping[str, Body]] = (),
    ) -> Callable[..., Operation]:
        """How to make the calls of one trial: its processes, pools and connections are new."""
        autocommit = self._autocommit or bool(bodies)
        bodies = self._processes = bodies or self._bodies(len(contest.sessions))
        connections: dict[int, GatedConnection] = {}
        pools: dict[int, Any] = {}
        arena = self.arena

        def connection_of(ref: OpRef, session: Session) -> GatedConnection:
            if ref.session not in connections or connections[ref.session].closed:
                connections[ref.session] = arena.lend(session, autocommit=autocommit)
            return connections[ref.session]

        def pool_of(ref: OpRef) -> Any:
            process = id(bodies[ref.session])
            if process not in pools:
                pools[process] = arena.pool(autocommit=autocommit)
            return pools[process]

        def call(ref: OpRef, known_as: OpRef | None = None) -> Operation:
            made = contest.call(ref)
            body = bodies[ref.session][made.operation]
            arguments = dict(made.arguments)
            refusals = self.scenario.operations[made.operation].refusals

            def operation(session: Session) -> None:
                session.operation, session.random, session.clock = known_as or ref, None, 0.0
                if recorder and alone:
                    recorder.column = ref.session
                if self.journal and alone:
                    self.journal.chosen(ref.session, (ref.session,), "run")
                door = pool_of(ref) if self._wants_pool(made.operation, body) else connection_of(ref, session)
                try:
                    answer: Answer = Ok(body(door, **arguments))
                except (Exception, SystemExit) as error:
                    answer = answer_to(error, refusals)
                if isinstance(door, GatedConnection) and not session.cut_off:
                    answer = left_open(door, answer)
                answers[known_as or ref] = answer
                if recorder:
                    recorder.column = None
                    recorder.answered(ref.session, str(made), str(answer))

            return operation

        return call

    def _wants_pool(self, operation: str, body: Body) -> bool:
        # The bodies of an operation are the same code in every trial, and asking costs as much as a round trip.
        code = getattr(body, "__code__", operation)
        if code not in self._pooled:
            self._pooled[code] = wants_pool(body)
        return self._pooled[code]

    def _see(self, contest: Contest, answers: Mapping[OpRef, Answer], reading: Reading) -> Seen:
        key: Any = None
        if self._canonical.stable:
            key = (reading.tables, reading.queries, tuple(answers.items()))
            try:
                known = self._seen.get(key)
            except TypeError:  # an answer that cannot be hashed
                key = known = None
            if known is not None:
                return known
        seen = self._canonical.see(reading, answers, _arguments(contest))
        seen = self._by_outcome.setdefault(seen.outcome, seen)
        if key is not None:
            self._seen[key] = seen
        return seen


def _programs(contest: Contest, calls: Callable[..., Operation]) -> list[list[Operation]]:
    return [[calls(OpRef(s, p)) for p in range(len(session))] for s, session in enumerate(contest.sessions)]


def _forget(answers: dict[OpRef, Answer], ref: OpRef) -> None:
    """The client whose answer was lost cannot know, unless its code found out and told."""
    if isinstance(answers.get(ref), Failed | Crashed):
        answers[ref] = Unknown()


def _has_state(process: object) -> bool:
    return bool(getattr(process, "__dict__", None)) or any("__slots__" in vars(c) for c in type(process).__mro__[:-1])


class _Alone:
    """One greenlet runs everything: there is nothing to choose."""

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        return options[0]


def _arguments(contest: Contest) -> frozenset[object]:
    return frozenset(str(value) for calls in contest.sessions for call in calls for _, value in call.arguments)


def _before(ended: Ended) -> frozenset[tuple[OpRef, OpRef]]:
    """Real time: a was answered in an earlier step than b's first."""
    spans = {OpRef(*key): span for key, span in ended.spans.items()}
    return frozenset(
        (a, b) for a, sa in spans.items() for b, sb in spans.items() if a != b and len(sa) > 2 and sa[2] < sb[0]
    )


def answer_to(error: BaseException, refusals: Sequence[type[BaseException] | str]) -> Answer:
    """What a client is told by an exception that came out of a call."""
    state = getattr(error, "sqlstate", None)
    for refusal in refusals:
        if (isinstance(refusal, str) and refusal == state) or (
            isinstance(refusal, type) and isinstance(error, refusal)
        ):
            return Refused(state or type(error).__name__)
    if isinstance(error, psycopg.Error):
        if state:
            return Failed(state, str(error).partition("\n")[0])
        if isinstance(error, psycopg.OperationalError):
            return Failed("08006", str(error).partition("\n")[0])
    return Crashed(f"{type(error).__name__}: {error}".rstrip(": "))


def left_open(connection: psycopg.Connection[Any], answer: Answer) -> Answer:
    """A call that returns inside its transaction has promised what nobody else will ever see."""
    if connection.closed:
        return answer if not isinstance(answer, Ok) else Crashed("closed its connection")
    if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
        return answer
    connection.rollback()
    return Crashed("returned with its transaction open: nothing was committed") if isinstance(answer, Ok) else answer
