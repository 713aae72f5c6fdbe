"""`--format spec`: a spec of PostgreSQL's isolationtester (src/test/isolation/README), for a stock server."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.campaign.record import Recorded
from harness.exports.acts import CONTROL, Act, Play, comparison, dedented, hold, play, seen_in_words, terminated, title
from harness.runners.script import Carried, Command, Prepared, Sql, Unwritable, verb_of
from harness.scenario import lexer


def spec(recorded: Recorded) -> str:
    """The text of the file. Raises Unwritable."""
    staged = play(recorded)
    steps = _names(staged.acts)
    counted = recorded.violation is not None and recorded.violation.kind == "wrong-answer"
    holds = [f"hold{number}" for number, _ in enumerate(staged.stops, 1)]
    checks = [f"check{number}" for number, _ in enumerate(recorded.checks, 1)]
    controlling = [
        *(_step(name, hold(stop)) for name, stop in zip(holds, staged.stops, strict=True)),
        *(_step(steps[act.number], _text(staged, act)) for act in staged.acts if act.terminal == CONTROL),
        *(_step(name, check.query) for name, check in zip(checks, recorded.checks, strict=True)),
    ]
    lines = [
        *(f"# {line}".rstrip() for line in _heading(recorded)),
        "",
        *(f"setup\n{_block(sql)}" for sql in (*recorded.tables, *staged.gates, *recorded.start)),
        "",
        f"teardown\n{_block(_joined(_dropping(recorded, gated=bool(staged.gates))))}",
        "",
    ]
    for terminal in staged.terminals:
        lines.append(f"session {terminal}")
        lines.append(f"setup {_block(_joined(staged.opening[terminal]))}")
        for act in staged.acts:
            if act.terminal == terminal:
                lines += [f"# {remark}" for remark in _remarks(staged, act)]
                lines.append(_step(steps[act.number], _text(staged, act, counted=counted)))
        lines.append("")
    order = [*holds, *(steps[act.number] for act in staged.acts), *checks]
    lines += [f"session {CONTROL}", *controlling, "", "permutation", *(f"  {name}" for name in order)]
    return "\n".join(lines) + "\n"


def _heading(recorded: Recorded) -> list[str]:
    return [
        *title(recorded),
        *comparison(recorded),
        "",
        "Run it in an empty database: isolationtester 'dbname=...' < THIS FILE",
        "The order is the one in which it was found; what programs decided between statements is written as taken.",
    ]


def _dropping(recorded: Recorded, *, gated: bool) -> list[str]:
    return [*recorded.drops, *(["DROP SCHEMA harness_gates CASCADE"] if gated else [])]


def _names(acts: Sequence[Act]) -> dict[int, str]:
    """`insert1`, `commit2`, `select1_2`: what it does, whose it is, and which of several."""
    names, used = {}, Counter[str]()
    for act in acts:
        word = "release" if act.terminal == CONTROL else act.command.verb if act.command else "set"
        name = word if act.terminal == CONTROL else f"{word}{act.terminal.removeprefix('s')}"
        used[name] += 1
        names[act.number] = f"{name}_{used[name]}" if used[name] > 1 else name
    return names


def _remarks(staged: Play, act: Act) -> Iterator[str]:
    if act.comment:
        yield act.comment
    for seen in act.seen:
        told = seen_in_words(staged, seen, act.number)
        if told:
            yield f"  {told}"


def _step(name: str, text: str) -> str:
    return f"step {name:<10} {_block(text)}"


def _block(text: str) -> str:
    """In braces, in which no closing one may stand (specscanner.l): as an escape it may."""
    body = terminated(_without_braces(dedented(text)))
    return f"{{ {body} }}" if "\n" not in body else "{\n" + _indented(body) + "\n}"


def _indented(body: str) -> str:
    return "\n".join(f"  {line}" if line.strip() else "" for line in body.split("\n"))


def _joined(statements: Iterable[str]) -> str:
    return ";\n".join(statements)


def _without_braces(text: str) -> str:
    if "}" not in text:
        return text
    return "".join(_without_brace(token) if "}" in token.text else token.text for token in lexer.tokens(text))


def _without_brace(token: lexer.Token) -> str:
    match token.kind:
        case lexer.Kind.COMMENT:
            return token.text.replace("}", ")")
        case lexer.Kind.DOLLAR:
            tag = token.text[: token.text.index("$", 1) + 1]
            return _escaped(token.text.removeprefix(tag).removesuffix(tag))
        case lexer.Kind.STRING if token.text.startswith("'"):
            return _escaped(token.text[1:-1].replace("''", "'"))
        case lexer.Kind.STRING if token.text[0] in "eE":
            return token.text.replace("}", r"\x7d")
    raise Unwritable(f"a closing brace outside of a string cannot stand in a spec: {token.text}")


def _escaped(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "''").replace("}", r"\x7d")
    return f"E'{quoted}'"


# Values that the server made.


def _text(staged: Play, act: Act, *, counted: bool = False) -> str:
    text = "".join(part if isinstance(part, str) else _used(part) for part in act.sql)
    if act.command is None:
        return text
    if act.command.prepared is not None:
        return _keeping_prepared(staged, text, act.command, act.command.prepared)
    if act.command.number in staged.carriers:
        wanted = _wanted(staged, act.command.number)
        return _keeping(text, act.command, {column: _quoted(value.setting) for column, value in wanted.items()})
    return _counting(text, act.command) if counted else text


def _counting(text: str, command: Command) -> str:
    """The same, saying how many rows it changed: isolationtester prints rows, and nothing where there are none."""
    if command.verb not in ("insert", "update", "delete") or command.result.columns or command.fault:
        return text
    body = terminated(text, "")
    return f"WITH made AS (\n  {body}\n  RETURNING true\n) SELECT count(*) AS {command.verb}s FROM made"


def _used(value: Carried) -> str:
    return f"current_setting({_quoted(value.setting)})::{value.type}"


def _quoted(text: str) -> str:
    return f"'{text}'"


def _wanted(staged: Play, number: int) -> dict[int, Carried]:
    """The columns of a command's row that are used again."""
    parts: Iterator[Sql] = (act.sql for act in staged.acts)
    return {part.column: part for sql in parts for part in sql if isinstance(part, Carried) and part.command == number}


