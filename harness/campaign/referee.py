"""Judges batches of rounds: duplicates, errors, outcomes that no order of the calls explains, and whether anybody met.

Of a round its calls, their times and the rows of its keys are known. It is right if some order of its calls, run one at
a time, leaves these rows and tells these answers, and no call goes before one that had ended when it began.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from harness.generators.rounds import Unit
from harness.model.contest import Contest, OpRef
from harness.model.fault import Injected
from harness.model.history import Batch, Calls, OneCall
from harness.model.outcome import Answer, Crashed, Failed, Ok, Refused, Unknown
from harness.model.verdict import KINDS, Violation
from harness.oracles import ledger
from harness.oracles.linearize import Span, TooLarge, explain, keeps_time
from harness.runners.canonical import Canonicaliser, Seen
from harness.runners.ground import Ground, Remains
from harness.runners.learned import Learned, Ledger, is_vague, sums
from harness.scenario.language import Scenario
from harness.sessions.arena import Reading

DEADLOCK = "40P01"
_SEEN_MAX = 50_000  # outcomes that are remembered
_ORDERS_MAX = 64  # of one outcome: orders that explained it before
_PLAIN = (bool, type(None))


@dataclass(frozen=True, slots=True)
class Luck:
    """A violation that nobody steered: it happened, once, among many rounds."""

    violation: Violation
    template: int
    round: int
    calls: tuple[OneCall, ...]  # of the round, as they began


@dataclass
class Tally:
    """What the rounds of a cell have come to so far."""

    rounds: int = 0
    calls: int = 0
    incomplete: int = 0  # rounds of which some call has no answer
    unjudged: int = 0  # rounds with too many orders to search
    summed: int = 0  # of those, rounds whose sums were kept
    overlapped: int = 0  # rounds in which two sessions were inside calls on a common key at once
    failures: Counter[str] = field(default_factory=Counter)  # calls, by SQLSTATE
    refused: int = 0
    unknown: int = 0
    violations: Counter[str] = field(default_factory=Counter)  # rounds, by the name of the kind
    examples: dict[str, Luck] = field(default_factory=dict)  # the first of each


class _Told(NamedTuple):
    """One call of one round."""

    began: int
    ended: int
    answer: Answer
    hit: Injected | None = None  # it failed as a fault makes it fail


@dataclass
class Referee:
    """Of one cell."""

    ground: Ground
    scenario: Scenario
    learned: Sequence[Sequence[Learned]]  # one for each unit of each template
    canonical: Canonicaliser
    retryable: frozenset[str]
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._templates = self.ground.templates
        self._offsets = [_offsets(template.contest) for template in self._templates]
        self._judged = [
            [_Judged(unit, mine, self.scenario) for unit, mine in zip(template.units, learned, strict=True)]
            for template, learned in zip(self._templates, self.learned, strict=True)
        ]
        self._places = [
            {n: unit.place for unit in template.units for n in unit.numbers} for template in self._templates
        ]
        self._seen: dict[object, Seen] = {}
        self._orders: dict[tuple[int, int, tuple[bool, ...]], list[tuple[int, ...]]] = {}

    def check(self, batch: Batch, calls: Calls, reading: Reading, remains: Mapping[int, Remains]) -> None:
        """Judge every round of a batch. Raises NotSeparate where rounds turn out to meet."""
        tally = self.tally
        rounds = self._by_round(batch, calls, remains)
        self._excuse(batch, calls.injected, rounds)
        tally.calls += len(calls)
        for number, told in rounds.items():
            template = batch.templates[number - batch.first]
            tally.rounds += 1
            if None in told:
                tally.incomplete += 1
                continue
            whole: list[_Told] = told  # type: ignore[assignment]
            met = unjudged = summed = False
            found: dict[str, Violation] = {}
            for judged in self._judged[template]:
                mine = [whole[n] for n in judged.unit.numbers]
                left = remains[self.ground.unit(number, judged.unit.place)]
                met = met or _met(judged.meetings, mine)
                try:
                    violation = self._violation(judged, mine, reading, left)
                except TooLarge:
                    unjudged = True
                    seen = self._see(judged, mine, reading, left)
                    violation = self._duplicate(judged.learned, seen, [], []) or self._sums(judged, mine, seen)
                    summed = summed or bool(judged.ledgers)
                if violation is not None:
                    found.setdefault(violation.name, violation)
            tally.overlapped += met
            tally.unjudged += unjudged
            tally.summed += summed
            for violation in found.values():
                self._condemn(violation, template, number, whole)

    # ---- calls, round by round ------------------------------------------------------------------------------------

    def _by_round(self, batch: Batch, calls: Calls, remains: Mapping[int, Remains]) -> dict[int, list[_Told | None]]:
        first, templates, offsets = batch.first, batch.templates, self._offsets
        counts = [len(template.contest.operations) for template in self._templates]
        rounds: dict[int, list[_Told | None]] = {
            first + n: [None] * counts[template] for n, template in enumerate(templates)
        }
        plain = [not isinstance(a, Ok) or type(a.value) in _PLAIN for a in calls.answers]
        for code, count in Counter(calls.told).items():
            self._count(calls.answers[code], count)
        columns = (calls.rounds, calls.sessions, calls.positions, calls.began_ns, calls.ended_ns, calls.told)
        for n, session, position, began, ended, code in zip(*columns, strict=True):
            number, answer, template = first + n, calls.answers[code], templates[n]
            place = offsets[template][session] + position
            if not plain[code]:
                unit = self.ground.unit(number, self._places[template][place])
                answer = self.ground.told(answer, unit, remains[unit])
            rounds[number][place] = _Told(began, ended, answer)
        return rounds

    def _excuse(self, batch: Batch, injected: Sequence[Injected], rounds: dict[int, list[_Told | None]]) -> None:
        """What a fault itself answers is not held against the strategy: 57014 to who was cancelled, and to nobody else.

        It promises that its transaction is undone; others of the same call may have been over.
        """
        for fault in injected:
            told = rounds[fault.round]
            place = self._offsets[batch.templates[fault.round - batch.first]][fault.session] + fault.position
            one = told[place]
            if one is not None and fault.met and isinstance(one.answer, Failed):
                told[place] = one._replace(hit=fault)
                self.tally.failures[one.answer.sqlstate] -= 1
        self.tally.failures += Counter()  # drops what is not there any more

    def _count(self, answer: Answer, times: int) -> None:
        match answer:
            case Failed(sqlstate):
                self.tally.failures[sqlstate] += times
            case Refused():
                self.tally.refused += times
            case Unknown():
                self.tally.unknown += times

    def _condemn(self, violation: Violation, template: int, number: int, told: Sequence[_Told]) -> None:
        self.tally.violations[violation.name] += 1
        known = self.tally.examples.get(violation.name)
        if known is None or template < known.template:  # those in which sessions have most in common come first
            refs = self._templates[template].contest.operations
            calls = [OneCall(number, r.session, r.position, *t[:3]) for r, t in zip(refs, told, strict=True)]
            calls.sort(key=lambda call: call.began_ns)
            self.tally.examples[violation.name] = Luck(violation, template, number, tuple(calls))

    # ---- one round ------------------------------------------------------------------------------------------------

    def _violation(self, judged: "_Judged", told: list[_Told], reading: Reading, remains: Remains) -> Violation | None:
        if failed := self._failure(judged, told):
            return failed
        seen = self._see(judged, told, reading, remains)
        learned = judged.learned
        # Of a call that may have had its effect nobody was told anything: an id least of all.
        answers: dict[OpRef, Answer] = {
            ref: answer for ref, answer in seen.outcome.answers if isinstance(answer, Ok | Refused)
        }
        spans, numbers = self._spans(told, [answers.get(ref) for ref in learned.refs])
        doubtful = tuple(one.hit.may_have_committed for one in told if one.hit)  # else answers say who counts
        known = self._orders.setdefault((id(learned), id(seen), doubtful), [])
        if any(keeps_time(spans, order) for order in known):
            return self._invariant(seen)

        def accepts(state: int, order: tuple[int, ...]) -> bool:
            return learned.is_after(state, seen.outcome, answers)

        order = self._search(learned, spans, numbers, accepts)
        if order is not None:
            if len(known) < _ORDERS_MAX:
                known.append(order)
            return self._invariant(seen)
        return self._classified(judged, seen, spans, numbers)

    def _failure(self, judged: "_Judged", told: list[_Told]) -> Violation | None:
        """What no rows are needed for: crashes, then errors that nobody retries, then deadlocks."""
        found: list[tuple[int, Violation]] = []
        for number, one in enumerate(told):
            match one.answer:
                case Crashed():
                    words = f"{_who(judged.unit.contest, number)} {one.answer}"
                    found.append((KINDS.index("crash"), Violation("crash", words)))
                case Failed(sqlstate) if sqlstate not in self.retryable and one.hit is None:
                    kind = "deadlock" if sqlstate == DEADLOCK else "error"
                    words = f"{_who(judged.unit.contest, number)} met {one.answer}"
                    found.append((KINDS.index(kind), Violation(kind, words, sqlstate=sqlstate)))
        return min(found, key=lambda pair: pair[0])[1] if found else None

    def _see(self, judged: "_Judged", told: list[_Told], reading: Reading, remains: Remains) -> Seen:
        """The canonical form; rounds that came to the same share it."""
        answers = tuple(one.answer for one in told)
        key: object = (id(judged.learned), tuple(map(tuple, remains.rows)), answers, _types(answers))
        try:
            seen = self._seen.get(key)
        except TypeError:  # an answer that cannot be hashed
            key, seen = None, None
        if seen is None:
            tables = len(reading.tables)
            one = Reading(
                tuple(map(tuple, remains.rows[:tables])), tuple(map(tuple, remains.rows[tables:])), reading.started
            )
            refs = judged.learned.refs
            seen = self.canonical.see(one, dict(zip(refs, answers, strict=True)), judged.arguments)
            if key is not None:
                if len(self._seen) >= _SEEN_MAX:
                    self._seen.clear()
                    self._orders.clear()
                self._seen[key] = seen
        return seen

    def _spans(self, told: Sequence[_Told], answers: Sequence[Answer | None]) -> tuple[list[Span], list[int]]:
        """The calls that had or may have had an effect; their numbers in the template."""
        spans, numbers = [], []
        for number, (one, answer) in enumerate(zip(told, answers, strict=True)):
            if self._left_nothing(one):
                continue
            sure = isinstance(one.answer, Ok | Refused)
            # An id is named by the rows in the end, and compared with them.
            said = None if not sure or answer is None or is_vague(answer) else answer
            spans.append(Span(one.began, one.ended, said, sure))
            numbers.append(number)
        return spans, numbers

    def _left_nothing(self, one: _Told) -> bool:
        """Whether it promised that nothing happened."""
        if one.hit is not None:
            return not one.hit.may_have_committed
        return isinstance(one.answer, Failed) and one.answer.sqlstate in self.retryable

    def _search(
        self, learned: Learned, spans: Sequence[Span], numbers: Sequence[int], accepts: object
    ) -> tuple[int, ...] | None:
        return explain(
            spans,
            learned.start,
            lambda state, number: learned.step(state, numbers[number]),
            accepts,  # type: ignore[arg-type]
        )

    def _invariant(self, seen: Seen) -> Violation | None:
        for name, row in seen.broken:
            return Violation("invariant", f"'{name}' must return no row, and returned {row}")
        return None

    # ---- what kind of wrong ---------------------------------------------------------------------------------------

    def _classified(self, judged: "_Judged", seen: Seen, spans: list[Span], numbers: list[int]) -> Violation:
        """As the oracles would, in their order; of so many calls not every order can be looked at."""
        learned = judged.learned
        with suppress(TooLarge):
            if duplicate := self._duplicate(learned, seen, spans, numbers):
                return duplicate

        def accepts(state: int, order: tuple[int, ...]) -> bool:
            return learned.seen(state).outcome.rows == seen.outcome.rows

        silent = [replace(span, told=None) for span in spans]
        said = ", ".join(f"s{_number_of(judged.unit.contest, n)}: {t}" for n, t in _told_of(seen, learned))
        with_rows = f"{len(spans)} calls at once; told {said}"
        with suppress(TooLarge):
            if self._search(learned, silent, numbers, accepts) is not None:
                return Violation("wrong-answer", f"the rows are those of an order whose answers differ: {with_rows}")
            optional = [replace(span, must=False) for span in silent]
            if self._search(learned, optional, numbers, accepts) is not None:
                words = f"the rows are those of some of the acknowledged calls only: {with_rows}"
                return Violation("lost-update", words, anomaly="P4")
        if broken := self._invariant(seen):
            return broken
        return Violation("non-serializable", f"no order of the calls explains rows and answers: {with_rows}")

    def _duplicate(self, learned: Learned, seen: Seen, spans: list[Span], numbers: list[int]) -> Violation | None:
        """More live rows than the start state had, than one, and than the calls leave in the order of their ends."""
        at_start = learned.seen(learned.start).live
        for identity, keys in seen.live.items():
            for key, found in keys.items():
                most = max(1, at_start.get(identity, {}).get(key, 0))
                if found > most and spans:
                    most = max(most, self._in_order_of_ends(learned, spans, numbers).live.get(identity, {}).get(key, 0))
                if found > most:
                    shown = ", ".join(map(repr, key))
                    words = f"{found} live rows of {identity} = ({shown}); one at a time the calls leave {most}"
                    return Violation("duplicate", words)
        return None

    def _in_order_of_ends(self, learned: Learned, spans: list[Span], numbers: list[int]) -> Seen:
        state = learned.start
        for number in sorted(range(len(spans)), key=lambda n: spans[n].ended):
            state = learned.step(state, numbers[number])[0]
        return learned.seen(state)

    def _sums(self, judged: "_Judged", told: list[_Told], seen: Seen) -> Violation | None:
        """For rounds that are too large for a search."""
        if not judged.ledgers:
            return None
        found = sums(seen.outcome.rows)
        certain = {
            number: isinstance(one.answer, Ok | Refused)
            for number, one in enumerate(told)
            if not self._left_nothing(one)
        }
        for one in judged.ledgers:
            at = found.get(one.column, one.start * 0)
            if violation := ledger.judge(one.what, one.start, at, one.entries(certain)):
                return violation
        return None


class _Judged:
    """A unit, and what is to be known of it once."""

    def __init__(self, unit: Unit, learned: Learned, scenario: Scenario) -> None:
        self.unit, self.learned = unit, learned
        self.meetings = _meetings(unit.contest, scenario)
        calls = [call for calls in unit.contest.sessions for call in calls]
        self.arguments = frozenset(str(value) for call in calls for _, value in call.arguments)

    @cached_property
    def ledgers(self) -> tuple[Ledger, ...]:
        try:
            return self.learned.ledgers()
        except TooLarge:
            return ()


def _who(contest: Contest, number: int) -> str:
    ref = contest.operations[number]
    return f"s{ref.session + 1} {contest.call(ref)}"


def _number_of(contest: Contest, number: int) -> str:
    ref = contest.operations[number]
    return f"{ref.session + 1}" if len(contest.sessions[ref.session]) == 1 else f"{ref.session + 1}.{ref.position + 1}"


def _told_of(seen: Seen, learned: Learned) -> list[tuple[int, Answer]]:
    numbers = {ref: number for number, ref in enumerate(learned.refs)}
    return [(numbers[ref], answer) for ref, answer in seen.outcome.answers]


def _types(answers: Sequence[Answer]) -> tuple[type, ...]:
    """True and 1 are equal, and not the same answer."""
    return tuple(type(answer.value) for answer in answers if isinstance(answer, Ok))


def _offsets(contest: Contest) -> list[int]:
    """Number of the first call of each session, all calls counted."""
    offsets, count = [], 0
    for calls in contest.sessions:
        offsets.append(count)
        count += len(calls)
    return offsets


# Who meets whom.


def _meetings(contest: Contest, scenario: Scenario) -> list[list[int]]:
    """Groups of calls, by number, that have a key in common; calls without keys meet everybody."""
    groups: dict[object, list[int]] = {}
    keyless: list[int] = []
    for number, ref in enumerate(contest.operations):
        call = contest.call(ref)
        names = scenario.operations[call.operation].keys
        keys = {(names[name], repr(value)) for name, value in call.arguments if name in names}
        for key in keys:
            groups.setdefault(key, []).append(number)
        if not keys:
            keyless.append(number)
    if keyless:
        return [list(range(len(contest.operations)))]
    # A group within another shows nothing that the other does not.
    distinct = {tuple(group) for group in groups.values() if len(group) > 1}
    return [list(g) for g in distinct if not any(set(g) < set(other) for other in distinct)]


def _met(groups: Sequence[Sequence[int]], told: Sequence[_Told]) -> bool:
    """Whether two calls of different sessions were under way at once, on a common key."""
    for group in groups:
        latest = -1
        for began, ended in sorted((told[number].began, told[number].ended) for number in group):
            if began < latest:
                return True
            latest = max(latest, ended)
    return False
