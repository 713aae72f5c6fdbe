"""From a statement to its proof: a scenario file that `harness explore` runs at once.

What the server knows (which index arbitrates, what types parameters have) it is asked; what nobody can know from a
statement (what the application does with the answer, where its transactions begin) is told in the file.
"""

import keyword
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from psycopg import Connection
from psycopg.rows import TupleRow

from harness.doctor.parts import (
    Insert,
    Lookup,
    TranslationError,
    clauses,
    insert_parts,
    lookup_parts,
    operand,
    with_excluded,
    with_names,
    with_values,
)
from harness.doctor.scenario_parameters import earlier_values, parameter_names, parameters_of, python_name
from harness.doctor.scenario_text import CheckThenInsert, File, OnConflict, Parameter, rendered
from harness.doctor.sources.outline import outline_of
from harness.doctor.sources.placeholders import names_in, without_hidden
from harness.doctor.statement import Statement
from harness.doctor.table_facts import Column, Index, Table, holds, prepared, table_facts
from harness.scenario.lexer import Kind, numbers_in, quoted, significant

__all__ = ["TranslationError", "candidates", "write"]


def write(statements: Sequence[Statement], connection: Connection[TupleRow], path: str | Path) -> None:
    """Write a scenario for an INSERT ... ON CONFLICT, or for an INSERT and what one function does before it: SELECT,
    UPDATE, both, or DELETE.

    `connection` leads to a database with the schema in it; it is only read. Raises TranslationError for what cannot be
    translated, and OSError where the file cannot be written.
    """
    Path(path).write_text(scenario(statements, connection, name=_identifier(Path(path).stem)), encoding="utf-8")


def candidates(function: Sequence[Statement]) -> Iterator[tuple[Statement, ...]]:
    """What of one function's statements `write` is for: each upsert alone, each plain INSERT with what is beside it."""
    beside = [one for one in function if significant(one.sql)[0].word in ("select", "update", "delete")]
    for one in function:
        words = [token.word for token in significant(one.sql)]
        if words[0] != "insert":
            continue
        if any(pair == ("on", "conflict") for pair in pairwise(words)):
            yield (one,)
        elif about := [other for other in beside if _table(other) == _table(one)]:
            yield tuple(sorted((one, *about), key=lambda each: (each.line, each.column)))


def _table(statement: Statement) -> str:
    outline = outline_of(significant(statement.sql))
    return "" if outline is None else outline.table


def scenario(statements: Sequence[Statement], connection: Connection[TupleRow], *, name: str) -> str:
    """The text of the scenario file. Raises TranslationError."""
    for statement in statements:
        if statement.dynamic:
            raise TranslationError(
                f"{_place(statement)}: parts are known to the running program only: {', '.join(statement.dynamic)}; "
                "give the statement as SQL, with -e"
            )
    statements = [replace(one, sql=without_hidden(one.text, one.sql)) for one in statements]
    inserts = [statement for statement in statements if significant(statement.sql)[0].word == "insert"]
    if len(inserts) != 1:
        kinds = ", ".join(significant(statement.sql)[0].text.upper() for statement in statements)
        raise TranslationError(
            f"expected one INSERT, alone or with the SELECT and the UPDATE beside it; found: {kinds}"
        )
    try:
        parts = insert_parts(inserts[0].sql)
        if parts.conflict:
            return rendered(_on_conflict(inserts[0], parts, connection, name))
        return rendered(_check_then_insert(list(statements), inserts[0], parts, connection, name))
    except TranslationError as error:
        raise TranslationError(f"{_place(inserts[0])}: {error}") from None


def _place(statement: Statement) -> str:
    return f"{statement.file}:{statement.line}"


def _identifier(word: str) -> str:
    made = re.sub(r"\W", "_", word.lower())
    taken = keyword.iskeyword(made) or made in ("store", "st")
    return f"{made}_scenario" if taken else made if made[:1].isalpha() else f"scenario_{made}"


# ---- INSERT ... ON CONFLICT ------------------------------------------------------------------------------------------


