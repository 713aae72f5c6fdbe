"""A statement under examination: where it stands, as it was written, and as the server can parse it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """One INSERT ... ON CONFLICT, MERGE or other command as it stands in a source, and as the server can parse it."""

    file: str  # as the user named it; "-e", "<stdin>", "pg_stat_statements"
    line: int  # 1-based, of the statement's first word
    column: int  # 1-based
    text: str  # as written, placeholders and all
    sql: str  # for the server: placeholders numbered $1, $2, ...
    parameters: int  # how many there are
    ignored: frozenset[str] = frozenset()  # codes of `-- harness: ignore D103` on or above it; "*" for a bare ignore
    dynamic: tuple[str, ...] = ()  # template parts that are no parameters (f"{table}"), for a note "cannot be checked"
