"""Raw rows and answers made comparable: ids renamed by first appearance, times of the trial `<now>`, lists sorted.

Two trials that differ only in what the server or the clock made up must come to equal outcomes, and no others.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from harness.model.contest import OpRef
from harness.model.outcome import Answer, Ok, Outcome, Row, Rows, Table
from harness.oracles.evidence import LiveKeys
from harness.sessions.arena import Reading, TableFacts
from harness.sessions.control import Result

_IDS_PER_SEQUENCE = 5_000  # numbers a trial may draw from one sequence and still be known for ids
_TIMES = (1114, 1184)  # timestamp, timestamptz
_UUID = 2950
_NEVER_S = 400 * 86_400


@dataclass(frozen=True, slots=True)
class Seen:
    """What a trial came to, with the parts of it that identities and invariants speak of."""

    outcome: Outcome
    live: LiveKeys
    live_rows: Rows
    broken: tuple[tuple[str, str], ...]  # invariants that returned a row


@dataclass(frozen=True, slots=True)
class Queries:
    """What is asked after every trial besides the tables: `sql` in the order in which results come."""

    identities: tuple[str, ...] = ()  # names; each: the key's columns, then the number of live rows
    nulls_distinct: tuple[bool, ...] = ()
    live_tables: tuple[str, ...] = ()  # names of tables; each: SELECT * of its live rows
    invariants: tuple[str, ...] = ()


@dataclass
class Canonicaliser:
    tables: tuple[TableFacts, ...]
    sequence_bases: tuple[int, ...]
    queries: Queries = field(default_factory=Queries)

    def __post_init__(self) -> None:
        self._bases = tuple((base, base + _IDS_PER_SEQUENCE) for base in self.sequence_bases)
        self._uuids = any(c.generated and c.type == _UUID for t in self.tables for c in t.columns)
        self.stable = not self._uuids and not any(c.type in _TIMES for t in self.tables for c in t.columns)

    def see(
        self, reading: Reading, answers: Mapping[OpRef, Answer], arguments: frozenset[object] = frozenset()
    ) -> Seen:
        """The canonical form of one trial; `arguments` are values that calls were given, never generated ids."""
        started = _moment(reading.started)
        raw = [
            [self._timed(row, facts, started) for row in result]
            for facts, result in zip(self.tables, reading.tables, strict=True)
        ]
        q, results = self.queries, list(reading.queries)
        counts = [results.pop(0) for _ in q.identities]
        by_name = {facts.name: facts for facts in self.tables}
        kept = [(by_name[t], [self._timed(row, by_name[t], started) for row in results.pop(0)]) for t in q.live_tables]
        told = sorted(answers.items())
        made = self._made(raw, arguments)
        # Live rows are named first: a dead row beside them must not change what they are called.
        everything = [*kept, *zip(self.tables, raw, strict=True)]
        names = self._name(everything, made, [_plain(a.value, started) for _, a in told if isinstance(a, Ok)])
        rows = tuple(
            Table(facts.name, tuple(c.name for c in facts.columns), _renamed(result, names, self._is_number))
            for facts, result in zip(self.tables, raw, strict=True)
        )
        answered = tuple(
            (ref, Ok(self._answer(_plain(a.value, started), names, arguments)) if isinstance(a, Ok) else a)
            for ref, a in told
        )
        live: dict[str, dict[Row, int]] = {}
        for name, distinct, result in zip(q.identities, q.nulls_distinct, counts, strict=True):
            named = ((tuple(names.get(v, v) if v else v for v in row[:-1]), int(row[-1] or 0)) for row in result)
            live[name] = {key: n for key, n in named if not (distinct and None in key)}
        live_rows = [
            Table(facts.name, tuple(c.name for c in facts.columns), _renamed(rows_kept, names, self._is_number))
            for facts, rows_kept in kept
        ]
        rest = tuple(t for t in rows if t.name not in q.live_tables)
        broken = tuple((name, str(result[0])) for name, result in zip(q.invariants, results, strict=True) if result)
        return Seen(Outcome(rows, answered), live, (*live_rows, *rest), broken)

    # ---- times ----------------------------------------------------------------------------------------------------

    def _timed(self, row: Sequence[str | None], facts: TableFacts, started: datetime) -> Row:
        if self.stable:
            return tuple(row)
        return tuple(
            _when(_moment(value), started) or value if value is not None and c.type in _TIMES else value
            for value, c in zip(row, facts.columns, strict=True)
        )

    # ---- generated ids --------------------------------------------------------------------------------------------

    def masked(self, value: str, type_: int, started: str, given: frozenset[object]) -> str:
        """A single value as two trials have it in common; what a call was given stays as it is."""
        if value in given:
            return value
        if type_ in _TIMES:
            return _when(_moment(value), _moment(started)) or value
        if _is_uuid(value):
            return "<uuid>"
        return "<id>" if self._is_number(value) else value

    def _is_number(self, text: object) -> bool:
        """Whether a number was drawn from a sequence: they start where no argument does."""
        if isinstance(text, str):
            if not text.isdigit() or len(text) > 18:
                return False
            number = int(text)
        elif isinstance(text, int) and not isinstance(text, bool):
            number = text
        else:
            return False
        return any(low <= number < high for low, high in self._bases)

    def _made(self, raw: Sequence[Sequence[Row]], arguments: frozenset[object]) -> set[object]:
        """Values in columns that the server fills: ids, unless a call or a start state gave them."""
        given = {str(value) for value in arguments}
        return {
            value
            for facts, rows in zip(self.tables, raw, strict=True)
            for row in rows
            for value, c in zip(row, facts.columns, strict=True)
            if c.generated and value is not None and value not in given and (c.type == _UUID or self._is_number(value))
        }

    def _name(
        self, tables: Sequence[tuple[TableFacts, Sequence[Row]]], made: set[object], told: Sequence[object]
    ) -> dict[object, str]:
        """Names by first appearance: rows in the order of what is not generated, ties by who was told the id first."""
        mentions: dict[object, int] = {}
        for rank, value in enumerate(told):
            for part in _parts(value):
                mentions.setdefault(str(part), rank)
        names: dict[object, str] = {}
        counts: dict[str, int] = {}
        for facts, rows in tables:

            def order(row: Row) -> tuple[Any, ...]:
                masked = tuple("" if v in made and v not in names else str(names.get(v, v)) for v in row)
                return masked, min((mentions.get(v, len(told)) for v in row if v in made), default=len(told))

            for row in sorted(rows, key=order):
                for value, column in zip(row, facts.columns, strict=True):
                    if value in made and value not in names and column.generated:
                        counts[column.name] = counts.get(column.name, 0) + 1
                        names[value] = f"{column.name}#{counts[column.name]}"
        return names

    def _answer(self, value: object, names: Mapping[object, str], arguments: frozenset[object]) -> object:
        match value:
            case tuple():
                return tuple(self._answer(part, names, arguments) for part in value)
            case int() if self._is_number(value):
                return names.get(str(value), "gone")
            case str() if value in names:
                return names[value]
            case str() if self._uuids and _is_uuid(value) and value not in {str(a) for a in arguments}:
                return "gone"
        return value


def _renamed(rows: Sequence[Row], names: Mapping[object, str], is_number: Any) -> tuple[Row, ...]:
    named = [tuple(names.get(v, "gone" if is_number(v) else v) if v is not None else None for v in row) for row in rows]
    return tuple(sorted(named, key=lambda row: tuple((v is None, str(v)) for v in row)))


def _parts(value: object) -> Sequence[object]:
    return [part for inner in value for part in _parts(inner)] if isinstance(value, tuple) else [value]


def _plain(value: object, started: datetime) -> object:
    """An answer as a comparable value: rows as tuples, lists sorted, times of the trial `<now>`."""
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return value
        case datetime():
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            return _when(aware, started) or str(value)
        case dict():
            return tuple((str(k), _plain(v, started)) for k, v in value.items())
        case tuple():
            return tuple(_plain(v, started) for v in value)
        case list() | set() | frozenset():
            return tuple(sorted((_plain(v, started) for v in value), key=repr))
        case UUID():
            return str(value)
    if type(value).__repr__ is object.__repr__:  # would print its address
        return type(value).__name__
    return repr(value)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:  # infinity, BC, or a year beyond Python's
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _when(moment: datetime, started: datetime) -> str | None:
    """`<now>` for a time within the trial, `<now+3600s>` for one computed from it, None for any other."""
    after = (moment - started).total_seconds()
    if 0 <= after < 60:
        return "<now>"
    # A literal of the scenario has no microseconds; what was computed from now() has.
    if moment.microsecond and -_NEVER_S < after < _NEVER_S:
        return f"<now{round(after):+d}s>"
    return None


_UUID_FORM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _is_uuid(text: str) -> bool:
    return bool(_UUID_FORM.fullmatch(text))


def values_of(results: Sequence[Result]) -> frozenset[object]:
    """Every value that stands in a reading."""
    return frozenset(value for result in results for row in result for value in row if value is not None)
