"""Trials with the verdict written beside them: what each oracle must condemn, and what it must acquit.

A specimen states strategy, calls and steps, and what `judge` must say: the name of the violation, then its anomaly,
then `alone`; no violation is `safe`. With `oracle` only that one is asked, to see what precedence would hide.
"""

from dataclasses import dataclass, replace

from harness import oracles  # its names are looked up late: tests/mutants exchanges them
from harness.model.contest import OpRef
from harness.model.outcome import Answer, Ok, Outcome, Refused, Unknown
from harness.model.verdict import Violation
from harness.oracles import Evidence, OracleCrashed
from tests.oracles.simulated import play


@dataclass(frozen=True)
class Specimen:
    name: str
    strategy: str
    calls: str
    run: str
    finds: str = "safe"
    start: str = ""
    retryable: str = ""
    specified: bool = True
    oracle: str | None = None
    hang: str | None = None
    invariants: tuple[tuple[str, str], ...] = ()
    told: str = ""  # answers exchanged after the trial: "s2=7", "s1=?" for Unknown, "s1=!" for Refused
    before: str | None = None  # real time, where it is not that of the steps: "s1<s2"
    says: str = ""  # part of the explanation

    def evidence(self) -> Evidence:
        evidence = play(self.strategy, self.calls, self.run, self.start, self.retryable, self.specified)
        answers = dict(evidence.outcome.answers) | dict(map(_answer, self.told.split()))
        outcome = Outcome(evidence.outcome.rows, tuple(sorted(answers.items())))
        before = evidence.before if self.before is None else frozenset(map(_pair, self.before.split()))
        return replace(evidence, outcome=outcome, before=before, hang=self.hang, invariants=self.invariants)


def check(specimen: Specimen) -> None:
    """That the oracles say of the specimen what is written beside it."""
    verdict = ask(specimen)
    assert summary(verdict) == specimen.finds, verdict
    if specimen.says:
        assert isinstance(verdict, Violation)
        assert specimen.says in verdict.explanation, verdict.explanation


def ask(specimen: Specimen) -> Violation | OracleCrashed | None:
    evidence = specimen.evidence()
    return oracles.judge(evidence) if specimen.oracle is None else dict(oracles.ORACLES)[specimen.oracle](evidence)


def summary(verdict: Violation | OracleCrashed | None) -> str:
    if verdict is None:
        return "safe"
    if isinstance(verdict, OracleCrashed):
        return f"crashed {verdict.oracle}: {verdict.reason}"
    words = [verdict.name, verdict.anomaly or "", "alone" if verdict.alone else ""]
    return " ".join(word for word in words if word)


def _session(text: str) -> OpRef:
    return OpRef(int(text.removeprefix("s")) - 1, 0)


def _answer(word: str) -> tuple[OpRef, Answer]:
    session, value = word.split("=")
    answers: dict[str, Answer] = {"?": Unknown(), "!": Refused("already bought")}
    return _session(session), answers[value] if value in answers else Ok(int(value))


def _pair(word: str) -> tuple[OpRef, OpRef]:
    earlier, later = map(_session, word.split("<"))
    return earlier, later


TWO = "put a 1 | put a 2"
READS_FIRST = "s1r s2r s1w s2w"

WRONG_ALONE = (
    Specimen("an upsert in one step", "right", TWO, "s1w s2w"),
    Specimen(
        "do nothing never changes a row",
        "forgetful",
        TWO,
        "s1w s2w",
        "wrong-alone alone",
        says="run one at a time in the order s1, s2: account has (value=1) in place of (value=2), by the specification",
    ),
    Specimen("do nothing, where nothing else is specified", "forgetful", TWO, "s1w s2w", specified=False),
    Specimen(
        "always says that it created the row",
        "boastful",
        TWO,
        "s1w s2w",
        "wrong-alone alone",
        says="s2 put(arg0='a', arg1=2) was told True, the specification says False",
    ),
    Specimen("a soft delete leaves the same live rows", "soft", "drop a | drop b", "s1w s2w", start="a=1 b=1"),
    Specimen("a retry that never helps", "always aborted", TWO, "s1w s2w", "wrong-alone alone", retryable="40001"),
    Specimen(
        "no index to arbitrate",
        "no arbiter",
        TWO,
        "s1w s2w",
        "42P10 alone",
        says="no concurrency needed: s1 put(arg0='a', arg1=1) met 42P10 invalid_column_reference",
    ),
    Specimen("a plain INSERT over a row", "insert only", "put a 1 | put b 2", "s1w s2w", "23505 alone", start="b=1"),
    Specimen("an exception of the code's own", "always crashing", TWO, "s1w s2w", "crash alone"),
)

