"""Results made by hand, so that reports can be tested without a server."""

from harness.campaign.campaign import Options, Report
from harness.model.cell import Cell, Isolation
from harness.model.contest import Call, Contest, OpRef
from harness.model.outcome import Answer, Failed, Ok, Outcome, Table
from harness.model.schedule import Choice, Gates, Schedule
from harness.model.trace import Event, Happening
from harness.model.verdict import CellResult, Coverage, Finding, Verdict, Violation
from harness.servers.server import Server

SENT, WAITING, COMPLETED, ANSWERED = Happening

LEVELS = {
    "rc": Isolation.READ_COMMITTED,
    "rr": Isolation.REPEATABLE_READ,
    "s": Isolation.SERIALIZABLE,
}
GATES = ("BEFORE INSERT ON public.item",)

SERVER = Server(
    id="pg18",
    provider="dsn",
    version="18.4",
    version_num=180004,
    conninfo=(("host", "example.org"), ("password", "hunter2")),
    maintenance_database="postgres",
    local=False,
    superuser=False,
    wake_order="dropped",
    durability="default",
    chosen_because="asked for",
)


def cell(text: str) -> Cell:
    """`Naive full new rc`"""
    strategy, layout, state, level = text.split()
    return Cell("items", strategy, layout, state, LEVELS[level], "pg18")


CONTEST = Contest(
    "new",
    ((Call("put", (("key", "a"), ("amount", 1))),), (Call("put", (("key", "a"), ("amount", 2))),)),
    "same key",
)


def outcome(*amounts: int, told: tuple[Answer | None, ...] = (Ok(True), Ok(True))) -> Outcome:
    """One row of key `a` for each amount; an answer for each session, None for one that is left out."""
    rows = tuple((f"id#{n}", "a", str(amount)) for n, amount in enumerate(amounts, 1))
    answers = tuple((OpRef(s, 0), answer) for s, answer in enumerate(told) if answer is not None)
    return Outcome((Table("item", ("id", "key", "amount"), rows),), answers)


LOOK = "SELECT 1 FROM item\n  WHERE key = %s  -- 'a'"
INSERT = "INSERT INTO item (key, amount) VALUES (%s, %s)  -- 'a', {}"

TRACE = (
    Event(0, 0, SENT, LOOK, "SELECT 0"),
    Event(1, 1, SENT, LOOK, "SELECT 0"),
    Event(2, 0, WAITING, INSERT.format(1), "at gate BEFORE INSERT ON public.item"),
    Event(3, 1, WAITING, INSERT.format(2), "waits for s1"),
    Event(4, 0, COMPLETED, INSERT.format(1), "INSERT 0 1"),
    Event(4, 0, ANSWERED, "put(key='a', amount=1)", "True"),
    Event(5, 1, COMPLETED, INSERT.format(2), "INSERT 0 1"),
    Event(5, 1, ANSWERED, "put(key='a', amount=2)", "True"),
)

DUPLICATE = Violation("duplicate", "2 live rows of item (key) = ('a'); no order of the operations leaves more than 1")
TWICE = Violation("error", "s1 met 23505 unique_violation; run one at a time, it does not", sqlstate="23505")
NO_ARBITER = Violation("error", "no concurrency needed: s1 met 42P10", sqlstate="42P10", alone=True)


def finding(where: str = "Naive none new rc", violation: Violation = DUPLICATE, *, count: int = 1) -> Finding:
    choices = (Choice(0, (0, 1), "run", "aaaa"), Choice(1, (0, 1), "run", "bbbb"))
    alone = violation.alone
    schedule = Schedule(
        cell(where), CONTEST, choices, Gates.NONE if alone else Gates.USUAL, False, "0123456789ab", alone=alone
    )
    if violation is DUPLICATE:
        found = outcome(1, 2)
        allowed: tuple[Outcome, ...] = (outcome(1, told=(Ok(True), Ok(False))), outcome(2, told=(Ok(False), Ok(True))))
    else:
        found = outcome(2, told=(Failed(violation.sqlstate or "XX000"), Ok(True)))
        allowed = () if alone else (outcome(2, told=(None, Ok(True))),)
    return Finding(violation, CONTEST, schedule, TRACE, found, allowed, count, 3, 3)


def result(
    where: str,
    verdict: Verdict = Verdict.SAFE,
    *violations: Violation,
    expected: str = "",
    as_expected: bool = True,
    exhaustive: bool = True,
    orders: int = 20,
    reason: str = "",
) -> CellResult:
    found = tuple(finding(where, violation) for violation in violations)
    coverage = Coverage(orders, orders, exhaustive=exhaustive, granularity="gates", gates=GATES, contests=2)
    return CellResult(
        cell(where), verdict, reason, found, coverage, 0.5, expected or str(verdict), as_expected, source="items.py"
    )


def report(*results: CellResult, warnings: tuple[str, ...] = (), stale: tuple[str, ...] = ()) -> Report:
    return Report(results, (SERVER,), Options(seed=7), warnings, stale, 12.34)