def _on_conflict(statement: Statement, parts: Insert, connection: Connection[TupleRow], name: str) -> File:
    types, arbiters = prepared(connection, statement.sql)
    table = table_facts(connection, parts.table)
    values = _values_by_column(parts, table)
    index = _arbiter(table, arbiters, values)
    keys = _key_columns(index, table)
    for column in keys:
        if column not in values and table.column(column).filled and not table.column(column).generated:
            raise TranslationError(f"the key column {column} is filled by the server: no two calls ever conflict in it")
    if re.search(r"\bxmax\b", parts.returning):
        raise TranslationError(
            "RETURNING xmax says what the server did, not what is true: leave it out of the statement"
        )

    # A column that is not given has its default, or NULL; so it is in the predicate of the index, and for EXCLUDED.
    row = {column.name: values.get(column.name) or _default(column.default) for column in table.columns}
    row |= {column.name: with_values(column.generated, row) for column in table.columns if column.generated}
    # Out of its column a parameter has no type of its own: $1 IS NULL is 42P18.
    typed = {column: _typed(value, table.column(column)) for column, value in row.items()}
    condition = _is_the_row(index, row, typed, connection)
    called = parameter_names(statement, parts, values)
    if not any(numbers_in(row[column]) for column in keys):
        raise TranslationError("no parameter is part of the key: every call would be about the same row")
    parameters = parameters_of(
        called, types, table, values, {number for key in keys for number in numbers_in(row[key])}
    )
    returning = f" RETURNING {parts.returning}" if parts.returning else ""
    columns, listed = ", ".join(map(quoted, values)), ", ".join(values.values())
    earlier = earlier_values(values, parameters, called, _apart(table, index))
    target = table.name if not parts.alias else f"{table.name} AS {parts.alias}"
    update = ""
    if parts.assignments:
        sets = ", ".join(f"{quoted(column)} = {_new_value(new, row, typed)}" for column, new in parts.assignments)
        extra = f" AND {operand(with_excluded(parts.where, typed))}" if parts.where else ""
        update = f"UPDATE {target} SET {sets} WHERE {condition}{extra}{returning}"

    return File(
        name,
        _place(statement),
        table,
        index,
        index.keys,
        index.predicate,
        parameters,
        state=_bound(f"INSERT INTO {table.name} ({columns}) {parts.overriding}VALUES ({earlier})", called),
        operation=OnConflict(
            find=_bound(f"SELECT FROM {target} WHERE {condition}", called),
            insert=_bound(f"INSERT INTO {target} ({columns}) {parts.overriding}VALUES ({listed}){returning}", called),
            update=_bound(update, called),
            returns=bool(parts.returning),
            strategy=clauses(_without_margin(with_names(statement.sql, called, ":{}"))),
            infers=bool(arbiters),
            changes=any(column not in keys for column, _ in parts.assignments),
        ),
    )


def _without_margin(sql: str) -> str:
    """The first line of a statement in a program has no margin, the others have the program's."""
    first, newline, rest = sql.partition("\n")
    return f"{first}{newline}{textwrap.dedent(rest)}"


def _values_by_column(parts: Insert, table: Table) -> dict[str, str]:
    columns = parts.columns or tuple(column.name for column in table.columns if not column.generated)
    return {
        column: value
        for column, value in zip(columns, parts.values, strict=False)
        if value.strip().lower() != "default"
    }


def _arbiter(table: Table, arbiters: Sequence[str], values: Mapping[str, str]) -> Index:
    """The index whose key is the row's identity: the one the server infers, else the only one the row can meet."""
    if arbiters:
        return next(index for index in table.indexes if index.name == arbiters[0])
    given = [index for index in table.indexes if set(_key_columns(index, table)) <= set(values)]
    if len(given) != 1:
        names = ", ".join(index.name for index in given) or "none"
        raise TranslationError(
            f"ON CONFLICT has no target, and the row can meet {len(given)} unique indexes ({names}): name the one meant"
        )
    return given[0]


def _key_columns(index: Index, table: Table) -> list[str]:
    names = {column.name for column in table.columns}
    words = [token.name for key in index.keys for token in significant(key)]
    return [name for name in dict.fromkeys(words) if name in names]