CRASH = (
    Specimen(
        "the row that was seen is gone",
        "vanishing",
        "put a 5 | drop a",
        "s1r s2w s1w",
        "crash",
        start="a=1",
        says="s1 put(arg0='a', arg1=5) crashed: IndexError",
    ),
    Specimen("the row is still there", "vanishing", "put a 5 | drop a", "s1r s1w s2w", start="a=1"),
    Specimen(
        "a crash goes before an error of an earlier session",
        "vanishing or unique",
        "add b 1 | put b 2 | put a 5 | drop a",
        "s1r s2r s2w s1w s3r s4w s3w",
        "crash",
        start="a=1",
        specified=False,
    ),
)

ERROR = (
    Specimen(
        "the index catches the second insert",
        "unique",
        TWO,
        READS_FIRST,
        "23505",
        says="s2 put(arg0='a', arg1=2) met 23505 unique_violation; run one at a time, it does not in any order",
    ),
    Specimen("one after the other", "unique", TWO, "s1r s1w s2r s2w"),
    Specimen("the caller retries 23505", "unique", TWO, READS_FIRST, retryable="23505"),
    Specimen("retrying 40001 does not excuse 23505", "unique", TWO, READS_FIRST, "23505", retryable="40001"),
    Specimen("40001 is retried", "serialized", TWO, READS_FIRST, retryable="40001"),
    Specimen("40001 is not retried", "serialized", TWO, READS_FIRST, "40001"),
    Specimen(
        "of two failures the earlier session's",
        "unique",
        "put a 1 | put a 2 | put a 3",
        "s1r s2r s3r s2w s3w s1w",
        "23505",
        says="s1 put",
    ),
    Specimen(
        "an error goes before a deadlock of an earlier session",
        "deadlocked or unique",
        "put a 1 | put a 2 | add a 3",
        "s1r s2r s3r s1w s2w s3w",
        "23505",
        specified=False,
    ),
    Specimen("an error goes before a hang", "unique", TWO, READS_FIRST, "23505", hang="s1 waits for s2's pool slot"),
    Specimen("an error needs no concurrency", "insert only", TWO, "s1w s2w", "23505 alone", oracle="error"),
    Specimen("a refusal is an answer", "right", "buy a | buy a", "s1w s2w"),
)

HANG = (
    Specimen(
        "a cycle through the pool",
        "check",
        TWO,
        "s1r s2r",
        "hang",
        hang="s1 waits for the pool, s2 for s1's row",
        says="s2 for s1's row",
    ),
    Specimen("given up is neither done nor failed", "check", TWO, "s1r s2r s1w"),
    Specimen(
        "a hang goes before a deadlock",
        "deadlocked",
        "put a 1 | put a 2 | put a 3",
        "s1r s2r s3r s1w s2w",
        "hang",
        hang="s3 waits for s1's pool slot",
    ),
)

DEADLOCK = (
    Specimen(
        "the victim is not retried",
        "deadlocked",
        TWO,
        READS_FIRST,
        "deadlock",
        says="s2 put(arg0='a', arg1=2) met 40P01 deadlock_detected, and its caller does not retry that",
    ),
    Specimen("the victim is retried", "deadlocked", TWO, READS_FIRST, retryable="40P01"),
    Specimen("retrying 40001 is not retrying 40P01", "deadlocked", TWO, READS_FIRST, "deadlock", retryable="40001"),
    Specimen(
        "a deadlock goes before a duplicate",
        "check or deadlocked",
        "put a 1 | put a 2 | add a 3",
        "s1r s2r s3r s1w s2w s3w",
        "deadlock",
        specified=False,
    ),
)

