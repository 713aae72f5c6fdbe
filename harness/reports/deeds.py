"""What a statement or a transaction did, in words, and how it differs from what its like did in another order."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.model.sqlstate import describe
from harness.model.trace import Ran, Transaction, Values, Version

SHOWN_MAX = 2  # rows of one kind
COLUMNS_MAX = 4
_WRITES = ("INSERT", "UPDATE", "DELETE", "MERGE")
_FUNCTION = re.compile(r"\s*(?:SELECT\s+(?:\*\s+FROM\s+)?|CALL\s+)([\w.]+)\s*\(", re.I)
_BUILT_IN = re.compile(r"pg_|count$|max$|min$|sum$|coalesce$|exists$|set_config$|current_setting$|nextval$", re.I)


# ---- statements ---------------------------------------------------------------------------------------------------


def label(ran: Ran) -> str:
    """`INSERT`; `store_token` for a call of that function; for a WITH what it did in the end."""
    if function := function_of(ran):
        return function
    word = ran.text.split(None, 1)[0].strip("(").upper() if ran.text.strip() else "statement"
    return ran.status.split()[0] if word == "WITH" and ran.status else word


def function_of(ran: Ran) -> str | None:
    """The application's function that the statement calls, which may run several statements."""
    called = _FUNCTION.match(ran.text)
    return called[1] if called and not _BUILT_IN.match(called[1]) else None


def tries_to_write(ran: Ran) -> bool:
    return function_of(ran) is not None or label(ran) in _WRITES


def writes(ran: Ran) -> bool:
    """Whether it wrote something, as far as its command tag tells."""
    if ran.error is not None:
        return False
    return function_of(ran) is not None or (ran.status.startswith(_WRITES) and ran.affected != 0)


def did(ran: Ran, *, past: bool) -> str:
    """`read no row`, `wrote 1 row`, `met 23505 unique_violation`."""
    if ran.error is not None:
        return f"{'met' if past else 'meets'} {describe(ran.error.sqlstate)}"
    if ran.returned or ran.status.startswith("SELECT"):
        return f"{'read' if past else 'reads'} {_returned(ran)}"
    if ran.affected is None:
        return "passed" if past else "passes"
    rows = "no row" if not ran.affected else "1 row" if ran.affected == 1 else f"{ran.affected} rows"
    return f"{'wrote' if past else 'writes'} {rows}"


def _returned(ran: Ran) -> str:
    if not ran.returned:
        return "no row"
    if not ran.columns:  # SELECT FROM ...
        return "1 row" if ran.returned == 1 else f"{ran.returned} rows"
    shown = [values(row) for row in ran.rows[:SHOWN_MAX]]
    more = [f"{ran.returned - len(shown)} more"] if ran.returned > len(shown) else []
    return f"the {'row' if ran.returned == 1 else 'rows'} {listed(shown + more)}"


def values(row: Values) -> str:
    return f"({', '.join('NULL' if value is None else value for value in row)})"


def same(one: Ran, other: Ran) -> bool:
    """Whether two runs of a statement came to the same."""
    state = one.error.sqlstate if one.error else None
    theirs = other.error.sqlstate if other.error else None
    return (one.text, one.status, one.rows, state) == (other.text, other.status, other.rows, theirs)


def same_parameters(one: Ran, other: Ran) -> bool:
    """But for ids that the server or the client made up."""
    made_up = re.compile(r"\b\d{5,}\b|[0-9a-f]{8}-[0-9a-f-]{27}")
    return made_up.sub("#", one.statement) == made_up.sub("#", other.statement)


# ---- what is left of them -----------------------------------------------------------------------------------------

_Row = tuple[str, tuple[str, ...], Values]  # table, columns, values


@dataclass(frozen=True, slots=True)
class Effect:
    """Rows taken away and put in; of several transactions, in sum."""

    removed: Counter[_Row]
    added: Counter[_Row]


def effect(transactions: Iterable[Transaction]) -> Effect:
    removed, added = Counter[_Row](), Counter[_Row]()
    for transaction in transactions:
        removed += _counted(transaction.removed)
        added += _counted(transaction.added)
    return Effect(removed - added, added - removed)


def _counted(versions: Iterable[Version]) -> Counter[_Row]:
    return Counter((version.table, version.columns, version.row) for version in versions)


def changed(one: Effect, other: Effect, *, past: bool) -> str:
    """What the one did to the rows that the other did not, or did otherwise."""
    among = [*one.removed, *one.added, *other.removed, *other.added]
    if one.removed.total() == one.added.total() == 1 and {row[:2] for row in (*one.removed, *one.added)} == {
        next(iter(one.removed))[:2]
    }:
        verb = "replaced" if past else "replaces"
        return f"{verb} {_shown(one.removed, among)} by {_shown(one.added, among)}"
    parts = []
    for verb, mine, theirs in (("remove", one.removed, other.removed), ("add", one.added, other.added)):
        if mine - theirs:
            word = f"{verb}{'d' if verb == 'remove' else 'ed'}" if past else f"{verb}s"
            parts.append(f"{word} {_shown(mine - theirs, among)}")
        elif theirs - mine:
            parts.append(f"{'did' if past else 'does'} not {verb} {_shown(theirs - mine, among)}")
    return listed(parts)


def _shown(rows: Counter[_Row], among: Sequence[_Row]) -> str:
    """Rows in the columns in which they differ from the others, without what the server made up."""
    texts = []
    for table, columns, row in list(rows.elements())[:SHOWN_MAX]:
        others = [r for t, _, r in among if t == table]
        every = range(len(columns))
        plain = [i for i in every if not any((other[i] or "").startswith("<") for other in others)] or list(every)
        telling = [i for i in plain if any(other[i] != row[i] for other in others)] or plain
        shown = (f"{columns[i]}={'NULL' if row[i] is None else row[i]}" for i in telling[:COLUMNS_MAX])
        texts.append(f"({', '.join(shown)})")
    if rows.total() > SHOWN_MAX:
        texts.append(f"{rows.total() - SHOWN_MAX} more")
    return listed(texts) or "no row"


def listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
