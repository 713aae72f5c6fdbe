"""What holds for every trial: a serial one is acquitted, a dropped write and a second row are condemned."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as generators

from harness.model.contest import Contest, OpRef
from harness.model.outcome import Outcome, Row, Rows
from harness.model.verdict import KINDS, Violation
from harness.oracles import ORACLES, Evidence, judge
from tests.oracles.simulated import database, parse, play, serial

RIGHT = {"put": "w", "add": "w", "drop": "w", "buy": "w", "total": "r", "off_call": "w", "enlist": "w", "move": "w"}


@generators.composite
def calls(draw: generators.DrawFn) -> str:
    operation = draw(generators.sampled_from(sorted(RIGHT)))
    key, other = draw(generators.permutations("ab"))
    number = draw(generators.integers(1, 9))
    arguments = {"total": "", "put": f"{key} {number}", "add": f"{key} {number}", "move": f"{key} {other} {number}"}
    return f"{operation} {arguments.get(operation, key)}".strip()


@generators.composite
def serial_trials(draw: generators.DrawFn) -> Evidence:
    """Two or three sessions of one or two calls, run one at a time; some of them overlap in real time all the same."""
    sessions = draw(generators.lists(generators.lists(calls(), min_size=1, max_size=2), min_size=2, max_size=3))
    start = draw(generators.sampled_from(["", "a=1", "a=1 b=2", "a=1 a=2", "a=3-"]))
    text = " | ".join("; ".join(each) for each in sessions)
    left = {s: [RIGHT[call.split()[0]] for call in each] for s, each in enumerate(sessions)}
    steps = []
    while any(left.values()):
        session = draw(generators.sampled_from(sorted(s for s, letters in left.items() if letters)))
        steps.append(f"s{session + 1}{left[session].pop(0)}")
    evidence = play("right", text, " ".join(steps), start)
    kept = draw(generators.booleans())
    return evidence if kept else replace(evidence, before=frozenset())


@given(serial_trials())
def test_a_serial_trial_is_acquitted_by_every_oracle(evidence: Evidence) -> None:
    assert judge(evidence) is None
    for name, oracle in ORACLES:
        assert oracle(evidence) is None, name


@generators.composite
def values(draw: generators.DrawFn) -> list[int]:
    """Amounts of which no two sets have the same sum, so that every write shows (Own, in a scenario's words)."""
    return draw(generators.permutations([1, 2, 4, 8][: draw(generators.integers(2, 4))]))


def _without(contest: Contest, strategy: str, dropped: OpRef) -> Evidence:
    """The trial in which everybody was answered, and one of the writes did not take place."""
    whole = serial(contest, "a=100", strategy)
    order = contest.operations
    kept = tuple(ref for ref in order if ref != dropped)
    return Evidence(
        contest=contest,
        outcome=Outcome(whole(kept).rows, whole(order).answers),
        start=_start("a=100"),
        serial=whole,
    )


def _start(text: str) -> Rows:
    return database(text).rows()


@given(values(), generators.data())
def test_a_dropped_write_is_condemned(amounts: list[int], data: generators.DataObject) -> None:
    contest = parse(" | ".join(f"add a {amount}" for amount in amounts))
    dropped = data.draw(generators.sampled_from(contest.operations))
    verdict = judge(_without(contest, "right", dropped))
    assert isinstance(verdict, Violation)
    assert KINDS.index(verdict.kind) <= KINDS.index("lost-update")
    assert verdict.anomaly == "P4"


@given(serial_trials(), generators.data())
def test_a_second_row_is_condemned_as_a_duplicate(evidence: Evidence, data: generators.DataObject) -> None:
    (table,) = evidence.outcome.rows
    live: list[Row] = [row for row in table.rows if row[2]]
    # A start state with two rows of a key allows two of them.
    extra: Row = data.draw(generators.sampled_from(live or [("a", 1, True)]))
    copies = 1 + 2 * (not live)
    rows = (replace(table, rows=tuple(sorted((*table.rows, *[extra] * (copies + 1))))),)
    verdict = judge(replace(evidence, outcome=Outcome(rows, evidence.outcome.answers)))
    assert isinstance(verdict, Violation)
    assert verdict.kind == "duplicate"


@given(serial_trials())
def test_a_retryable_failure_without_effect_is_acquitted(evidence: Evidence) -> None:
    """One more session that failed and left nothing does not change what is said of the others."""
    contest = evidence.contest
    late = parse("put a 5").sessions
    joined = replace(contest, sessions=contest.sessions + late)
    ref = OpRef(len(contest.sessions), 0)
    failed = (ref, play("always aborted", "put a 5", "s1w").outcome.answers[0][1])
    outcome = Outcome(evidence.outcome.rows, (*evidence.outcome.answers, failed))
    verdict = judge(
        replace(
            evidence,
            contest=joined,
            outcome=outcome,
            serial=serial(joined, _start_text(evidence), "right"),
            specification=None,
            retryable=frozenset({"40001"}),
        )
    )
    assert verdict is None


def _start_text(evidence: Evidence) -> str:
    (table,) = evidence.start
    return " ".join(f"{key}={value}{'' if live else '-'}" for key, value, live in table.rows)