DUPLICATE = (
    Specimen(
        "both saw nothing, both insert",
        "check",
        TWO,
        READS_FIRST,
        "duplicate",
        says="2 live rows of account(key) WHERE live = ('a'); no order of the operations leaves more than 1",
    ),
    Specimen("the second sees the first", "check", TWO, "s1r s1w s2r s2w"),
    Specimen("two keys", "check", "put a 1 | put b 2", READS_FIRST),
    Specimen("the start state's own", "right", "put a 3 | put a 4", "s1w s2w", start="a=1 a=2"),
    Specimen(
        "the start state's own, although every order tidies it up",
        "tidy",
        "put a 3 | add a 1",
        "s1r s2w s1w",
        "non-serializable",
        start="a=1 a=2",
        specified=False,
    ),
    Specimen(
        "one more than the start state has", "check", "put b 1 | put b 2", READS_FIRST, "duplicate", start="a=1 a=2"
    ),
    Specimen(
        "one row is no duplicate, although every order leaves none",
        "shy",
        "put a 5; drop a | off_call a",
        "s1w s1r s2w s1w",
        "lost-update P4",
        start="b=5",
    ),
    Specimen("a plain INSERT twice, which is what is wanted", "append", TWO, "s1w s2w", specified=False),
    Specimen("a row that is not live does not count", "check", "put a 1 | put b 2", READS_FIRST, start="a=7-"),
    Specimen(
        "a duplicate goes before what a failure left",
        "keeps its row",
        TWO,
        READS_FIRST,
        "duplicate",
        retryable="40001",
    ),
)

PARTIAL_EFFECT = (
    Specimen(
        "the whole effect stays, only the answer denies it",
        "guarded",
        TWO,
        READS_FIRST,
        "partial-effect",
        retryable="40001",
        says="s2 put(arg0='a', arg1=2) met 40001 serialization_failure, yet something of it stayed: "
        "account has (value=2) in place of (value=1)",
    ),
    Specimen(
        "a failure that puts back what was there",
        "guarded",
        TWO,
        READS_FIRST,
        "partial-effect",
        start="a=2",
        retryable="40001",
    ),
    Specimen(
        "a failure that takes a row of nobody's",
        "wrecking",
        TWO,
        READS_FIRST,
        "partial-effect",
        start="c=1",
        retryable="40001",
        says="account lacks (key='c', value=1, live=True)",
    ),
    Specimen(
        "the second of two transactions is missing",
        "copying",
        "put a 2 | add b 3",
        "s1i s2w s1d",
        "partial-effect",
        start="c=1",
        retryable="40001",
        specified=False,
    ),
    Specimen("fails before it writes", "careful", TWO, READS_FIRST, retryable="40001"),
    Specimen(
        "the first of two transactions stays",
        "jumpy",
        "put a 2 | put b 3",
        "s1d s2d s2i s1i",
        "partial-effect",
        start="a=1",
        retryable="40001",
        says="account has (live=False) in place of (live=True)",
    ),
    Specimen(
        "the first of two transactions had nothing to do",
        "jumpy",
        "put a 2 | put b 3",
        "s1d s2d s1i s2i",
        start="a=1",
        retryable="40001",
    ),
    Specimen(
        "everything failed, and something is there",
        "claiming",
        TWO,
        READS_FIRST,
        "partial-effect",
        retryable="40001",
        says="s1 put(arg0='a', arg1=1) met 40001 serialization_failure and s2",
    ),
    Specimen(
        "a failure that undoes another's write loses it",
        "restoring",
        "put a 1 | add a 2",
        "s1r s2w s1w",
        "lost-update P4",
        retryable="40001",
    ),
    Specimen(
        "a failure elsewhere does not explain a skew",
        "careful",
        "off_call a | off_call b | put c 1 | put c 2",
        "s1r s2r s1w s2w s3r s4r s3w s4w",
        "non-serializable",
        start="a=1 b=1 c=0",
        retryable="40001",
        says="the order s1, s3, s2 would explain it, but s2 was answered before s3 was called",
    ),
    Specimen(
        "without a failure nothing is left by one",
        "wrecking, silent",
        TWO,
        "s1r s2r s2w s1w",
        oracle="partial-effect",
        start="c=1",
        before="s1<s2",
    ),
    Specimen("a failure that may have had its effect", "guarded", TWO, READS_FIRST, oracle="non-serializable"),
    Specimen(
        "a retryable failure may not have had its effect",
        "guarded",
        TWO,
        READS_FIRST,
        "non-serializable",
        oracle="non-serializable",
        retryable="40001",
    ),
)

