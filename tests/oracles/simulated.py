"""A database of known behaviour: one table in plain Python, stepped through interleavings written as strings.

`play("check", "put a 1 | put a 2", "s1r s2r s1w s2w")` is two sessions that each read and then write, reads first.
A strategy writes each operation as a generator: it yields the letter of its next step, then takes it, and returns what
the client is told. Nothing here waits or rolls back by itself: a strategy that fails does so in so many words.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from harness.model.contest import Call, Contest, OpRef, Order
from harness.model.outcome import Answer, Crashed, Failed, Ok, Outcome, Refused, Rows, Table, Unknown
from harness.oracles import Evidence, LiveKeys

IDENTITY = "account(key) WHERE live"


@dataclass
class Account:
    key: str
    value: int
    live: bool = True


@dataclass
class Database:
    accounts: list[Account] = field(default_factory=list)

    def find(self, key: str) -> list[Account]:
        return [account for account in self.accounts if account.key == key and account.live]

    def value(self, key: str) -> int:
        return sum(account.value for account in self.find(key))

    def insert(self, key: str, value: int) -> None:
        self.accounts.append(Account(key, value))

    def update(self, key: str, value: int) -> None:
        for account in self.find(key):
            account.value = value

    def upsert(self, key: str, value: int) -> bool:
        if found := self.find(key):
            self.update(key, value)
        else:
            self.insert(key, value)
        return not found

    def rows(self) -> Rows:
        rows = sorted((account.key, account.value, account.live) for account in self.accounts)
        return (Table("account", ("key", "value", "live"), tuple(rows)),)


class SqlError(Exception):
    """A failure with this SQLSTATE."""


class Refusal(Exception):
    """A failure that the scenario lists as a normal answer."""


class Lost(Exception):
    """The connection died in COMMIT."""


Steps = Generator[str, None, Any]
Code = Callable[..., Steps]


# What the operations mean: their own bodies.


def put(db: Database, key: str, value: int) -> Steps:
    yield "w"
    return db.upsert(key, value)


def add(db: Database, key: str, amount: int) -> Steps:
    yield "w"
    db.upsert(key, value := db.value(key) + amount)
    return value


def drop(db: Database, key: str) -> Steps:
    yield "w"
    return _remove(db, key)


def buy(db: Database, key: str) -> Steps:
    yield "w"
    if db.find(key):
        raise Refusal("already bought")
    db.insert(key, 1)


def total(db: Database) -> Steps:
    yield "r"
    return sum(account.value for account in db.accounts if account.live)


def move(db: Database, key: str, to: str, amount: int) -> Steps:
    yield "w"
    db.update(key, db.value(key) - amount)
    db.update(to, db.value(to) + amount)


def off_call(db: Database, key: str) -> Steps:
    """Off duty, unless nobody else is on it."""
    yield "w"
    if sum(account.value for account in db.accounts) > 1:
        db.update(key, 0)


def enlist(db: Database, key: str) -> Steps:
    """One account at most, of whatever key."""
    yield "w"
    if not db.accounts:
        db.insert(key, 1)


def _remove(db: Database, key: str) -> int:
    found = db.find(key)
    db.accounts = [account for account in db.accounts if account not in found]
    return len(found)


OPERATIONS: Mapping[str, Code] = {
    "put": put,
    "add": add,
    "drop": drop,
    "buy": buy,
    "total": total,
    "move": move,
    "off_call": off_call,
    "enlist": enlist,
}


# Ways to write them.


def check_put(db: Database, key: str, value: int) -> Steps:
    """SELECT, then UPDATE or INSERT."""
    yield "r"
    found = bool(db.find(key))
    yield "w"
    if found:
        db.update(key, value)
    else:
        db.insert(key, value)
    return not found


def polite_put(db: Database, key: str, value: int) -> Steps:
    """The rows of an upsert, the answer of a SELECT before it."""
    yield "r"
    found = bool(db.find(key))
    yield "w"
    db.upsert(key, value)
    return not found


def unique_put(sqlstate: str) -> Code:
    """SELECT, then UPDATE or INSERT under a unique index."""

    def code(db: Database, key: str, value: int) -> Steps:
        yield "r"
        found = bool(db.find(key))
        yield "w"
        if not found and db.find(key):
            raise SqlError(sqlstate)
        db.upsert(key, value)
        return not found

    return code


def add_first_put(sqlstate: str) -> Code:
    """Inserts a second row when someone else was faster, and only then fails: it does not roll back."""

    def code(db: Database, key: str, value: int) -> Steps:
        yield "r"
        found = db.find(key)
        yield "w"
        if not found and db.find(key):
            db.insert(key, value)
            raise SqlError(sqlstate)
        db.upsert(key, value)
        return not found

    return code


def jumpy_put(db: Database, key: str, value: int) -> Steps:
    """Deactivate, COMMIT; insert, COMMIT: the second transaction fails if anybody inserted meanwhile."""
    yield "d"
    gone = db.find(key)
    for account in gone:
        account.live = False
    known = len(db.accounts)
    yield "i"
    if len(db.accounts) != known:
        raise SqlError("40001")
    db.insert(key, value)
    return not gone


def claiming_put(db: Database, key: str, value: int) -> Steps:
    """Marks the row as its own first, and again when it finds another's mark and fails."""
    yield "r"
    created = db.upsert(key, -value)
    yield "w"
    if db.value(key) != -value:
        db.upsert(key, -value)
        raise SqlError("40001")
    db.upsert(key, value)
    return created