def _apart(table: Table, index: Index | None) -> set[str]:
    """The columns of the other unique indexes."""
    return {column for other in table.indexes if other != index for column in _key_columns(other, table)}


def _default(ddl: str) -> str:
    return ddl.removeprefix("DEFAULT ") if ddl.startswith("DEFAULT ") else "NULL"


def _typed(value: str, column: Column) -> str:
    return f"{value}::{column.plain_type}" if re.fullmatch(r"\$\d+", value) else value


def _is_the_row(
    index: Index, row: Mapping[str, str], typed: Mapping[str, str], connection: Connection[TupleRow]
) -> str:
    """The condition that a row of the table is the one that a new row meets in this index."""
    equal = "=" if index.nulls_distinct else "IS NOT DISTINCT FROM"
    conditions = [f"{key} {equal} {operand(with_values(key, row))}" for key in index.keys]
    if index.predicate:
        conditions.append(operand(index.predicate))
        # Also the new row must be one of those that the index holds.
        new = with_values(index.predicate, typed)
        if numbers_in(new):
            conditions.append(operand(new))
        elif not holds(connection, new):
            raise TranslationError(f"a new row is never part of index {index.name}: its predicate is {index.predicate}")
    return " AND ".join(conditions)


def _new_value(new: str, row: Mapping[str, str], typed: Mapping[str, str]) -> str:
    """What DO UPDATE assigns, for a plain UPDATE."""
    excluded = re.fullmatch(r"\s*excluded\s*\.\s*(\w+|\".*\")\s*", new, re.IGNORECASE)
    return with_excluded(new, row if excluded else typed)


# ---- check, then insert ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Beside:
    """A statement beside the INSERT: what it looks for, and what its parameters are."""

    statement: Statement
    parts: Lookup
    columns: dict[int, str]  # $n -> the column that it is compared with, or becomes
    compared: frozenset[str]


def _check_then_insert(
    statements: list[Statement], insert: Statement, parts: Insert, connection: Connection[TupleRow], name: str
) -> File:
    beside = _statements_beside(statements, insert)
    table = table_facts(connection, parts.table)
    types, _ = prepared(connection, insert.sql)
    values = _values_by_column(parts, table)
    called = parameter_names(insert, parts, values)
    check = next(iter(beside.values()))
    keys = _looked_for(check, parts, values)
    key_numbers = {number for column in keys for number in numbers_in(values[column])}
    parameters = {p.name: p for p in parameters_of(called, types, table, values, key_numbers)}
    by_column = {column: called[n] for column, value in values.items() for n in numbers_in(value)}
    sent = {"insert": _bound(insert.sql, called)}
    found: dict[str, int] = {}
    for kind, other in beside.items():
        names = _names_beside(other, by_column, check, table, found)
        sent[kind] = _bound(other.statement.sql, names)
        kinds = prepared(connection, other.statement.sql)[0]
        for number, word in names.items():
            if word not in found:
                of = kinds[number - 1]
                parameters.setdefault(word, Parameter(word, of, False, None, table.labels.get(of, ())))
    # The index that is about what is looked for makes a second row fail; without it there are two.
    by = tuple(map(quoted, keys))
    index = next((index for index in table.indexes if sorted(index.keys) == sorted(by)), None)
    columns = ", ".join(map(quoted, values))
    earlier = earlier_values(values, tuple(parameters.values()), called, _apart(table, index))
    return File(
        name,
        f"{_place(statements[0])}-{statements[-1].line}",
        table,
        index,
        by,
        " AND ".join(condition for condition in check.parts.conditions if not numbers_in(condition)),
        tuple(parameters.values()),
        state=_bound(f"INSERT INTO {table.name} ({columns}) {parts.overriding}VALUES ({earlier})", called),
        operation=CheckThenInsert(
            select=sent.get("select", ""),
            insert=sent["insert"],
            update=sent.get("update", ""),
            delete=sent.get("delete", ""),
            returns=bool(parts.returning),
            answers=check.parts.answers,
            found=found,
            instead=_instead(insert, parts, index, beside, called, by_column),
        ),
    )