def _keeping(text: str, command: Command, settings: Mapping[int, str]) -> str:
    """The same, keeping columns of its row in settings of the session for what comes later."""
    names = [f"column_{n}" if not re.fullmatch(r"\w+", c) else c for n, c in enumerate(command.result.columns, 1)]
    if len(set(names)) < len(names):
        names = [f"column_{n}" for n, _ in enumerate(names, 1)]
    listed = ", ".join(f'"{name}"' for name in names)
    keep = ", ".join(
        f"""set_config({setting}, made."{names[column]}"::text, false) AS kept_{column + 1}"""
        for column, setting in sorted(settings.items())
    )
    body, verb = terminated(text, ""), verb_of(text)
    if verb in ("select", "values", "table"):
        return f"SELECT made.*, {keep} FROM (\n  {body}\n) AS made ({listed})"
    if verb in ("insert", "update", "delete", "merge"):
        return f"WITH made ({listed}) AS (\n  {body}\n) SELECT made.*, {keep} FROM made"
    raise Unwritable(f"the answer of {verb.upper()} is used again, which a spec cannot keep: use --format psql")


def _keeping_prepared(staged: Play, text: str, command: Command, prepared: Prepared) -> str:
    """PREPARE with one parameter more for each column that is kept, EXECUTE with the name of the setting for it."""
    executions = [c for c in staged.commands if c.prepared == prepared and c.verb == "execute"]
    kept = sorted({column for execution in executions for column in _wanted(staged, execution.number)})
    if not kept:
        return text
    if command.verb == "execute":
        wanted = _wanted(staged, command.number)
        names = [_quoted(wanted[column].setting if column in wanted else "harness.unused") for column in kept]
        return f"{text.rstrip().removesuffix(')')}, {', '.join(names)})"
    count = len(prepared.types)
    answers = next(execution for execution in executions if execution.result.columns)
    settings = {column: f"${count + place}" for place, column in enumerate(kept, 1)}
    types = ", ".join([*prepared.types, *(["text"] * len(kept))])
    return f"PREPARE {prepared.name} ({types}) AS {_keeping(prepared.statement, answers, settings)}"