def restoring_put(db: Database, key: str, value: int) -> Steps:
    """Puts back what it has read when it fails: what another wrote in between goes with it."""
    yield "r"
    seen = db.value(key)
    yield "w"
    if db.value(key) == seen:
        return db.upsert(key, value)
    _remove(db, key)
    if seen:
        db.insert(key, seen)
    raise SqlError("40001")


def guarded_put(db: Database, key: str, value: int) -> Steps:
    """Fails with 40001 where the row was changed since it was read, and says so after having written."""
    yield "r"
    seen = db.value(key)
    yield "w"
    changed = db.value(key) != seen
    created = db.upsert(key, value)
    if changed:
        raise SqlError("40001")
    return created


def careful_put(db: Database, key: str, value: int) -> Steps:
    """As guarded_put, before having written: first updater wins."""
    yield "r"
    seen = db.value(key)
    yield "w"
    if db.value(key) != seen:
        raise SqlError("40001")
    return db.upsert(key, value)


def wrecking_put(db: Database, key: str, value: int) -> Steps:
    """Takes a third party's row with it when it fails."""
    yield "r"
    seen = db.value(key)
    yield "w"
    if db.value(key) == seen:
        return db.upsert(key, value)
    _remove(db, "c")
    raise SqlError("40001")


def silent_wrecking_put(db: Database, key: str, value: int) -> Steps:
    """As wrecking_put, and says that all is well."""
    try:
        return (yield from wrecking_put(db, key, value))
    except SqlError:
        return False


def copying_put(db: Database, key: str, value: int) -> Steps:
    """The new row, COMMIT; the old one away, COMMIT: the second transaction fails if anybody inserted meanwhile."""
    yield "i"
    db.insert(key, value)
    known = len(db.accounts)
    yield "d"
    if len(db.accounts) != known:
        raise SqlError("40001")
    return _remove(db, "c")


def append_put(db: Database, key: str, value: int) -> Steps:
    """A plain INSERT: a row for every call."""
    yield "w"
    db.insert(key, value)
    return True


def lost_put(arrives: bool) -> Code:
    def code(db: Database, key: str, value: int) -> Steps:
        yield "r"
        seen = db.value(key)
        yield "w"
        if db.value(key) == seen:
            return db.upsert(key, value)
        if arrives:
            db.upsert(key, value)
        raise Lost

    return code


def vanishing_put(db: Database, key: str, value: int) -> Steps:
    """Assumes that the row which it has seen is there still."""
    yield "r"
    found = bool(db.find(key))
    yield "w"
    if found:
        db.find(key)[0].value = value
    else:
        db.insert(key, value)
    return not found


def forgetful_put(db: Database, key: str, value: int) -> Steps:
    """ON CONFLICT DO NOTHING: never changes what is there."""
    yield "w"
    if found := bool(db.find(key)):
        return not found
    db.insert(key, value)
    return True


def boastful_put(db: Database, key: str, value: int) -> Steps:
    yield "w"
    db.upsert(key, value)
    return True


def raising_put(problem: Exception) -> Code:
    def code(db: Database, key: str, value: int) -> Steps:
        yield "w"
        raise problem

    return code


