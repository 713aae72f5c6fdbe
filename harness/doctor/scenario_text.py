"""How a written scenario reads: as those that are shipped, and as ruff would format it."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.doctor.parts import TranslationError, clauses
from harness.doctor.table_facts import Index, Table

WIDTH = 120


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the operation."""

    name: str
    type: str  # the server's: int4, text
    key: bool
    length: int | None = None  # of its column
    labels: tuple[str, ...] = ()  # of an enum

    @property
    def _kind(self) -> tuple[str, str, str, str]:
        """Annotation, key, own values, the value of a row that was there before."""
        if self.labels:
            listed = _listed(self.labels)
            return "str", f"Key({listed})", listed, f"'{self.labels[0]}'"
        if self.type.startswith("_"):
            return "str", _two("{1}", "{2}"), _own("{{{{{}}}}}"), "'{}'"
        if self.type not in _KINDS:
            raise TranslationError(
                f"parameter {self.name} is of type {self.type}, of which no values are known here: "
                "cast it to text in the statement, or write the scenario by hand"
            )
        annotation, key, own, earlier = _KINDS[self.type]
        if self.type in _TEXTS:
            fits = self.length is None or self.length > len(self.name) + 1
            own = _own(f"{self.name}{{}}" if fits else "{}")
            key = "Key(str)" if fits else _two("1", "2")
            earlier = f"'{self.name}0'" if fits else "'0'"
        return annotation, key, own, earlier

    @property
    def annotation(self) -> str:
        return self._kind[0]

    @property
    def declaration(self) -> str:
        _, key, own, _ = self._kind
        return key if self.key else own

    @property
    def earlier(self) -> str:
        return self._kind[3]


@dataclass(frozen=True, slots=True)
class OnConflict:
    """`INSERT ... ON CONFLICT` as the strategy; look, then write as what it means when alone."""

    find: str
    insert: str
    update: str  # none: DO NOTHING
    returns: bool
    strategy: str
    infers: bool  # it has a conflict target: 42P10 without its index
    changes: bool  # something in a row that is there


@dataclass(frozen=True, slots=True)
class CheckThenInsert:
    """Look, then write, as the program does it."""

    select: str  # none: UPDATE, and INSERT where it changed nothing
    insert: str
    update: str
    delete: str  # what is there goes, whatever it is
    returns: bool
    answers: bool = False  # the row that SELECT returns says whether there is one
    found: Mapping[str, int] = field(default_factory=dict)  # parameters that are columns of the row found
    instead: str = ""  # one statement that does it, where an index can arbitrate it

    @property
    def changes(self) -> bool:
        return bool(self.update or self.delete)

    @property
    def name(self) -> str:
        first = "check" if self.select else "delete" if self.delete else "update"
        return f"{first}_then_insert"


@dataclass(frozen=True, slots=True)
class File:
    """Everything a scenario file says."""

    name: str
    place: str
    table: Table
    arbiter: Index | None
    by: tuple[str, ...]
    live: str
    parameters: tuple[Parameter, ...]
    state: str
    operation: OnConflict | CheckThenInsert

    @property
    def where(self) -> str:
        """The place in short: `app.py:12`."""
        return re.split(r"[/\\]", self.place)[-1]


def rendered(file: File) -> str:
    """The text of the file."""
    operation = file.operation
    texts = _conflict_texts(operation) if isinstance(operation, OnConflict) else _check_texts(operation)
    names = "\n".join(_assignment(name, sql) for name, sql in texts.items())
    body = _conflict_body(file, operation) if isinstance(operation, OnConflict) else _check_body(file, operation)
    head = [_docstring(file), "", *_imports(file), ""]
    return "\n".join([*head, _scenario(file), names, "", "", *body, ""])


def _docstring(file: File) -> str:
    keys = " and ".join(key.replace("\\", "\\\\") for key in file.by)
    title = f"At most one row of {file.table.name} for each {keys}"
    if file.live:
        title += f", of those where {file.live}"
    how = "INSERT ... ON CONFLICT" if isinstance(file.operation, OnConflict) else "check, then insert"
    lines = [f"Written by harness doctor from {file.place} ({how})."]
    if file.table.left_out:
        lines.append(f"Left out: {', '.join(file.table.left_out)}.")
    lines.append(
        "Values, the row that is there before, and what a call answers are assumed: change them to what is so."
    )
    told = textwrap.fill(" ".join(lines), WIDTH, break_long_words=False, break_on_hyphens=False)
    title = title if len(title) < WIDTH - 4 else title[: WIDTH - 8] + "..."
    return f'"""{title}.\n\n{told}\n"""'


def _imports(file: File) -> list[str]:
    lines = []
    declared = " ".join(parameter.declaration for parameter in file.parameters)
    if "UUID" in declared:
        lines += ["from uuid import UUID", ""]
    if "st." in declared:
        lines += ["from hypothesis import strategies as st", ""]
    words = ["Connection", "Identity", "Key", *(["Own"] if "Own(" in declared else []), "Scenario"]
    conflicts = isinstance(file.operation, OnConflict) or file.operation.instead
    return [*lines, f"from harness import {', '.join([*words, *(['unsafe'] if conflicts else [])])}"]


