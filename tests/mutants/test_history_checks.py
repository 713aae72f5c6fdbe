"""Break the search for an order and the ledger, one line at a time: some planted history is then judged wrongly."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.model.outcome import Answer, Ok
from harness.oracles import ledger, linearize


def swap(state: int, number: int) -> tuple[int, Answer]:
    """A register that answers what it held: call n writes n + 1."""
    return number + 1, Ok(state)


def explained(by: ModuleType, end: int, *calls: tuple[int, int, int | None, bool]) -> tuple[int, ...] | None:
    spans = [by.Span(began, ended, None if told is None else Ok(told), must) for began, ended, told, must in calls]
    found: tuple[int, ...] | None = by.explain(spans, 0, swap, lambda state, order: state == end)
    return found


def in_time(by: ModuleType, order: tuple[int, ...], *calls: tuple[int, int, bool]) -> bool:
    return bool(by.keeps_time([by.Span(began, ended, None, must) for began, ended, must in calls], order))


def sum_of(by: ModuleType, start: int, found: int, *entries: tuple[int, bool]) -> str | None:
    made = [by.Entry(Decimal(amount), certain) for amount, certain in entries]
    violation = by.judge("the sum", Decimal(start), Decimal(found), made)
    return violation.kind if violation else None


SPECIMENS: dict[str, tuple[Callable[..., Any], Any, Any]] = {
    "time forbids the only order": (explained, (1, (0, 1, 2, True), (2, 3, 0, True)), None),
    "the first is told of the second": (explained, (2, (0, 3, 2, True), (1, 2, 1, True)), None),
    "a wrong end": (explained, (1, (0, 1, 0, True), (2, 3, 1, True)), None),
    "an acknowledged call is missing": (explained, (2, (0, 1, None, True), (2, 3, 0, True)), None),
    "the later one is missing": (explained, (1, (0, 1, None, True), (2, 3, None, True)), None),
    "an unknown one comes late": (explained, (1, (0, 1, None, False), (2, 3, 0, True)), (1, 0)),
    "an unknown one never came": (explained, (2, (0, 1, None, False), (2, 3, 0, True)), (1,)),
    "the less likely order of two": (
        explained, (3, (0, 9, None, True), (0, 10, None, True), (11, 12, 1, True)), (1, 0, 2),
    ),
    "a known order against time": (in_time, ((1, 0), (0, 1, True), (2, 3, True)), False),
    "a known order with one that is late": (in_time, ((1, 0), (0, 1, False), (2, 3, True)), True),
    "all are there": (sum_of, (1, 3, (2, True)), None),
    "one of two is lost": (sum_of, (0, 1, (1, True), (1, True)), "lost-update"),
    "one too many": (sum_of, (0, 2, (1, True)), "non-serializable"),
    "who is unknown may have come": (sum_of, (0, 1, (1, False)), None),
    "who is unknown may not have come": (sum_of, (0, 0, (1, False)), None),
    "who is unknown may have taken": (sum_of, (5, 4, (-1, False)), None),
    "who is unknown took too much": (sum_of, (5, 3, (-1, False)), "non-serializable"),
    "one of two that take is lost": (sum_of, (5, 4, (-1, True), (-1, True)), "lost-update"),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    name: str
    of: ModuleType
    old: str
    new: str
    killer: str


MUTANTS = [
    Mutant("time does not matter", linearize, ".began <= horizon]", ".began <= 99]", "time forbids the only order"),
    Mutant(
        "the unknown hold others up", linearize, "waiting if spans[number].must)", "waiting)",
        "an unknown one comes late",
    ),
    Mutant("answers do not matter", linearize, "told is not None and", "False and", "the first is told of the second"),
    Mutant("ends do not matter", linearize, " and self.accepts(state, tuple(path))", "", "a wrong end"),
    Mutant(
        "nobody must be there", linearize, "done & self.musts == self.musts and ", "",
        "the later one is missing",
    ),
    Mutant(
        "all must be there", linearize, "enumerate(spans) if span.must)", "enumerate(spans))",
        "an unknown one never came",
    ),
    Mutant(
        "what is done is a dead end in every state", linearize, "None if after in self.dead else",
        "None if after[0] in {done for done, _ in self.dead} else", "the less likely order of two",
    ),
    Mutant("only the likely order", linearize, "trail.pop()\n", "return None\n", "the less likely order of two"),
    Mutant("known orders keep any time", linearize, "            return False\n", "            pass\n",
           "a known order against time"),
    Mutant(
        "known orders do not let anybody be late", linearize, "span.must and span.ended < latest",
        "span.ended < latest", "a known order with one that is late",
    ),
    Mutant("nothing is lost", ledger, "low <= found", "True", "one of two is lost"),
    Mutant("nothing is too much", ledger, "found <= high", "True", "one too many"),
    Mutant(
        "the unknown must be there", ledger, "low += entry.amount if entry.certain else min(entry.amount, Decimal(0))",
        "low += entry.amount", "who is unknown may not have come",
    ),
    Mutant(
        "the unknown is not there", ledger, "high += entry.amount if entry.certain else max(entry.amount, Decimal(0))",
        "high += entry.amount if entry.certain else 0", "who is unknown may have come",
    ),
    Mutant("the unknown only add", ledger, "min(entry.amount, Decimal(0))", "Decimal(0)",
           "who is unknown may have taken"),
    Mutant("every loss is another anomaly", ledger, "start <= found < low or ", "", "one of two is lost"),
    Mutant("what takes cannot be lost", ledger, " or high < found <= start", "", "one of two that take is lost"),
    Mutant("all is lost", ledger, "if start <= found < low or high < found <= start:", "if True:", "one too many"),
]  # fmt: skip


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_planted_history_is_judged_as_it_should_be(name: str) -> None:
    ask, arguments, expected = SPECIMENS[name]
    assert ask(ledger if ask is sum_of else linearize, *arguments) == expected


@contextmanager
def broken(mutant: Mutant) -> Iterator[ModuleType]:
    source = Path(mutant.of.__file__ or "").read_text()
    assert source.count(mutant.old) == 1, mutant.old
    module = ModuleType(f"{mutant.of.__name__}_broken")
    sys.modules[module.__name__] = module  # dataclasses look their module up by name
    try:
        exec(compile(source.replace(mutant.old, mutant.new), "broken.py", "exec"), vars(module))
        yield module
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_no_mutant_survives_its_specimen(mutant: Mutant) -> None:
    ask, arguments, expected = SPECIMENS[mutant.killer]
    with broken(mutant) as module:
        assert ask(module, *arguments) != expected
