"""Outcomes side by side: the answers and rows in which they differ, and nothing else."""

import re
import textwrap
from collections import Counter
from collections.abc import Sequence

from harness.model.contest import Contest, OpRef
from harness.model.outcome import Crashed, Failed, Ok, Outcome, Row
from harness.model.verdict import Finding

SHOWN_MAX = 4  # allowed outcomes, and rows of one table: the finding itself holds all
_WIDTH = 100


def expected_and_found(finding: Finding) -> list[str]:
    """`expected one of: ...` and `found: ...`, a line for each outcome."""
    if not finding.allowed:
        return told(finding.contest, finding.found)
    described = differing(finding.contest, (finding.found, *finding.allowed))
    found, allowed = described[0], list(dict.fromkeys(described[1:]))
    shown = allowed[:SHOWN_MAX]
    more = [f"  ... or one of {len(allowed) - SHOWN_MAX} more"] if len(allowed) > SHOWN_MAX else []
    heading = "expected one of:" if len(allowed) > 1 else "expected:"
    return [heading, *(line for text in shown for line in _wrapped(text)), *more, "found:", *_wrapped(found)]


def told(contest: Contest, outcome: Outcome) -> list[str]:
    """`found: ...` where there is nothing to compare with: what every client was told."""
    return ["found:", *_wrapped(_answers(contest, outcome, contest.operations))]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)


def differing(contest: Contest, outcomes: Sequence[Outcome]) -> list[str]:
    """Each outcome in the words that tell it from the others."""
    refs = [ref for ref in contest.operations if len({_told(outcome, ref) for outcome in outcomes}) > 1]
    tables = _tables(outcomes)
    texts = []
    for number, outcome in enumerate(outcomes):
        answers = _answers(contest, outcome, refs)
        texts.append("; ".join(part for part in (answers, *(rows[number] for rows in tables)) if part))
    return [text or "the same rows and answers" for text in texts]


# Answers.


def _answers(contest: Contest, outcome: Outcome, refs: Sequence[OpRef]) -> str:
    return ", ".join(f"{_who(contest, ref)} {_told(outcome, ref)}" for ref in refs)


def is_made_name(text: str) -> bool:
    """Whether it stands for a value that the server made: `id#1`, `<now>`."""
    return re.fullmatch(r"\w+#\d+|<now[^>]*>", text) is not None


def _who(contest: Contest, ref: OpRef) -> str:
    alone = len(contest.sessions[ref.session]) == 1
    return f"s{ref.session + 1}" if alone else f"s{ref.session + 1}'s call {ref.position + 1}"


def _told(outcome: Outcome, ref: OpRef) -> str:
    answer = outcome.told.get(ref)
    match answer:
        case None:
            return "without effect"  # it failed, and is left out of the order
        case Ok(str(name)) if is_made_name(name):
            return f"-> {name}"
        case Ok() | Failed() | Crashed():
            return f"-> {answer}"
    return f"-> ({answer})"


# Rows.


def _tables(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """For each table that is not the same everywhere, what each outcome has in it."""
    names = list(dict.fromkeys(table.name for outcome in outcomes for table in outcome.rows))
    columns = {table.name: table.columns for outcome in outcomes for table in outcome.rows}
    described = []
    for name in names:
        rows = [
            Counter(row for table in outcome.rows if table.name == name for row in table.rows) for outcome in outcomes
        ]
        common = rows[0].copy()
        for other in rows[1:]:
            common &= other
        own = [list((mine - common).elements()) for mine in rows]
        if any(own):
            telling = _telling(columns[name], [row for each in own for row in each])
            described.append([f"{name}: {_rows(columns[name], telling, each, bool(common))}" for each in own])
    return described


def _telling(columns: Sequence[str], rows: Sequence[Row]) -> list[int]:
    """The columns in which the rows differ; all of them where they do not."""
    differing = [i for i in range(len(columns)) if len({row[i] for row in rows}) > 1]
    return differing or list(range(len(columns)))


def _rows(columns: Sequence[str], telling: Sequence[int], rows: Sequence[Row], others: bool) -> str:
    if not rows:
        return "no further row" if others else "no row"
    each = [f"({', '.join(f'{columns[i]}={_value(row[i])}' for i in telling)})" for row in rows[:SHOWN_MAX]]
    more = [f"and {len(rows) - SHOWN_MAX} more"] if len(rows) > SHOWN_MAX else []
    return " ".join(each + more)


def _value(value: object) -> str:
    text = "NULL" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