LOST_UPDATE = (
    Specimen(
        "both add to what they read",
        "check",
        "add a 1 | add a 2",
        READS_FIRST,
        "lost-update P4",
        start="a=10",
        says="s1 was told 11, yet the rows are those of s2 without s1 add(arg0='a', arg1=1): "
        "account has (value=12) in place of (value=13)",
    ),
    Specimen("one after the other adds", "check", "add a 1 | add a 2", "s1r s1w s2r s2w", start="a=10"),
    Specimen("the last writer wins", "right", TWO, "s2w s1w"),
    Specimen(
        "a later write under an old one",
        "check",
        "put a 1 | put a 2 | add a 0",
        "s1r s1w s3r s2r s2w s3w",
        "lost-update P4",
        start="a=9",
        says="s2 was told False",
    ),
    Specimen(
        "three add, two are lost",
        "check",
        "add a 1 | add a 2 | add a 4",
        "s1r s2r s3r s1w s2w s3w",
        "lost-update P4",
        start="a=10",
        says="s1 was told 11 and s2 was told 12",
    ),
    Specimen(
        "the fewest that explain it",
        "right",
        "add a 1 | add a 2 | put a 7",
        "s1w s2w s3w",
        "lost-update P4",
        start="a=10",
        before="s3<s2",
        says="the rows are those of s1, s3 without s2",
    ),
    Specimen(
        "lost beside one that arrived",
        "check",
        "add a 1 | add a 2 | put b 5",
        "s1r s2r s1w s2w s3r s3w",
        "lost-update P4",
        start="a=10",
        told="s3=?",
    ),
    Specimen("a failure that was not acknowledged is no loss", "unique", TWO, READS_FIRST, oracle="lost-update"),
    Specimen("lost in COMMIT, and arrived", "lost, arrived", TWO, READS_FIRST),
    Specimen("lost in COMMIT, and gone", "lost, gone", TWO, READS_FIRST),
    Specimen("lost in COMMIT, and arrived late", "right", TWO, "s2w s1w", told="s1=?", before="s1<s2"),
    Specimen(
        "answered, and arrived late",
        "right",
        "put a 1 | put a 2",
        "s2w s1w",
        "lost-update P4",
        start="a=9",
        before="s1<s2",
    ),
)

WRONG_ANSWER = (
    Specimen(
        "both created it",
        "polite",
        "put a 1 | put a 1",
        READS_FIRST,
        "wrong-answer",
        says="both s1 and s2 were told True; in every order that leaves these rows one of them is told False",
    ),
    Specimen(
        "the second created it too",
        "polite",
        TWO,
        READS_FIRST,
        "wrong-answer",
        says="s2 was told True; in every order that leaves these rows it is told False",
    ),
    Specimen("the second found it", "polite", TWO, "s1r s1w s2r s2w"),
    Specimen(
        "both bought it",
        "checks, buys",
        "buy a | buy a",
        READS_FIRST,
        "wrong-answer",
        says="both s1 and s2 were told None; in every order that leaves these rows one of them is refused: already b",
    ),
    Specimen(
        "all three created it",
        "polite",
        "put a 1 | put a 1 | put a 1",
        "s1r s2r s3r s1w s2w s3w",
        "wrong-answer",
        says="all of s1, s2 and s3 were told True; none of the 6 orders that leave these rows tells them so",
    ),
    Specimen(
        "both came last",
        "right",
        "add a 1 | add a 2",
        "s1w s2w",
        "wrong-answer",
        start="a=10",
        told="s1=13",
        before="",
        says="both s1 and s2 were told 13; in the order s1, s2: s1 was told 11 and s2 was told 13; "
        "in the order s2, s1: s1 was told 13 and s2 was told 12",
    ),
    Specimen("refused, and yet it has it", "right", "buy a | buy b", "s1w s2w", "wrong-answer", told="s1=!"),
    Specimen(
        "rows that no order leaves are no answer",
        "skewed",
        "off_call a | off_call b",
        READS_FIRST,
        oracle="wrong-answer",
        start="a=1 b=1",
    ),
    Specimen("one of two orders tells them so", "right", "put a 1 | put a 1", "s1w s2w", before=""),
    Specimen("one bought it", "checks, buys", "buy a | buy a", "s1r s1w s2r s2w"),
    Specimen(
        "a total of before and after",
        "slow total",
        "total | move a b 5",
        "s1r s2w s1s",
        "wrong-answer A5A",
        start="a=10 b=10",
        says="s1 was told 25; in every order that leaves these rows it is told 20",
    ),
    Specimen("a total of before", "old total", "total | put a 5", "s1r s2w s1t", start="a=1"),
    Specimen(
        "a total of too long before",
        "right",
        "put a 5 | total",
        "s1w s2r",
        "wrong-answer",
        start="a=1",
        told="s2=1",
        says="the order s2, s1 would explain it, but s1 was answered before s2 was called",
    ),
    Specimen("a writer's answer is no skew", "right", "add a 1 | put b 1", "s1w s2w", "wrong-answer", told="s1=99"),
    Specimen(
        "of three sessions any two may be at fault",
        "slow total",
        "total | move a b 5 | move a b 1",
        "s1r s2w s3w s1s",
        "wrong-answer",
        start="a=10 b=10",
    ),
    Specimen(
        "a wrong answer goes before an invariant", "polite", TWO, READS_FIRST, "wrong-answer", invariants=(("q", "r"),)
    ),
)

