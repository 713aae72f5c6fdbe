"""Where statements come from: files of SQL and of programs, the command line, standard input, a server's statistics."""

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import TextIO

from psycopg import Connection, errors, sql
from psycopg.rows import TupleRow

from harness.doctor.sources import code, sql_text
from harness.doctor.sources.files import read, walk
from harness.doctor.sources.found import Found, found_in
from harness.doctor.sources.languages import BY_SUFFIX
from harness.doctor.sources.schema import load_schema
from harness.doctor.sources.text import Source, SourceError, SourceWarning
from harness.doctor.statement import Statement
from harness.scenario.lexer import Kind, significant

__all__ = ["SourceError", "SourceWarning", "from_server", "functions", "load_schema", "statements"]

_OF_INTEREST = re.compile(rb"i\0?n\0?s\0?e\0?r\0?t|m\0?e\0?r\0?g\0?e", re.IGNORECASE)  # \0: in UTF-16
KNOWN = (".sql", ".psql", ".pgsql", ".ddl", *BY_SUFFIX)


def statements(paths: Sequence[str], texts: Sequence[str], stdin: TextIO | None) -> Iterator[Statement]:
    """Every INSERT and MERGE of these sources, and the commands on the same table beside them in one function.

    A path is a file or a folder, which is walked; a text is SQL from the command line; so is standard input.
    Raises SourceError for what cannot be read; warns (SourceWarning) of what cannot be understood.
    """
    return chain.from_iterable(functions(paths, texts, stdin))


def functions(paths: Sequence[str], texts: Sequence[str], stdin: TextIO | None) -> Iterator[tuple[Statement, ...]]:
    """The same, in groups: the commands that one function sends, in the order of its text, else one command alone."""
    for source in _sources(paths, texts, stdin):
        language = BY_SUFFIX.get(Path(source.file).suffix.lower())
        groups = code.groups_in(source, language) if language else sql_text.groups_in(source)
        # A constant that stands in several texts begins in all of them the same.
        seen: set[tuple[Statement, ...]] = set()
        for group in groups:
            kept = tuple(dict.fromkeys(found.statement for found in _belonging(group)))
            if kept and kept not in seen:
                seen.add(kept)
                yield kept


def from_server(connection: Connection[TupleRow]) -> Iterator[Statement]:
    """The INSERT and MERGE commands that pg_stat_statements has seen in this database, the most called first.

    `line` counts them. The server has put parameters in the place of constants: what its predicate was, an ON CONFLICT
    ... WHERE cannot tell any more, and says so in `dynamic`.
    Raises SourceError when the extension is not there.
    """
    for number, (query,) in enumerate(_statistics(connection), 1):
        source = Source("pg_stat_statements", query)
        for found in found_in(source.whole(), source):
            if found.writes_new_rows:
                yield _normalised(found.statement, number)


def _sources(paths: Sequence[str], texts: Sequence[str], stdin: TextIO | None) -> Iterator[Source]:
    for path in paths:
        if os.path.isdir(path):
            yield from (read(file) for file in walk(path, KNOWN) if _is_worth_reading(file))
        elif not os.path.exists(path):
            raise SourceError(f"{path}: no such file or folder")
        elif not path.lower().endswith(KNOWN):
            known = " ".join(KNOWN)
            raise SourceError(
                f"{path}: expected a file ending in one of {known}; SQL of other files goes in by -e or -"
            )
        else:
            yield read(path)
    yield from (Source("-e", text) for text in texts)
    if stdin is not None:
        try:
            yield Source("<stdin>", stdin.read())
        except UnicodeDecodeError as error:
            raise SourceError(f"<stdin>: expected text, found what is no {error.encoding.upper()}") from None


def _is_worth_reading(path: str) -> bool:
    """In a folder there may be files in any encoding, of which most are none of our business."""
    try:
        return _OF_INTEREST.search(Path(path).read_bytes()) is not None
    except OSError:
        return True  # reading it again says what is wrong


def _belonging(group: Sequence[Found]) -> Iterator[Found]:
    """The commands that write new rows, and those before and after them that are about the same tables."""
    tables = {found.table for found in group if found.writes_new_rows and found.table}
    for found in group:
        if found.writes_new_rows or found.mentions & tables:
            yield found


def _statistics(connection: Connection[TupleRow]) -> list[TupleRow]:
    where = connection.execute(
        """
        SELECT n.nspname
        FROM pg_extension AS e
        JOIN pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_stat_statements'
        """
    ).fetchone()
    install = "add it to shared_preload_libraries, restart the server, then CREATE EXTENSION pg_stat_statements"
    if where is None:
        raise SourceError(
            f"database {connection.info.dbname} has no extension pg_stat_statements: {install} in this database"
        )
    query = sql.SQL(
        """
        SELECT query
        FROM {}.pg_stat_statements
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND query ~* '\\m(insert|merge)\\M'
        GROUP BY query
        ORDER BY sum(calls) DESC, query
        """
    ).format(sql.Identifier(where[0]))
    hidden = sql.SQL("SELECT count(*) FROM {}.pg_stat_statements WHERE query = '<insufficient privilege>'").format(
        sql.Identifier(where[0])
    )
    try:
        told = connection.execute(query).fetchall()
        (unseen,) = connection.execute(hidden).fetchone() or (0,)
    except errors.ObjectNotInPrerequisiteState:
        raise SourceError(f"pg_stat_statements is installed, but not loaded: {install}") from None
    if unseen:
        warnings.warn(
            f"pg_stat_statements hides {unseen} statements of other users: GRANT pg_read_all_stats TO this user",
            SourceWarning,
            stacklevel=2,
        )
    return told


def _normalised(statement: Statement, number: int) -> Statement:
    inferred = _inference_parameters(statement.sql)
    note = tuple(f"{parameter}, a constant that pg_stat_statements left out" for parameter in inferred)
    return replace(statement, line=number, dynamic=(*statement.dynamic, *note))


def _inference_parameters(text: str) -> list[str]:
    """The parameters between ON CONFLICT and DO."""
    inside, found = False, []
    for before, token in pairwise(significant(text)):
        inside = (inside or (before.word == "on" and token.word == "conflict")) and token.word != "do"
        if inside and token.kind is Kind.NUMBERED:
            found.append(token.text)
    return found
