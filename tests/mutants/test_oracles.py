"""Break the oracles, one line at a time: for each break some specimen is judged wrongly, and it is named here.

A mutant replaces a piece of one file of `harness/oracles` in memory. A piece that is no longer there, or there twice,
is an error: whoever changes the oracle decides what its mutant becomes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

import harness.oracles
from tests.oracles.specimens import SPECIMENS, Specimen, ask, check, summary

FOLDER = Path(harness.oracles.__file__).parent


@dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    old: str
    new: str
    killer: str  # the specimen that is then judged wrongly


def swapped(first: str, second: str, killer: str) -> Mutant:
    """The one oracle asked before the other."""
    lines = [line for line in (FOLDER / "__init__.py").read_text().splitlines() if line.startswith('    ("')]
    earlier = next(line for line in lines if f'"{first}"' in line)
    between = lines[lines.index(earlier) : lines.index(next(line for line in lines if f'"{second}"' in line)) + 1]
    exchanged = [between[-1], *between[1:-1], earlier]
    return Mutant(f"{second} before {first}", "__init__.py", "\n".join(between), "\n".join(exchanged), killer)


ALLOWED = (
    Mutant(
        "orders ignore real time",
        "allowed.py",
        "orders(required | some, time)",
        "orders(required | some)",
        "answered, and arrived late",
    ),
    Mutant(
        "the unfinished keep real time",
        "allowed.py",
        "if a not in pending)",
        ")",
        "lost in COMMIT, and arrived late",
    ),
    Mutant(
        "nothing is retryable",
        "allowed.py",
        "told.sqlstate in evidence.retryable",
        "False",
        "40001 is retried",
    ),
    Mutant(
        "every failure is retryable",
        "allowed.py",
        "told.sqlstate in evidence.retryable",
        "True",
        "40001 is not retried",
    ),
    Mutant(
        "retryable is a yes or no",
        "allowed.py",
        "told.sqlstate in evidence.retryable",
        "bool(evidence.retryable)",
        "retrying 40001 does not excuse 23505",
    ),
    Mutant(
        "a retryable failure may have had its effect",
        "allowed.py",
        " and not is_retryable(evidence, told)",
        "",
        "a retryable failure may not have had its effect",
    ),
    Mutant(
        "the doubtful are left out only",
        "allowed.py",
        "acknowledged(evidence), doubtful(evidence))",
        "acknowledged(evidence), ())",
        "lost in COMMIT, and arrived",
    ),
    Mutant(
        "the doubtful are put in only",
        "allowed.py",
        "acknowledged(evidence), doubtful(evidence))",
        "acknowledged(evidence) | doubtful(evidence), ())",
        "lost in COMMIT, and gone",
    ),
    Mutant(
        "a refusal is no answer",
        "allowed.py",
        "if isinstance(answer(evidence, ref), Ok | Refused)",
        "if isinstance(answer(evidence, ref), Ok)",
        "refused, and yet it has it",
    ),
    Mutant(
        "rows are not compared",
        "allowed.py",
        "return one.rows == other.rows",
        "return True",
        "both add to what they read",
    ),
    Mutant(
        "answers are not compared",
        "allowed.py",
        " and told != expected.get(ref, UNANSWERED)",
        " and False",
        "both created it",
    ),
    Mutant(
        "rows and answers may come from different orders",
        "allowed.py",
        "same_rows(evidence.outcome, outcome) and not misinformed(evidence, outcome) for",
        "not misinformed(evidence, outcome) for",
        "both leave, each because of the other",
    ),
    Mutant(
        "rows alone explain",
        "allowed.py",
        "same_rows(evidence.outcome, outcome) and not misinformed(evidence, outcome) for",
        "same_rows(evidence.outcome, outcome) for",
        "answers count",
    ),
    Mutant(
        "the most are left out first",
        "allowed.py",
        "range(len(listed), -1, -1)",
        "range(len(listed) + 1)",
        "the fewest that explain it",
    ),
    Mutant(
        "no operation leaves nothing",
        "allowed.py",
        "Outcome(evidence.start, ())",
        "Outcome((), ())",
        "a failure that undoes another's write loses it",
    ),
)

KINDS = (
    Mutant(
        "the specification is not asked",
        "wrong_alone.py",
        "if evidence.specification is None or not order:",
        "if True:",
        "do nothing never changes a row",
    ),
    Mutant(
        "the specification is asked for rows only",
        "wrong_alone.py",
        "if told != meant.answer(ref)",
        "if False",
        "always says that it created the row",
    ),
    Mutant(
        "the specification is asked for answers only",
        "wrong_alone.py",
        "if here != there:",
        "if False:",
        "do nothing never changes a row",
    ),
    Mutant(
        "the specification is asked for all rows",
        "wrong_alone.py",
        "here, there = evidence.live_rows(found), evidence.live_rows(meant)",
        "here, there = found.rows, meant.rows",
        "a soft delete leaves the same live rows",
    ),
    Mutant(
        "failures alone are left to others",
        "wrong_alone.py",
        "for look in (_fails, differs):",
        "for look in (differs,):",
        "no index to arbitrate",
    ),
    Mutant(
        "differences go before failures",
        "wrong_alone.py",
        "for look in (_fails, differs):",
        "for look in (differs, _fails):",
        "no index to arbitrate",
    ),
    Mutant(
        "a retryable failure alone is an error",
        "wrong_alone.py",
        " or allowed.is_retryable(evidence, told)",
        "",
        "a retry that never helps",
    ),
    Mutant(
        "a crash alone is an error",
        "wrong_alone.py",
        "if isinstance(told, Crashed):",
        "if False:",
        "an exception of the code's own",
    ),
    Mutant("no crash", "crash.py", "if isinstance(told, Crashed):", "if False:", "the row that was seen is gone"),
    Mutant(
        "no error",
        "error.py",
        "if isinstance(told, Failed)",
        "if False",
        "the index catches the second insert",
    ),
    Mutant(
        "a retryable error is an error",
        "error.py",
        " and not allowed.is_retryable(evidence, told)",
        "",
        "the caller retries 23505",
    ),
    Mutant(
        "a deadlock is an error",
        "error.py",
        " and told.sqlstate != DEADLOCK",
        "",
        "the victim is not retried",
    ),
    Mutant(
        "an error needs concurrency",
        "error.py",
        "sqlstate=found.sqlstate, alone=alone",
        "sqlstate=found.sqlstate",
        "an error needs no concurrency",
    ),
    Mutant(
        "an error never needs concurrency",
        "error.py",
        "alone = _fails_alone(evidence, ref, found)",
        "alone = True",
        "the index catches the second insert",
    ),
    Mutant(
        "errors from the last session on",
        "error.py",
        "for ref in evidence.contest.operations:",
        "for ref in reversed(evidence.contest.operations):",
        "of two failures the earlier session's",
    ),
    Mutant("no hang", "hang.py", "if evidence.hang is None:", "if True:", "a cycle through the pool"),
    Mutant(
        "a deadlock is always retried",
        "deadlock.py",
        " and not allowed.is_retryable(evidence, told)",
        " and not evidence.retryable",
        "retrying 40001 is not retrying 40P01",
    ),
    Mutant(
        "a deadlock is never retried",
        "deadlock.py",
        " and not allowed.is_retryable(evidence, told)",
        "",
        "the victim is retried",
    ),
    Mutant(
        "the start state's duplicates count",
        "duplicate.py",
        "max(1, evidence.live_at_start.get(identity, {}).get(key, 0))",
        "1",
        "the start state's own, although every order tidies it up",
    ),
    Mutant(
        "duplicates that serial orders have count",
        "duplicate.py",
        "most = max(most, *_in_serial_outcomes(evidence, identity, key))",
        "",
        "a plain INSERT twice, which is what is wanted",
    ),
    Mutant(
        "one row may be a duplicate",
        "duplicate.py",
        "max(1, evidence.live_at_start",
        "max(0, evidence.live_at_start",
        "one row is no duplicate, although every order leaves none",
    ),
    Mutant(
        "one duplicate is free",
        "duplicate.py",
        "if found > most:",
        "if found > most + 1:",
        "both saw nothing, both insert",
    ),
    Mutant(
        "as many as allowed is a duplicate",
        "duplicate.py",
        "if found > most:",
        "if found >= most:",
        "a plain INSERT twice, which is what is wanted",
    ),
    Mutant(
        "a partial effect needs an acknowledged operation",
        "partial_effect.py",
        "_left_by_failures_only(evidence) or",
        "",
        "everything failed, and something is there",
    ),
    Mutant(
        "a whole effect is no partial one",
        "partial_effect.py",
        " or _put_in(evidence)",
        "",
        "a failure that puts back what was there",
    ),
    Mutant(
        "half an effect is no partial one",
        "partial_effect.py",
        " or _in_part(evidence)",
        "",
        "the first of two transactions stays",
    ),
    Mutant(
        "what a failure may explain is laid at its door",
        "partial_effect.py",
        "if allowed.explains_rows(evidence, lost_update",
        "if False and allowed.explains_rows(evidence, lost_update",
        "a failure that undoes another's write loses it",
    ),
    Mutant(
        "made of anything",
        "partial_effect.py",
        "rows <= these[name] | those[name]",
        "True",
        "a failure elsewhere does not explain a skew",
    ),
    Mutant(
        "made of what both have at least",
        "partial_effect.py",
        "rows <= these[name] | those[name]",
        "these[name] & those[name] <= rows <= these[name] | those[name]",
        "a failure that takes a row of nobody's",
    ),
    Mutant(
        "made of any two orders",
        "partial_effect.py",
        "        if _is_made_of(evidence.outcome.rows, nothing.rows, whole.rows):\n            return True",
        "        if any(_is_made_of(evidence.outcome.rows, a.rows, whole.rows) for _, a in "
        "_without_failures(evidence)):"
        "\n            return True",
        "a failure elsewhere does not explain a skew",
    ),
    Mutant(
        "a partial effect needs no failure",
        "partial_effect.py",
        "if not failed:",
        "if False:",
        "without a failure nothing is left by one",
    ),
    Mutant(
        "what was there is no part",
        "partial_effect.py",
        "if ref not in failed)",
        "if ref in failed)",
        "the second of two transactions is missing",
    ),
    Mutant(
        "what real time forbids is a cycle",
        "non_serializable.py",
        "if late := explain.out_of_time(evidence):",
        "if (late := explain.out_of_time(evidence)) and False:",
        "a failure elsewhere does not explain a skew",
    ),
    Mutant(
        "the subset is not proper",
        "lost_update.py",
        "    if allowed.explains_rows(evidence, allowed.outcomes(evidence)):\n        return None\n",
        "",
        "the last writer wins",
    ),
    Mutant(
        "losses without what may have happened",
        "lost_update.py",
        "outcomes_without_some(evidence, allowed.doubtful(evidence))",
        "outcomes_without_some(evidence, ())",
        "lost beside one that arrived",
    ),
    Mutant("no lost update", "lost_update.py", "if kept != acknowledged:", "if False:", "both add to what they read"),
    Mutant(
        "no wrong answer",
        "wrong_answer.py",
        "if allowed.explains(evidence):",
        "if True:",
        "both created it",
    ),
    Mutant(
        "every order must tell them so",
        "wrong_answer.py",
        "if allowed.explains(evidence):",
        "if False:",
        "one of two orders tells them so",
    ),
    Mutant(
        "rows that none has are a wrong answer",
        "wrong_answer.py",
        "if not matching:",
        "if False:",
        "rows that no order leaves are no answer",
    ),
    Mutant(
        "a writer is skewed",
        "wrong_answer.py",
        "return allowed.same_rows(outcome, allowed.run(evidence, tuple(ref for ref in order if ref != reader)))",
        "return True",
        "a writer's answer is no skew",
    ),
    Mutant(
        "an old state is a skew",
        "wrong_answer.py",
        'return None if _told_of_an_old_state(evidence, reader) else "A5A"',
        'return "A5A"',
        "a total of too long before",
    ),
    Mutant(
        "many sessions are skewed",
        "wrong_answer.py",
        "len(evidence.contest.sessions) != 2 or ",
        "",
        "of three sessions any two may be at fault",
    ),
    Mutant("no invariant", "invariant.py", "in evidence.invariants:", "in ():", "a query returned a row"),
    Mutant(
        "everything is serializable",
        "non_serializable.py",
        "if allowed.explains(evidence):",
        "if True:",
        "two transfers in halves",
    ),
    Mutant(
        "the doubtful are no doubt",
        "non_serializable.py",
        "allowed.doubtful(evidence) or ",
        "",
        "a skew beside one of whom nothing is known",
    ),
    Mutant(
        "told otherwise is told alone",
        "non_serializable.py",
        " or any(not _told_as_alone(evidence, *run) for run in alone)",
        "",
        "a skew whose answers are not those of the start state",
    ),
    Mutant(
        "every anomaly is a sum",
        "non_serializable.py",
        "if not _is_sum(evidence, writers):",
        "if False:",
        "two transfers in halves",
    ),
    Mutant(
        "added rows are items",
        "non_serializable.py",
        "if any(writer.adds_or_removes",
        "if False and any(writer.adds_or_removes",
        "both were first",
    ),
    Mutant("three are two", "non_serializable.py", "len(writers) == 2", "True", "all three leave"),
)

PRECEDENCE = (
    swapped("crash", "error", "a crash goes before an error of an earlier session"),
    swapped("error", "hang", "an error goes before a hang"),
    swapped("error", "deadlock", "an error goes before a deadlock of an earlier session"),
    swapped("hang", "deadlock", "a hang goes before a deadlock"),
    swapped("deadlock", "duplicate", "a deadlock goes before a duplicate"),
    swapped("duplicate", "partial-effect", "a duplicate goes before what a failure left"),
    swapped("partial-effect", "lost-update", "a failure that puts back what was there"),
    swapped("lost-update", "non-serializable", "both add to what they read"),
    swapped("wrong-answer", "invariant", "a wrong answer goes before an invariant"),
    swapped("wrong-answer", "non-serializable", "both created it"),
    swapped("invariant", "non-serializable", "an invariant goes before a skew"),
    swapped("wrong-alone", "error", "no index to arbitrate"),
    swapped("wrong-alone", "crash", "an exception of the code's own"),
)

MUTANTS = {mutant.name: mutant for mutant in (*ALLOWED, *KINDS, *PRECEDENCE)}


@contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """The file with the piece replaced, run in the module that others already hold; afterwards all is as before."""
    source = (FOLDER / mutant.file).read_text()
    found = source.count(mutant.old)
    assert found == 1, f"{mutant.file}: expected the piece once, found it {found} times: {mutant.old}"
    module = (
        harness.oracles if mutant.file == "__init__.py" else import_module(f"harness.oracles.{Path(mutant.file).stem}")
    )
    touched = {id(each): (each, dict(vars(each))) for each in (module, harness.oracles)}
    try:
        exec(compile(source.replace(mutant.old, mutant.new), mutant.file, "exec"), vars(module))
        if module is not harness.oracles:  # its tuple of oracles holds the functions of before
            exec(compile((FOLDER / "__init__.py").read_text(), "__init__.py", "exec"), vars(harness.oracles))
        yield
    finally:
        for each, names in touched.values():
            vars(each).clear()
            vars(each).update(names)


def _said_of(specimen: Specimen) -> tuple[str, bool]:
    """The verdict in short, and whether it is explained as it should be."""
    try:
        verdict = ask(specimen)
    except Exception as exception:  # an oracle asked directly; in `judge` it would be no pass either
        return f"broke: {exception}", False
    return summary(verdict), specimen.says in str(verdict)


@pytest.mark.parametrize("name", MUTANTS)
def test_no_mutant_survives_its_specimen(name: str) -> None:
    mutant = MUTANTS[name]
    specimen = SPECIMENS[mutant.killer]
    check(specimen)
    with mutated(mutant):
        said = _said_of(specimen)
    assert said != (specimen.finds, True), f"{name}: '{mutant.killer}' is still judged as before"
    check(specimen)


def test_names_of_mutants_are_unique() -> None:
    assert len(MUTANTS) == len(ALLOWED) + len(KINDS) + len(PRECEDENCE)