INVARIANT = (
    Specimen(
        "a query returned a row",
        "right",
        TWO,
        "s1w s2w",
        "invariant",
        invariants=(("one account a customer", "(customer=1, accounts=2)"),),
        says="'one account a customer' must return no row, and returned (customer=1, accounts=2)",
    ),
    Specimen(
        "an invariant goes before a skew",
        "skewed",
        "off_call a | off_call b",
        READS_FIRST,
        "invariant",
        start="a=1 b=1",
        invariants=(("someone is on call", "()"),),
    ),
)

NON_SERIALIZABLE = (
    Specimen(
        "both leave, each because of the other",
        "skewed",
        "off_call a | off_call b",
        READS_FIRST,
        "non-serializable A5B",
        start="a=1 b=1",
        says="no allowed order explains the outcome; against s1, s2, the nearest of 2: "
        "account has (value=0) in place of (value=1)",
    ),
    Specimen(
        "a row of nobody's is gone",
        "wrecking, silent",
        TWO,
        "s1r s2r s2w s1w",
        "non-serializable",
        start="c=1",
        before="s1<s2",
        says="against s1, s2, the only one allowed: account lacks (key='c', value=1, live=True)",
    ),
    Specimen(
        "an old state beside one writer is no cycle",
        "right",
        "put a 5 | total",
        "s1w s2r",
        "non-serializable",
        oracle="non-serializable",
        start="a=1",
        told="s2=1",
        says="the answers differ",
    ),
    Specimen("one leaves", "skewed", "off_call a | off_call b", "s1r s1w s2r s2w", start="a=1 b=1"),
    Specimen(
        "all three leave",
        "skewed",
        "off_call a | off_call b | off_call c",
        "s1r s2r s3r s1w s2w s3w",
        "non-serializable G2-item",
        start="a=1 b=1 c=1",
    ),
    Specimen("both were first", "skewed", "enlist a | enlist b", READS_FIRST, "non-serializable G2"),
    Specimen(
        "two transfers in halves",
        "torn",
        "move a b 5 | move a b 1",
        "s1r s2r s1v s2v s2w s1w",
        "non-serializable",
        start="a=10 b=0",
    ),
    Specimen(
        "a skew beside one of whom nothing is known",
        "skewed",
        "off_call a | off_call b | off_call c",
        "s3r s1r s2r s1w s2w",
        "non-serializable",
        start="a=1 b=1 c=0",
    ),
    Specimen(
        "a skew whose answers are not those of the start state",
        "skewed",
        "off_call a | off_call b",
        READS_FIRST,
        "non-serializable",
        start="a=1 b=1",
        told="s1=7",
    ),
    Specimen("answers count", "polite", TWO, READS_FIRST, "non-serializable", oracle="non-serializable"),
)

TOPICS = {
    "wrong-alone": WRONG_ALONE,
    "crash": CRASH,
    "error": ERROR,
    "hang": HANG,
    "deadlock": DEADLOCK,
    "duplicate": DUPLICATE,
    "partial-effect": PARTIAL_EFFECT,
    "lost-update": LOST_UPDATE,
    "wrong-answer": WRONG_ANSWER,
    "invariant": INVARIANT,
    "non-serializable": NON_SERIALIZABLE,
}
SPECIMENS = {specimen.name: specimen for topic in TOPICS.values() for specimen in topic}