def raising_second_put(problem: Exception) -> Code:
    """Fails whenever the row is there, also alone."""

    def code(db: Database, key: str, value: int) -> Steps:
        yield "w"
        if db.find(key):
            raise problem
        db.insert(key, value)
        return True

    return code


def read_add(db: Database, key: str, amount: int) -> Steps:
    yield "r"
    value = db.value(key) + amount
    yield "w"
    db.upsert(key, value)
    return value


def tidy_put(db: Database, key: str, value: int) -> Steps:
    """Leaves one row, whatever was there; unless someone was faster: then it only updates."""
    yield "r"
    seen = [(account.key, account.value) for account in db.find(key)]
    yield "w"
    if seen == [(account.key, account.value) for account in db.find(key)]:
        _remove(db, key)
    db.upsert(key, value)
    return not seen


def shy_drop(db: Database, key: str) -> Steps:
    """Does nothing when the row was changed since it was read, and does not say so."""
    yield "r"
    seen = db.value(key)
    yield "w"
    return _remove(db, key) if db.value(key) == seen else 1


def soft_drop(db: Database, key: str) -> Steps:
    yield "w"
    found = db.find(key)
    for account in found:
        account.live = False
    return len(found)


def check_buy(db: Database, key: str) -> Steps:
    yield "r"
    found = db.find(key)
    yield "w"
    if found:
        raise Refusal("already bought")
    db.upsert(key, 1)


def slow_total(db: Database) -> Steps:
    """Adds up, one account a step."""
    result = 0
    for letter, account in zip("rst", sorted({account.key for account in db.accounts}), strict=False):
        yield letter
        result += db.value(account)
    return result


def old_total(db: Database) -> Steps:
    """A snapshot of when it was called, reported late."""
    yield "r"
    result = sum(account.value for account in db.accounts if account.live)
    yield "t"
    return result


def read_off_call(db: Database, key: str) -> Steps:
    yield "r"
    others = sum(account.value for account in db.accounts) > 1
    yield "w"
    if others:
        db.update(key, 0)


def read_enlist(db: Database, key: str) -> Steps:
    yield "r"
    free = not db.accounts
    yield "w"
    if free:
        db.insert(key, 1)


def read_move(db: Database, key: str, to: str, amount: int) -> Steps:
    """Both rows written from what was read, each in its own step."""
    yield "r"
    here, there = db.value(key), db.value(to)
    yield "v"
    db.update(key, here - amount)
    yield "w"
    db.update(to, there + amount)


STRATEGIES: Mapping[str, Mapping[str, Code]] = {
    "right": {},
    "check": {"put": check_put, "add": read_add},
    "polite": {"put": polite_put},
    "unique": {"put": unique_put("23505")},
    "serialized": {"put": unique_put("40001")},
    "deadlocked": {"put": unique_put("40P01")},
    "deadlocked or unique": {"put": unique_put("40P01"), "add": unique_put("23505")},
    "vanishing or unique": {"put": vanishing_put, "add": unique_put("23505")},
    "check or deadlocked": {"put": check_put, "add": unique_put("40P01")},
    "keeps its row": {"put": add_first_put("40001")},
    "jumpy": {"put": jumpy_put},
    "claiming": {"put": claiming_put},
    "restoring": {"put": restoring_put, "add": add},
    "wrecking": {"put": wrecking_put},
    "wrecking, silent": {"put": silent_wrecking_put},
    "copying": {"put": copying_put},
    "append": {"put": append_put},
    "guarded": {"put": guarded_put},
    "careful": {"put": careful_put, "off_call": read_off_call},
    "lost, arrived": {"put": lost_put(True)},
    "lost, gone": {"put": lost_put(False)},
    "vanishing": {"put": vanishing_put},
    "forgetful": {"put": forgetful_put},
    "boastful": {"put": boastful_put},
    "no arbiter": {"put": raising_put(SqlError("42P10"))},
    "always aborted": {"put": raising_put(SqlError("40001"))},
    "always crashing": {"put": raising_put(KeyError("token"))},
    "insert only": {"put": raising_second_put(SqlError("23505"))},
    "tidy": {"put": tidy_put},
    "shy": {"drop": shy_drop},
    "soft": {"drop": soft_drop},
    "checks, buys": {"buy": check_buy},
    "slow total": {"total": slow_total},
    "old total": {"total": old_total},
    "skewed": {"off_call": read_off_call, "enlist": read_enlist},
    "torn": {"move": read_move},
}


