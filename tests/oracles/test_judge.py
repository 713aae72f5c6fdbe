"""One verdict for one trial: precedence, and what a broken oracle comes to."""

from dataclasses import replace

import pytest

import harness.oracles as oracles
from harness.model.contest import Order
from harness.model.outcome import Outcome
from harness.model.verdict import Violation
from harness.oracles import Evidence, OracleCrashed, judge
from tests.oracles.simulated import play


def _breaks(_: Evidence) -> Violation | None:
    raise ZeroDivisionError("nothing to count")


def _with_broken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tuple((kind, _breaks if kind == name else oracle) for kind, oracle in oracles.ORACLES)
    monkeypatch.setattr(oracles, "ORACLES", changed)


def test_an_oracle_that_breaks_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_broken("hang", monkeypatch)
    verdict = judge(play("right", "put a 1 | put a 2", "s1w s2w"))
    assert isinstance(verdict, OracleCrashed)
    assert (verdict.oracle, verdict.reason) == ("hang", "ZeroDivisionError: nothing to count")
    assert isinstance(verdict.exception, ZeroDivisionError)


def test_what_another_oracle_finds_goes_before_one_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_broken("hang", monkeypatch)
    verdict = judge(play("check", "put a 1 | put a 2", "s1r s2r s1w s2w"))
    assert isinstance(verdict, Violation)
    assert verdict.kind == "duplicate"


def test_serial_outcomes_that_cannot_be_had_are_no_pass() -> None:
    def serial(order: Order) -> Outcome:
        raise RuntimeError(f"no outcome of {len(order)} operations")

    verdict = judge(replace(play("right", "put a 1 | put a 2", "s1w s2w"), serial=serial))
    assert isinstance(verdict, OracleCrashed)
    assert (verdict.oracle, verdict.reason) == ("wrong-alone", "RuntimeError: no outcome of 2 operations")


def test_an_interrupt_is_not_an_oracle_that_breaks() -> None:
    def serial(order: Order) -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(replace(play("right", "put a 1", "s1w"), serial=serial))


def test_serial_is_never_asked_for_no_operation() -> None:
    evidence = play("claiming", "put a 1 | put a 2", "s1r s2r s1w s2w", retryable="40001")

    def serial(order: Order) -> Outcome:
        assert order, "the start state was asked for as an order"
        return evidence.serial(order)

    assert isinstance(judge(replace(evidence, serial=serial)), Violation)
