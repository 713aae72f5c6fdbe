"""Where the hammer races: tables made ready for hundreds of rounds at once, and read back round by round.

The keys of a round are numbered from its base on. Numbers that large are found again wherever they stand, in integers,
in `user100000042` or a uuid, so that every row says whose it is; moved back, the rows are those of the template.
"""

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from harness.generators.rounds import fresh, is_separate, places, stride, template
from harness.generators.states import Statement, state_statements
from harness.model.contest import Call, Contest
from harness.model.history import Batch
from harness.model.outcome import Answer, Ok
from harness.runners.explorer import queries_of
from harness.scenario.language import Scenario
from harness.servers.server import one_line
from harness.sessions.arena import Arena, Reading, seed_bytes
from harness.sessions.control import Result, SqlRefused

ORIGIN = 100_000_000  # keys are numbered from here on: no argument of a scenario, no id and no year is as large
ROOM = 2_000_000_000  # int4 ends at 2,147,483,647
_LARGE = re.compile(r"(?<![0-9])[0-9]{9,10}(?![0-9])")
_UUID = re.compile(r"00000000-0000-0000-0000-([0-9a-f]{12})")
_IDS = 1_000_000  # that a batch may draw from one sequence
_TIMES = (1114, 1184)


class NotSeparate(Exception):
    """A row or an answer is of two rounds, or of none and changed: rounds have to be run one at a time."""


@dataclass
class Remains:
    """What one round left, with its keys as the template has them."""

    rows: list[list[tuple[str | None, ...]]]  # of each table, then of each query
    ids: dict[int, int] = field(default_factory=dict)  # generated numbers, as a trial of its own would have drawn them