def _scenario(file: File) -> str:
    table = file.table
    layout = [clauses(index.ddl) for index in table.indexes if not index.primary or index == file.arbiter]
    lines = [f"{file.name} = Scenario(", f'    "{file.name}",']
    if table.schema != "public":
        lines.append(f"    schemas={_text(table.schema)},")
    if table.extensions:
        lines.append(f"    extensions={_texts(table.extensions)},")
    lines.append(f"    tables={_block(table.ddl(without=file.arbiter), 8)},")
    if layout:
        indexes = _block(";\n".join(layout), 12)
        lines += ["    layouts={", f'        "schema": {indexes},', "    },"]
    keys = ", ".join(parameter.name for parameter in file.parameters if parameter.key)
    if file.operation.changes:  # else a row that is there is all there is to it: no call writes anything
        lines += [
            f"    states={{  # each statement is run once for each ({keys}) of the contest",
            '        "new": "",',
            f'        "there": {_block(file.state, 12)},',
            "    },",
        ]
    by = _texts(file.by)
    live = f", live={_text(file.live)}" if file.live else ""
    distinct = "" if file.arbiter is None or file.arbiter.nulls_distinct else ", nulls_distinct=False"
    lines += [f"    identity=Identity({_text(table.name)}, by={by}{live}{distinct}),", ")"]
    return "\n".join(lines)


def _conflict_texts(operation: OnConflict) -> dict[str, str]:
    texts = {"FIND": operation.find, "INSERT": operation.insert, "UPDATE": operation.update}
    return {name: sql for name, sql in texts.items() if sql}


def _check_texts(operation: CheckThenInsert) -> dict[str, str]:
    texts = {
        "SELECT": operation.select,
        "DELETE": operation.delete,
        "INSERT": operation.insert,
        "UPDATE": operation.update,
    }
    return {name: sql for name, sql in texts.items() if sql}


def _conflict_body(file: File, operation: OnConflict) -> list[str]:
    answer = "object" if operation.returns else "bool"
    written = "one that is there is changed" if operation.update else "one that is there stays as it is"
    told = "the first column of the row written" if operation.returns else "whether a row was written"
    lines = [
        *_operation(file, answer, f"The row is made, or {written}; answers {told}."),
        _call(file),
        "    if connection.execute(FIND, call).fetchone() is None:",
        *_sent("INSERT", operation.returns, 8),
    ]
    if operation.update:
        lines += _sent("UPDATE", operation.returns, 4)
    else:
        lines.append(f"    return {'None' if operation.returns else 'False'}")
    # Without a target it needs no index, and without an index it never finds a conflict.
    missing = "42P10" if operation.infers else "wrong-alone"
    strategy = _sql_strategy(file, f"As it stands in {file.where}.", missing, operation.strategy)
    return [*lines, "", "", *strategy]


def _check_body(file: File, operation: CheckThenInsert) -> list[str]:
    answer = "object" if operation.returns else "bool"
    done = "What is there goes, and the row is made." if operation.delete else "The row is made if it is not there."
    lines = [
        *_operation(file, answer, f"{done} The statements are the program's."),
        _call(file),
    ]
    if operation.delete:
        lines += ["    connection.execute(DELETE, call)", *_sent("INSERT", operation.returns, 4)]
    elif not operation.select:
        lines += ["    if connection.execute(UPDATE, call).rowcount > 0:", "        return True"]
        lines += _sent("INSERT", operation.returns, 4)
    else:
        if operation.answers:
            lines.append("    (found,) = connection.execute(SELECT, call).fetchone() or (None,)")
            lines.append("    if not found:")
        else:
            lines.append("    found = connection.execute(SELECT, call).fetchone()")
            lines.append("    if found is None:")
        lines += _sent("INSERT", operation.returns, 8)
        if operation.update:
            call = "call"
            if operation.found:
                extra = ", ".join(f'"{name}": found[{at}]' for name, at in operation.found.items())
                call = f"{{**call, {extra}}}"
            lines.append(f"    return connection.execute(UPDATE, {call}).rowcount > 0")
        else:
            lines.append("    return False")
    passed = ", ".join(["connection", *(parameter.name for parameter in file.parameters)])
    for suffix, doc, within in (
        ("", f"As it stands in {file.where}, each statement committing itself.", False),
        ("_in_a_transaction", "The same in one transaction, in case the program opens one.", True),
    ):
        lines += ["", "", "@store.strategy", *_def(f"{operation.name}{suffix}", file, answer), f'    """{doc}"""']
        lines += ["    with connection.transaction():"] if within else []
        lines.append(f"{'        ' if within else '    '}return store({passed})")
    if operation.instead:
        doc = "One statement instead (ours): it needs the index, and nothing else."
        lines += ["", "", *_sql_strategy(file, doc, "42P10", operation.instead)]
    return lines


