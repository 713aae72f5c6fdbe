"""A schema made from its own files, in a scratch database: dumps and migrations as they are, without roles and data."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import Connection, errors
from psycopg.rows import TupleRow

from harness.doctor.sources.files import read
from harness.doctor.sources.migrations import forward, scripts
from harness.doctor.sources.text import Source, SourceError, SourceWarning
from harness.scenario.lexer import Command, Kind, Token, commands, split_at

_INCLUDE = re.compile(r"\\(?P<relative>i|ir|include|include_relative)\s+'?(?P<path>[^'\s]+)")
# Roles and databases are the whole server's, not the scratch database's; privileges change no plan; transactions would
# only make one failure many; the rest is housekeeping.
_LEFT_OUT = re.compile(
    r"(create|alter|drop) (role|user(?! mapping)|group|database|tablespace|subscription)\b"
    r"|alter default privileges|(grant|revoke|reassign owned|drop owned|security label|comment on)\b"
    r"|(begin|start transaction|commit|end|rollback|abort|savepoint|release|lock|prepare transaction)\b"
    r"|set (role|session authorization|local|transaction|constraints)\b"
    r"|(vacuum|analyze|checkpoint|cluster|reindex|refresh|notify|listen|unlisten|discard)\b"
)
_OF_NO_WEIGHT = re.compile(r"(set|reset|show)\b")  # a setting that this server does not know, or refuses
_DATA = re.compile(r"(insert|update|delete|merge|truncate|select|with|values|call|create extension)\b")
_WITHOUT_CONCURRENTLY = re.compile(r"(create|drop) (unique )?index\b|alter table\b")
_IN_TABLESPACE = re.compile(
    r"create (unique |unlogged |temp |temporary )?(table|index|materialized)\b|alter (table|index)\b"
)


def load_schema(connection: Connection[TupleRow], paths: Sequence[str]) -> None:
    """Run schema files and folders of migrations in the order given, in a database that is ours to fill.

    Every statement commits by itself; CONCURRENTLY, tablespaces, owners, grants, roles and COPY data are left out. A
    statement about data that fails (a seed, a missing extension) is a SourceWarning, any other a SourceError, with
    file, line and statement. Settings made by the files do not outlive them: each ends in RESET ALL.
    """
    with _autocommit(connection):
        for path in paths:
            for script in scripts(path):
                # As pg_dump does: a function may speak of what comes later.
                connection.execute("SET check_function_bodies = off")
                _run(connection, script, ())
                connection.execute("RESET ALL")


@contextmanager
def _autocommit(connection: Connection[TupleRow]) -> Iterator[None]:
    before = connection.autocommit
    if not before:
        connection.commit()
        connection.autocommit = True
    try:
        yield
    finally:
        if not before and not connection.closed:
            connection.autocommit = False


def _run(connection: Connection[TupleRow], source: Source, within: tuple[str, ...]) -> None:
    for command in commands(source.content, psql=True):
        if command.tokens[0].kind is Kind.META:
            include = _INCLUDE.match(command.tokens[0].text)
            if include:
                _include(connection, source, command, include, (*within, source.file))
        elif not _is_left_out(command):
            _execute(connection, source, command)


def _include(
    connection: Connection[TupleRow], source: Source, command: Command, include: re.Match[str], within: tuple[str, ...]
) -> None:
    relative = include["relative"] in ("ir", "include_relative")
    path = str(Path(source.file).parent / include["path"]) if relative else include["path"]
    if path in within:
        raise SourceError(f"{_place(source, command.start)}: {path} includes itself")
    try:
        included = forward(read(path))
    except SourceError as error:
        raise SourceError(f"{_place(source, command.start)}: {error}") from None
    _run(connection, included, within)


def _is_left_out(command: Command) -> bool:
    words = command.words(4)
    if _LEFT_OUT.match(words) or command.ended_by in (r"\gexec", r"\gset"):
        return True
    every = [token.word for token in command.tokens]
    copies = every[0] == "copy"
    return copies or (every[0] == "alter" and any(every[at : at + 2] == ["owner", "to"] for at in range(len(every))))


def _execute(connection: Connection[TupleRow], source: Source, command: Command) -> None:
    words = command.words(3)
    sql = _adapted(source.content[command.start : command.end], command, words)
    try:
        connection.execute(sql.encode())
    except errors.DuplicateSchema:
        pass  # pg_dump creates the one that every database has
    except errors.UndefinedObject as error:
        if not words.startswith(("create policy", "alter policy")):
            _complain(source, command, words, error)
            return
        public = _for_everybody(sql, command)
        try:
            connection.execute(public.encode())
        except psycopg.Error:
            _complain(source, command, words, error)
            return
        warnings.warn(
            f"{_place(source, command.start)}: {_first_line(error)}: the policy is made for PUBLIC",
            SourceWarning,
            stacklevel=2,
        )
    except psycopg.Error as error:
        _complain(source, command, words, error)


def _adapted(sql: str, command: Command, words: str) -> str:
    """The statement for a scratch database; what is left out becomes blanks, so that positions stay what they are."""
    gone: list[Token] = []
    depth = 0
    for at, token in enumerate(command.tokens):
        depth += (token.text == "(") - (token.text == ")")
        if depth:
            continue
        if token.word == "concurrently" and _WITHOUT_CONCURRENTLY.match(words):
            gone.append(token)
        elif token.word == "tablespace" and _IN_TABLESPACE.match(words):
            gone += command.tokens[at : at + 2]
        elif token.word == "authorization" and words.startswith("create schema"):
            # CREATE SCHEMA AUTHORIZATION joe makes a schema joe.
            gone += command.tokens[at : at + 1 + (at > 2)]
    return _blanked(sql, command, gone)


def _blanked(sql: str, command: Command, gone: Sequence[Token]) -> str:
    for token in gone:
        start, end = token.start - command.start, token.end - command.start
        sql = sql[:start] + " " * (end - start) + sql[end:]
    return sql


def _for_everybody(sql: str, command: Command) -> str:
    """A policy whose roles are not here, for everybody: TO authenticated -> TO PUBLIC."""
    tokens = command.tokens
    start = next((at for at, token in enumerate(tokens) if token.word == "to"), len(tokens))
    end = start + 1
    for roles in split_at(",", tokens[start + 1 :]):
        end += 1 + (end > start + 1)
        if len(roles) > 1:
            break
    return _blanked(sql, command, tokens[start:end]) if start < len(tokens) else sql


def _complain(source: Source, command: Command, words: str, error: psycopg.Error) -> None:
    """Raise what is wrong with a statement, or warn of it where the schema does not depend on it."""
    if _OF_NO_WEIGHT.match(words):
        return
    position = error.diag.statement_position
    offset = command.start + int(position) - 1 if position else command.start
    text = " ".join(source.content[command.start : command.end].split())
    shown = text if len(text) <= 120 else f"{text[:117]}..."
    hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
    message = f"{_place(source, offset)}: {error.sqlstate} {_first_line(error)}{hint}; in: {shown}"
    if _DATA.match(words):
        warnings.warn(message, SourceWarning, stacklevel=2)
    else:
        raise SourceError(message) from None


def _first_line(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).partition("\n")[0]


def _place(source: Source, offset: int) -> str:
    return f"{source.file}:{source.place(offset)[0]}"