class Ground:
    """The tables of a race. One batch at a time."""

    def __init__(
        self,
        arena: Arena,
        scenario: Scenario,
        models: Sequence[Contest],
        sessions: int,
        seed_of: Callable[[Contest], bytes],
        *,
        one_at_a_time: bool = False,
    ) -> None:
        """`seed_of`: the start state of a contest, for rounds that are run one at a time with the template's keys."""
        self.arena, self.scenario, self._seed_of = arena, scenario, seed_of
        by_calls = any(isinstance(step, Call) for step in scenario.states[models[0].state])
        apart = not by_calls and all(is_separate(scenario, model) and not model.prelude for model in models)
        self.separate = apart and not one_at_a_time
        self.step = max(stride(scenario, model) for model in models)
        self.places = places(sessions)
        step = self.step if self.separate else 0
        self.templates = tuple(template(scenario, model, sessions, step) for model in models)
        self._bases = arena.sequence_bases
        self._times = [[c.type in _TIMES for c in table.columns] for table in arena.tables]
        live = queries_of(scenario)[1](arena).live_tables
        by_name = {table.name: times for table, times in zip(arena.tables, self._times, strict=True)}
        queries = len(queries_of(scenario)[0])
        kinds: list[list[bool]] = [[] for _ in scenario.identity]
        kinds += [by_name[name] for name in live]
        self._times += kinds + [[] for _ in range(queries - len(kinds))]
        self._first = self._count = 0  # units of the batch

    def unit(self, number: int, place: int) -> int:
        """The number of a unit among those of all rounds."""
        return number * self.places + place

    def base(self, unit: int) -> int:
        """Where the keys of this unit are numbered from."""
        if not self.separate:
            return 0
        return ORIGIN + unit % (ROOM // self.step) * self.step

    def batch(self, first: int, chosen: Sequence[int]) -> Batch:
        """The rounds from `first` on, each with the template that was chosen for it."""
        bases = array("q", (self.base(self.unit(first + number, 0)) for number in range(len(chosen))))
        return Batch(first, array("H", chosen), bases)

    # ---- before ---------------------------------------------------------------------------------------------------

    def prepare(self, batch: Batch) -> None:
        """Empty the tables, and make the start state of every round. Raises SqlRefused."""
        self._first, self._count = self.unit(batch.first, 0), len(batch.templates) * self.places
        if not self.separate:
            if len(batch.templates) != 1:
                raise ValueError(f"{len(batch.templates)} rounds whose keys are not separate: expected one at a time")
            self.arena.prepare(self._seed_of(self.templates[batch.templates[0]].contest))  # `read` has emptied them
            return
        statements: dict[tuple[str, str], Statement] = {}
        for which, base in zip(batch.templates, batch.bases, strict=True):
            for step in state_statements(self.scenario, fresh(self.scenario, self.templates[which].contest, base)):
                assert not isinstance(step, Call)
                # What has no key of the round is common to all rounds, and made once.
                statements.setdefault((step[0], repr(step[1])), step)
        self.arena.prepare(seed_bytes(self.arena.scribe, statements.values()), truncate=True)
        self._common = self._commons(self.arena.look()) if statements else [[] for _ in self._times]

    def _commons(self, reading: Reading) -> list[list[tuple[str | None, ...]]]:
        """Rows that belong to no round."""
        return [
            sorted((row for row in result if self._owner(row) is None), key=repr) if of_table else []
            for of_table, result in self._results(reading)
        ]

    def _results(self, reading: Reading) -> list[tuple[bool, Result]]:
        return [(True, result) for result in reading.tables] + [(False, result) for result in reading.queries]

    # ---- afterwards -----------------------------------------------------------------------------------------------

    def read(self) -> tuple[Reading, dict[int, Remains]]:
        """Everything as it stands, and by unit. Raises NotSeparate."""
        if not self.separate:
            reading = self.arena.finish()  # and made ready for the next, in one round trip
            whole = Remains([list(result) for _, result in self._results(reading)])
            self._rename(whole)
            return reading, {self._first: whole}
        reading = self.arena.look()
        finished = (self.arena.control.run("SELECT clock_timestamp()")[0][0][0]) or ""
        results = self._results(reading)
        if self._commons(reading) != self._common:
            raise NotSeparate("a row without a key was changed")
        remains = {
            self._first + number: Remains([list(common) for common in self._common]) for number in range(self._count)
        }
        for index, (_, result) in enumerate(results):
            times = self._times[index]
            for row in result:
                owner = self._owner(row)
                if owner is None:
                    continue
                if owner not in remains:
                    raise NotSeparate("a row has keys of another batch than its own")
                moved = [self._moved(value, owner) for value in row]
                if any(times):
                    moved = [
                        _masked(value, reading.started, finished) if timed else value
                        for value, timed in zip(moved, times, strict=True)
                    ]
                remains[owner].rows[index].append(tuple(moved))
        for one in remains.values():
            self._rename(one)
        return reading, remains

    def _owner(self, row: Sequence[str | None]) -> int | None:
        """The round whose keys a row has. Raises NotSeparate where it has those of two."""
        if not self.separate:
            return self._first
        owner = None
        for value in row:
            if value is None or len(value) < 9:
                continue
            for number in _numbers(value):
                found = self._unit_of(number)
                if found is None:
                    continue
                if owner is not None and owner != found:
                    raise NotSeparate(f"one row has the keys of the rounds {owner} and {found}")
                owner = found
        return owner

    def _unit_of(self, number: int) -> int | None:
        place = (number - ORIGIN) // self.step
        first = self._first % (ROOM // self.step)
        return self._first + place - first if 0 <= place - first < self._count else None

    def _moved(self, value: str | None, owner: int) -> str | None:
        if value is None or len(value) < 9:
            return value
        base = self.base(owner)

        def back(found: "re.Match[str]") -> str:
            number = int(found[0]) - base
            return str(number) if 0 <= number < self.step else found[0]

        def uuid_back(found: "re.Match[str]") -> str:
            number = int(found[1], 16) - base
            return str(UUID(int=number)) if 0 <= number < self.step else found[0]

        return _LARGE.sub(back, _UUID.sub(uuid_back, value))

    def damage(self) -> str | None:
        """What amcheck says of the indexes against the heap: "" for nothing, None where there is no amcheck.

        bt_index_check(heapallindexed) of PostgreSQL's appendix F.1: every row of the heap has its entry.
        """
        run = self.arena.control.run
        try:
            run("CREATE EXTENSION IF NOT EXISTS amcheck")
        except SqlRefused:  # not there, or not for us
            return None
        names = ", ".join(f"'{table.name}'::regclass" for table in self.arena.tables)
        if not names:
            return ""
        try:
            run(
                "SELECT bt_index_check(i.indexrelid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
                f" JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree' AND i.indrelid IN ({names})"
            )
        except SqlRefused as refused:
            return one_line(refused)
        return ""

    # ---- generated numbers ----------------------------------------------------------------------------------------

    def _rename(self, remains: Remains) -> None:
        """Numbers that the round drew from a sequence are those that it would have drawn alone."""
        drawn = sorted({int(v) for rows in remains.rows for row in rows for v in row if v and self._is_id(v)})
        for number in drawn:
            self._new_id(remains, number)
        if drawn:
            remains.rows = [
                [tuple(str(remains.ids[int(v)]) if v and self._is_id(v) else v for v in row) for row in rows]
                for rows in remains.rows
            ]
        remains.rows = [sorted(rows, key=repr) for rows in remains.rows]

    def _is_id(self, text: str) -> bool:
        return text.isdigit() and self._sequence_of(int(text)) is not None

    def _sequence_of(self, number: int) -> int | None:
        for low in self._bases:
            if low <= number < low + (_IDS if low > _IDS else 10_000) - 1:
                return low
        return None

    def _new_id(self, remains: Remains, number: int) -> int:
        if number not in remains.ids:
            low = self._sequence_of(number)
            assert low is not None
            known = sum(1 for other in remains.ids if self._sequence_of(other) == low)
            remains.ids[number] = low + known
        return remains.ids[number]

    # ---- answers --------------------------------------------------------------------------------------------------

    def told(self, answer: Answer, owner: int, remains: Remains) -> Answer:
        """An answer in the words of the template."""
        return replace(answer, value=self._plain(answer.value, owner, remains)) if isinstance(answer, Ok) else answer

    def _plain(self, value: Any, owner: int, remains: Remains) -> Any:
        match value:
            case None | bool():
                return value
            case int():
                if self.separate and (found := self._unit_of(value)) is not None:
                    if found != owner:
                        raise NotSeparate(f"a call of round {owner} was told of a key of round {found}")
                    return value - self.base(owner)
                return value if self._sequence_of(value) is None else self._new_id(remains, value)
            case str():
                if self.separate and len(value) >= 9:
                    for number in _numbers(value):
                        if self._unit_of(number) not in (None, owner):
                            raise NotSeparate(f"a call of round {owner} was told of another's key: {value!r}")
                    return self._moved(value, owner)
                return value
            case UUID():
                return UUID(self._plain(str(value), owner, remains))
            case tuple() | list():
                return type(value)(self._plain(part, owner, remains) for part in value)
            case dict():
                return {key: self._plain(part, owner, remains) for key, part in value.items()}
        return value


def _numbers(text: str) -> list[int]:
    found = [int(number) for number in _LARGE.findall(text)]
    if len(text) >= 36:
        found += [int(number, 16) for number in _UUID.findall(text)]
    return found


def _masked(value: str | None, started: str, finished: str) -> str | None:
    """Times within the batch are `<now>`; one that was computed from such a time is told from it."""
    if value is None or "." not in value:
        return value
    if started <= value <= finished:
        return "<now>"
    try:
        after = (_moment(value) - _moment(started)).total_seconds()
        lasted = (_moment(finished) - _moment(started)).total_seconds()
    except ValueError:
        return value
    # now() was between the two: of the whole minutes, hours, days that can have been added, the one that fits.
    minutes = int(after // 60) * 60
    return f"<now{minutes if after - minutes <= lasted else round(after - lasted / 2):+d}s>"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=None)
