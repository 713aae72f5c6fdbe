"""Values of PostgreSQL's types that code forgets: nothing, empty, long, negative, alike but not equal, tied in time.

The simplest value of each comes first, so that Hypothesis shrinks to it.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

_NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
# Pairs that a person, lower(), a collation or a normal form (Unicode, UAX 15) may take for equal, and bytes do not.
_TEXTS = ("a", "", "A", "a ", "\u00e9", "e\u0301", "\u0430", "\u00df", "ss", "I", "\u0131", "'", "%", "\\", "x" * 3_000)
_JSON = ("{}", '{"a": 1}', '{"a": 1.0}', '{"a": null}', '{"a": 1, "a": 2}', "[]", "[1, 1]", '"a"', "0", "null")


def _integers(bits: int) -> Callable[[], SearchStrategy[object]]:
    most = 2 ** (bits - 1)
    edges = st.sampled_from((0, 1, -1, most - 1, -most, most))  # the last does not fit: a body is to refuse it
    return lambda: edges | st.integers(-10, 10)


def _texts(length: int | None = None) -> SearchStrategy[object]:
    edges = _TEXTS if length is None else (*(t for t in _TEXTS if len(t) <= length), "y" * length, "z" * (length + 1))
    written = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.sampled_from(edges) | st.text(written, max_size=min(8, length or 8))


_TIMES: tuple[timedelta, ...] = (timedelta(), timedelta(seconds=-1), timedelta(microseconds=1), timedelta(days=365))

_OF: dict[str, Callable[[], SearchStrategy[object]]] = {
    "smallint": _integers(16),
    "integer": _integers(32),
    "bigint": _integers(64),
    "numeric": lambda: st.sampled_from([Decimal(n) for n in ("0", "1", "-1", "1.0", "1.00", "1e20", "0.000001")]),
    "double precision": lambda: st.sampled_from([0.0, 1.0, -0.0, 0.1, 1e300]),
    "boolean": st.booleans,
    "text": _texts,
    "uuid": lambda: st.integers(0, 9).map(lambda n: UUID(int=n)),
    "jsonb": lambda: st.sampled_from(_JSON),
    "date": lambda: st.sampled_from([_NOON.date(), date(1970, 1, 1), date(9999, 12, 31)]),
    "timestamp with time zone": lambda: st.sampled_from([_NOON + delta for delta in _TIMES]),
    "timestamp": lambda: st.sampled_from([(_NOON + delta).replace(tzinfo=None) for delta in _TIMES]),
    "bytea": lambda: st.binary(max_size=4),
}
_CALLED = {
    "int": "integer", "int4": "integer", "int2": "smallint", "int8": "bigint", "decimal": "numeric", "bool": "boolean",
    "float8": "double precision", "json": "jsonb", "timestamptz": "timestamp with time zone", "citext": "text",
    "timestamp without time zone": "timestamp", "varchar": "text", "character varying": "text", "name": "text",
}  # fmt: skip


def values_of(type_: str, *, nullable: bool = False) -> SearchStrategy[object] | None:
    """A generator for a type as SQL spells it: `int`, `varchar(20)`, `text[]`. None for one that is not known here.

    Arrays hold duplicates; two of them may hold the same in opposite orders.
    """
    words = " ".join(type_.lower().split())
    if words.endswith("[]"):
        members = values_of(words[:-2])
        found = None if members is None else _batches(members)
    else:
        found = _scalar(words)
    return st.none() | found if nullable and found is not None else found


def _scalar(words: str) -> SearchStrategy[object] | None:
    base, _, modifier = words.partition("(")
    name = _CALLED.get(base.strip(), base.strip())
    if name == "text" and modifier.rstrip(")").isdigit():
        return _texts(int(modifier.rstrip(")")))
    return _OF[name]() if name in _OF else None


def _batches(members: SearchStrategy[object]) -> SearchStrategy[object]:
    few = st.lists(members, max_size=3)
    return few | few.map(lambda some: [*some, *some[:1]]) | few.map(lambda some: some[::-1])