# Running them.


def parse(calls: str) -> Contest:
    """`put a 1; total | put a 2` is two sessions, the first of which makes two calls."""

    def call(text: str) -> Call:
        name, *arguments = text.split()
        values = tuple((f"arg{i}", int(a) if a.lstrip("-").isdigit() else a) for i, a in enumerate(arguments))
        return Call(name, values)

    return Contest("start", tuple(tuple(map(call, each.split(";"))) for each in calls.split("|")), "same key")


def database(start: str) -> Database:
    """`a=1 b=2 b=3 c=4-` has two live rows of b, and one of c that is not live."""
    db = Database()
    for key, value in (word.split("=") for word in start.split()):
        db.accounts.append(Account(key, int(value.rstrip("-")), live=not value.endswith("-")))
    return db


def live_keys(outcome: Outcome) -> LiveKeys:
    return {IDENTITY: Counter((key,) for table in outcome.rows for key, _, live in table.rows if live)}


def live_rows(outcome: Outcome) -> Rows:
    return tuple(replace(table, rows=tuple(row for row in table.rows if row[2])) for table in outcome.rows)


class Running:
    """An operation under way: which step comes next, and in the end the answer."""

    def __init__(self, db: Database, code: Code, call: Call) -> None:
        self.steps = code(db, *(value for _, value in call.arguments))
        self.next: str | None = None
        self.answer: Answer | None = None
        self.go()

    def go(self) -> None:
        try:
            self.next = next(self.steps)
        except StopIteration as end:
            self.answer = Ok(end.value)
        except Refusal as refusal:
            self.answer = Refused(str(refusal))
        except SqlError as error:
            self.answer = Failed(str(error))
        except Lost:
            self.answer = Unknown()
        except (LookupError, TypeError) as problem:
            self.answer = Crashed(f"{type(problem).__name__}: {problem}")


def serial(contest: Contest, start: str, strategy: str) -> Callable[[Order], Outcome]:
    @cache
    def run(order: Order) -> Outcome:
        db, answers = database(start), {}
        for ref in order:
            running = Running(db, _code(strategy, contest.call(ref)), contest.call(ref))
            while running.answer is None:
                running.go()
            answers[ref] = running.answer
        return Outcome(db.rows(), tuple(sorted(answers.items())))

    return run


def interleave(
    contest: Contest, start: str, strategy: str, run: Iterable[str]
) -> tuple[Outcome, frozenset[tuple[OpRef, OpRef]]]:
    """One step a word; operations still under way in the end are left without an answer (given up)."""
    db, answers, before = database(start), dict[OpRef, Answer](), set[tuple[OpRef, OpRef]]()
    position, current = Counter[int](), dict[int, Running]()
    for word in run:
        session, letter = int(word[1]) - 1, word[2:]
        ref = OpRef(session, position[session])
        if session not in current:
            before |= {(earlier, ref) for earlier in answers}
            current[session] = Running(db, _code(strategy, contest.call(ref)), contest.call(ref))
        running = current[session]
        assert running.next == letter, f"{word}: the next step of s{session + 1} is {running.next}"
        running.go()
        if running.answer is not None:
            answers[ref] = running.answer
            position[session] += 1
            del current[session]
    return Outcome(db.rows(), tuple(sorted(answers.items()))), frozenset(before)


def _code(strategy: str, call: Call) -> Code:
    return STRATEGIES[strategy].get(call.operation, OPERATIONS[call.operation])


def play(strategy: str, calls: str, run: str, start: str = "", retryable: str = "", specified: bool = True) -> Evidence:
    """The evidence of one trial: this strategy, these calls, these steps."""
    contest = parse(calls)
    outcome, before = interleave(contest, start, strategy, run.split())
    at_start = Outcome(database(start).rows(), ())
    return Evidence(
        contest=contest,
        outcome=outcome,
        before=before,
        start=at_start.rows,
        serial=serial(contest, start, strategy),
        specification=serial(contest, start, "right") if specified else None,
        retryable=frozenset(retryable.split()),
        live=live_keys,
        live_at_start=live_keys(at_start),
        live_rows=live_rows,
    )