def _sql_strategy(file: File, doc: str, without_index: str, sql: str) -> list[str]:
    return [
        f"{file.name}.sql_strategy(",
        '    "on_conflict",',
        f"    doc={_text(doc)},",
        f"    expect=[unsafe({_text(without_index)}, layout={_text('none')})],",
        f"    store={_block(sql, 8)},",
        ")",
    ]


def _operation(file: File, answer: str, doc: str) -> list[str]:
    declared = [f"{parameter.name}={parameter.declaration}" for parameter in file.parameters]
    head = _wrapped(f"@{file.name}.operation(", declared, ")")
    return [*head, *_def("store", file, answer), f'    """{doc}"""']


def _def(name: str, file: File, answer: str) -> list[str]:
    taken = ["connection: Connection", *(f"{p.name}: {p.annotation}" for p in file.parameters)]
    return _wrapped(f"def {name}(", taken, f") -> {answer}:")


def _call(file: File) -> str:
    items = [f'"{parameter.name}": {parameter.name}' for parameter in file.parameters]
    return "\n".join(_wrapped("    call = {", items, "}"))


def _sent(what: str, returns: bool, indent: int) -> list[str]:
    margin = " " * indent
    if not returns:
        return [f"{margin}return connection.execute({what}, call).rowcount > 0"]
    return [f"{margin}row = connection.execute({what}, call).fetchone()", f"{margin}return row[0] if row else None"]


# ---- Python as ruff formats it ---------------------------------------------------------------------------------------


def _wrapped(head: str, items: Sequence[str], tail: str) -> list[str]:
    """On one line, or one item a line."""
    line = f"{head}{', '.join(items)}{tail}"
    if len(line) <= WIDTH:
        return [line]
    margin = " " * (len(head) - len(head.lstrip()))
    return [head, *(f"{margin}    {item}," for item in items), f"{margin}{tail}"]


def _text(text: str) -> str:
    """A literal on one line."""
    escaped = text.replace("\\", "\\\\")
    if '"' in text and "'" not in text:
        return f"'{escaped}'"
    return '"' + escaped.replace('"', '\\"') + '"'


def _texts(texts: Sequence[str]) -> str:
    return _text(texts[0]) if len(texts) == 1 else f"({', '.join(map(_text, texts))})"


def _block(sql: str, indent: int) -> str:
    """A literal: on one line where it fits, else from the next line on, indented."""
    one = _text(sql)
    if "\n" not in sql and len(one) + indent + 12 <= WIDTH and '"' not in sql:
        return one
    if "\n" not in sql:
        sql = clauses(sql)
    lines = sql.replace("\\", "\\\\").replace('"""', '\\"\\"\\"').splitlines()
    body = "\n".join(f"{' ' * indent}{line}".rstrip() for line in lines)
    return f'"""\n{body}\n{" " * (indent - 4)}"""' if body.endswith('"') else f'"""\n{body}"""'


def _assignment(name: str, sql: str) -> str:
    one = f"{name} = {_text(sql)}"
    return one if len(one) <= WIDTH and "\n" not in sql and '"' not in sql else f"{name} = {_block(sql, 4)}"


def _listed(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, values))}]"


def _two(first: str, second: str) -> str:
    return f"Key({_listed((first, second))})"


def _own(form: str) -> str:
    """Values from a form with {} for a number; two digits each, so that all are of one length."""
    return "Own(st.integers(10, 99))" if form == "{}" else f"Own(st.integers(10, 99).map({_text(form)}.format))"


_TEXTS = ("text", "varchar", "bpchar", "citext", "name")
_NUMBER = ("int", "Key(int)", "Own(st.integers(1, 10_000))", "0")
_TIME = ("str", _two("2024-01-01", "2024-01-02"), _own("20{}-02-01"), "'2024-01-01'")
_JSON = ("str", _two('{"n": 1}', '{"n": 2}'), _own('{{"n": {}}}'), "'{}'")
_KINDS: Mapping[str, tuple[str, str, str, str]] = {
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "float4", "float8", "money"), _NUMBER),
    **dict.fromkeys(_TEXTS, ("str", "Key(str)", "", "")),
    "uuid": (
        "UUID",
        "Key(UUID)",
        "Own(st.integers(1, 99).map(lambda n: UUID(int=n)))",
        f"'{'0' * 8}-0000-0000-0000-{'0' * 12}'",
    ),
    "bool": ("bool", "Key([False, True])", "[False, True]", "false"),
    **dict.fromkeys(("timestamptz", "timestamp", "date"), _TIME),
    "time": ("str", _two("10:00", "11:00"), _own("12:00:00.{}"), "'12:00'"),
    "interval": ("str", _two("1 hour", "2 hours"), _own("{} hours"), "'1 hour'"),
    **dict.fromkeys(("json", "jsonb"), _JSON),
    "bytea": ("str", _two("\\x01", "\\x02"), _own("\\x{}"), "'\\x00'"),
    "inet": ("str", _two("10.0.0.1", "10.0.0.2"), _own("10.0.1.{}"), "'10.0.0.0'"),
}
