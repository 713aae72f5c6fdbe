"""Diagnoses as a compiler shows them: the code, the words it is about, why, and what to write instead."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from harness.doctor.consult import Consultation
from harness.doctor.examine import Diagnosis, Examined, Repair
from harness.doctor.output.place import Place, place_of
from harness.doctor.statement import Statement

COLORS = {"error": "bold red", "warning": "bold yellow", "hint": "bold cyan"}
HELP = {"sql": "change the statement", "ddl": "change the schema"}


def show(consultation: Consultation, out: Console) -> None:
    for one in consultation.examined:
        for line in lines_of(one):
            out.print(line, soft_wrap=True)
    for text in summary(consultation):
        out.print(text, soft_wrap=True)


def lines_of(one: Examined) -> Iterator[Text]:
    """What is shown of a statement; nothing for one that is in order."""
    if one.unchecked is not None:
        yield Text.assemble(("note", "bold"), f": {one.unchecked}")
        yield Text(f"  --> {one.statement.file}:{one.statement.line}:{one.statement.column}\n")
    for diagnosis in one.diagnoses:
        yield from _diagnosis(one, diagnosis)
        yield Text()


def _diagnosis(one: Examined, diagnosis: Diagnosis) -> Iterator[Text]:
    statement, place = one.statement, place_of(one.statement, diagnosis)
    color = COLORS[diagnosis.severity]
    yield Text.assemble((f"{diagnosis.severity}[{diagnosis.code}]", color), (f": {diagnosis.message}", "bold"))
    gutter = len(str(statement.line + statement.text.count("\n")))
    bar = " " * gutter + " |"
    yield Text.assemble((" " * gutter + "--> ", "blue"), f"{statement.file}:{place.line}:{place.column}")
    yield Text(bar, "blue")
    yield from _excerpt(statement, place, gutter, _marked(diagnosis), color)
    yield Text(bar, "blue")
    if one.arbiters:
        yield Text.assemble((" " * gutter + " = ", "blue"), f"arbiter: {', '.join(one.arbiters)}")
    for number, repair in enumerate(diagnosis.repairs):
        yield from _repair(repair, gutter, "help" if number == 0 else "or")
    if diagnosis.untried is not None:
        yield Text.assemble((" " * gutter + " = ", "blue"), f"no repair is shown: {diagnosis.untried}")
    tried = "; what is shown above was tried on a scratch copy" if diagnosis.repairs else ""
    yield Text.assemble((" " * gutter + " = ", "blue"), f"more: harness explain {diagnosis.code}{tried}")


def _marked(diagnosis: Diagnosis) -> str:
    if diagnosis.sqlstate is None:
        return ""
    when = {"error": "on every call", "warning": "when it happens", "hint": "if it happens"}[diagnosis.severity]
    when = "once the plan is generic" if diagnosis.code == "D104" else when
    return f" {diagnosis.sqlstate} {when}"


def _excerpt(statement: Statement, place: Place, gutter: int, mark: str, color: str) -> Iterator[Text]:
    """The line of the place and the one before it, as they stand in the statement."""
    lines = statement.text.splitlines() or [""]
    lines[0] = " " * (statement.column - 1) + lines[0]
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    for number in range(max(statement.line, place.line - 1), place.line + 1):
        text = lines[number - statement.line][indent:]
        yield Text.assemble((f"{number:>{gutter}} | ", "blue"), text)
    ends = place.end_column if place.end_line == place.line else len(lines[place.line - statement.line]) + 1
    width = max(1, ends - place.column)
    yield Text.assemble((" " * gutter + " | ", "blue"), " " * (place.column - 1 - indent), ("^" * width + mark, color))


def _repair(repair: Repair, gutter: int, word: str) -> Iterator[Text]:
    margin = " " * gutter
    yield Text.assemble((f"{margin} = ", "blue"), (f"{word}: {HELP[repair.kind]}", "bold"))
    for line in repair.comment.splitlines():
        yield Text(f"{margin}     -- {line}", "dim")
    lines = repair.text.splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    for number, line in enumerate(lines):
        yield Text(f"{margin}     {line[indent:] if number and line[:indent].isspace() else line}", "green")


def summary(consultation: Consultation) -> Sequence[str]:
    counts: Counter[str] = Counter(each.severity for one in consultation.examined for each in one.diagnoses)
    told = ", ".join(_count(counts[severity], severity) for severity in COLORS if counts[severity])
    unchecked = sum(one.unchecked is not None for one in consultation.examined)
    left = f"{_count(unchecked, 'statement')} could not be checked" if unchecked else ""
    if not told and unchecked < max(1, len(consultation.examined)):
        told = "nothing wrong"
    upserts = _count(len(consultation.examined), "upsert")
    lines = [f"{upserts} in {_count(consultation.statements, 'statement')}: {'; '.join(filter(None, (told, left)))}"]
    sound = [one for one in consultation.examined if not one.diagnoses and one.unchecked is None]
    for one in sound[:10]:
        judge = ", ".join(one.arbiters) if one.arbiters else "every unique index"
        lines.append(f"  {one.statement.file}:{one.statement.line}: arbiter {judge}")
    return [*lines, f"asked: {consultation.server}"] if consultation.server else lines


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
