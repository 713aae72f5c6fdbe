"""The cheap question and the full one agree: whom one condemns the other condemns, and nobody else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import harness.oracles.suspicion as suspicion
from harness.model.contest import orders
from harness.oracles import Evidence, judge
from harness.oracles.evidence import OracleCrashed
from tests.oracles.simulated import play
from tests.oracles.specimens import SPECIMENS
from tests.oracles.test_properties import serial_trials


def suspected(evidence: Evidence) -> bool:
    return suspicion.suspect(evidence, next(iter(orders(evidence.contest.operations, evidence.before)))) is not None


@pytest.mark.parametrize("name", SPECIMENS)
def test_it_condemns_and_acquits_as_the_oracles_do(name: str) -> None:
    evidence = SPECIMENS[name].evidence()
    verdict = judge(evidence)
    assert not isinstance(verdict, OracleCrashed)
    if verdict is not None and verdict.alone and not suspected(evidence):
        # The order that explains this trial does what is specified; others do not.
        assert verdict.kind in ("wrong-alone", "error", "crash")
        return
    assert suspected(evidence) == (verdict is not None), verdict


@settings(deadline=None)
@given(serial_trials())
def test_a_serial_trial_is_not_suspected(evidence: Evidence) -> None:
    assert not suspected(evidence)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["add a 1", "add a 2", "add a 4", "put a 8"]), min_size=2, max_size=3),
    st.sampled_from(["", "a=1"]),
    st.data(),
)
def test_both_say_the_same_of_racy_trials(calls: list[str], start: str, data: st.DataObject) -> None:
    steps = data.draw(st.permutations([f"s{s + 1}{letter}" for s in range(len(calls)) for letter in "rw"]))
    each = {session: iter([f"{session}r", f"{session}w"]) for session in {step[:-1] for step in steps}}
    evidence = play("check", " | ".join(calls), " ".join(next(each[step[:-1]]) for step in steps), start)
    assert suspected(evidence) == (judge(evidence) is not None)


MUTANTS = [
    ("any order explains", "return order\n", "return order\n        return order\n"),
    ("errors are no matter", "if met := error.reached(evidence):", "if False and (met := error.reached(evidence)):"),
    ("answers are not compared", " and not allowed.misinformed(evidence, outcome)", ""),
    ("rows are not compared", "allowed.same_rows(evidence.outcome, outcome) and ", ""),
]


@contextmanager
def mutated(old: str, new: str) -> Iterator[None]:
    source = Path(suspicion.__file__).read_text()
    assert source.count(old) == 1, old
    before: dict[str, Any] = dict(vars(suspicion))
    try:
        exec(compile(source.replace(old, new), "suspicion.py", "exec"), vars(suspicion))
        yield
    finally:
        vars(suspicion).clear()
        vars(suspicion).update(before)


@pytest.mark.parametrize(("old", "new"), [mutant[1:] for mutant in MUTANTS], ids=[mutant[0] for mutant in MUTANTS])
def test_no_mutant_of_it_survives_the_specimens(old: str, new: str) -> None:
    with mutated(old, new):
        other = [
            name
            for name, specimen in SPECIMENS.items()
            if not isinstance(verdict := judge(specimen.evidence()), OracleCrashed)
            and verdict is not None
            and not verdict.alone
            and not suspected(specimen.evidence())
        ]
    assert other