def _bound(sql: str, names: Mapping[int, str]) -> str:
    return with_names(sql.replace("%", "%%"), names, "%({})s")


def _statements_beside(statements: Sequence[Statement], insert: Statement) -> dict[str, _Beside]:
    """The statements beside the INSERT by their first word; what is looked for is said by the first of them."""
    others = {significant(one.sql)[0].word: one for one in statements if one is not insert}
    if tuple(sorted(others)) not in (("select",), ("select", "update"), ("update",), ("delete",)) or len(
        statements
    ) != 1 + len(others):
        found = ", ".join(significant(one.sql)[0].text.upper() for one in statements)
        raise TranslationError(
            "expected an INSERT ... ON CONFLICT, or INSERT and SELECT, SELECT and UPDATE, UPDATE, or DELETE beside it; "
            f"found: {found}"
        )
    return {word: _beside(others[word]) for word in sorted(others)}


def _looked_for(check: _Beside, parts: Insert, values: Mapping[str, str]) -> list[str]:
    """The columns by which a row is looked for before one is inserted: what the application takes for its key."""
    if check.parts.table.rpartition(".")[2] != parts.table.rpartition(".")[2]:
        raise TranslationError(f"{check.parts.table} is looked at, {parts.table} is written: expected one table")
    keys = [column for column in values if column in check.compared]
    if not any(numbers_in(values[column]) for column in keys):
        raise TranslationError(
            "what is looked for is not what is inserted: no parameter of both goes to the same column"
        )
    return keys


def _instead(
    insert: Statement,
    parts: Insert,
    index: Index | None,
    beside: Mapping[str, _Beside],
    called: Mapping[int, str],
    by_column: Mapping[str, str],
) -> str:
    """One statement that does what two did, where an index arbitrates it and the answer stays what it was."""
    if index is None or parts.returning or "delete" in beside:
        return ""
    action = "DO NOTHING"
    update = beside.get("update")
    if update is not None:
        names = {number: by_column.get(column, "") for number, column in update.columns.items()}
        if not all(names.get(number) for number in numbers_in(update.parts.assignments)):
            return ""
        action = f"DO UPDATE SET {with_names(update.parts.assignments, names, ':{}')}"
    where = f" WHERE {index.predicate}" if index.predicate else ""
    own = with_names(insert.sql, called, ":{}").rstrip()
    return f"{own} ON CONFLICT ({', '.join(index.keys)}){where} {action}"


def _beside(statement: Statement) -> _Beside:
    parts = lookup_parts(statement.sql)
    columns: dict[int, str] = {}
    own = significant(statement.sql)
    for at, token in enumerate(own):
        if token.kind is Kind.NUMBERED:
            around = own[at - 2 : at] if own[at - 1].text == "=" else [*reversed(own[at + 1 : at + 3])]
            if len(around) == 2 and around[1].text == "=":
                columns[int(token.text[1:])] = around[0].name
    asked = {number for condition in parts.conditions for number in numbers_in(condition)}
    return _Beside(statement, parts, columns, frozenset(columns[n] for n in asked if n in columns))


def _names_beside(
    other: _Beside, by_column: Mapping[str, str], check: _Beside, table: Table, found: dict[str, int]
) -> dict[int, str]:
    """What its parameters are called: as in the INSERT where they go to the same column, or what was found before."""
    named = {n: python_name(word) for n, word in names_in(other.statement.text, other.statement.sql).items()}
    selected = [significant(text)[-1].name for text in check.parts.columns]
    if check.parts.columns == ("*",):
        selected = [column.name for column in table.columns]
    names: dict[int, str] = {}
    for number in range(1, other.statement.parameters + 1):
        column = other.columns.get(number, "")
        if column in by_column:
            names[number] = by_column[column]
        elif other is check:
            names[number] = named.get(number) or python_name(column or f"value{number}")
        elif column in selected:
            names[number] = f"found_{python_name(column)}"
            found[names[number]] = selected.index(column)
        elif column in other.compared:
            raise TranslationError(f"the row to change is found by {column}, which is neither inserted nor looked up")
        else:
            names[number] = named.get(number) or python_name(column or f"value{number}")
    return names
