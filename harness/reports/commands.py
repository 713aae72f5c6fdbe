"""A trace read as a story: which session sent what, to which table, with what result, and while whose step was open.

Of a statement's text only what stands there is taken, by its words (scenario/lexer.py): the tables it names after FROM,
INTO, UPDATE. A function is what its body says, where the body is known.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from harness.model.cell import Isolation
from harness.model.contest import OpRef
from harness.model.outcome import Answer, Failed
from harness.model.sqlstate import is_sqlstate
from harness.model.trace import Event, Happening
from harness.model.verdict import Finding
from harness.scenario.lexer import Kind, Tokens, significant, written


class Deed(NamedTuple):
    """One thing that a statement does to one table."""

    verb: str  # select, lock (a row lock or LOCK TABLE), insert, update, delete, merge
    table: str  # as written, folded: "cmis.platform_connections"


WRITES = frozenset({"insert", "update", "delete", "merge"})


@dataclass(frozen=True, slots=True)
class Command:
    """One statement as its session ran it. Times are numbers of events of the trace."""

    session: int
    call: int  # position of the call in its session
    sql: str  # without the parameters that stand behind it in a trace
    values: tuple[str, ...]  # of its parameters, as Python writes them: strings and numbers
    deeds: tuple[Deed, ...]
    begun: int
    ended: int
    result: str  # "INSERT 0 1", "SELECT 1: (7)", "23505 unique_violation"
    function: str = ""  # whose body the deeds are from
    waited: bool = False  # for a lock

    @property
    def sqlstate(self) -> str:
        word = self.result.partition(" ")[0]
        return word if is_sqlstate(word) else ""

    @property
    def rows(self) -> int | None:
        """How many it returned or changed; None where it failed, or says nothing of rows."""
        match = re.match(r"[A-Z]+(?: \d+)? (\d+)(?::|$)", self.result)
        return int(match[1]) if match else None

    def does(self, verb: str, table: str | None = None) -> bool:
        return any(deed.verb == verb and table in (None, deed.table) for deed in self.deeds)

    def writes(self, table: str) -> bool:
        return any(deed.verb in WRITES and deed.table == table for deed in self.deeds)

    @property
    def ends_transaction(self) -> bool:
        return self.sql.upper() in ("COMMIT", "ROLLBACK", "END", "ABORT")

    @property
    def back_to_savepoint(self) -> bool:
        return self.sql.upper().startswith("ROLLBACK TO")


@dataclass(frozen=True, slots=True)
class Story:
    """A finding, and its trace command by command."""

    finding: Finding
    commands: tuple[Command, ...]

    @property
    def race(self) -> bool:
        """Whether it takes concurrency."""
        return not (self.finding.violation.alone or self.finding.schedule.alone)

    @property
    def isolation(self) -> Isolation:
        return self.finding.schedule.cell.isolation

    def answer(self, command: Command) -> Answer | None:
        return self.finding.found.told.get(OpRef(command.session, command.call))

    def same_call(self, command: Command) -> list[Command]:
        return [one for one in self.commands if (one.session, one.call) == (command.session, command.call)]

    def before(self, command: Command) -> list[Command]:
        """Of the same call, the nearest first."""
        return [one for one in reversed(self.same_call(command)) if one.begun < command.begun]

    def after(self, command: Command) -> list[Command]:
        return [one for one in self.same_call(command) if one.begun > command.begun]

    def condemned(self, command: Command) -> bool:
        """Whether its call is one that the finding can be about: where a client met an error, that client's."""
        state = self.finding.violation.sqlstate
        answer = self.answer(command)
        failed = any(isinstance(a, Failed) and a.sqlstate == state for _, a in self.finding.found.answers)
        return not failed or (isinstance(answer, Failed) and answer.sqlstate == state)

    def snapshot(self, command: Command) -> int:
        """When what it sees was fixed: at READ COMMITTED as it begins, above that with its transaction."""
        if self.isolation is Isolation.READ_COMMITTED:
            return command.begun
        ends = any(one.ends_transaction for one in self.after(command))
        first = command
        for earlier in self.before(command) if ends else ():
            if earlier.ends_transaction:
                break
            if not earlier.sql.upper().startswith("LOCK"):  # takes none
                first = earlier
        return first.begun

    def visible(self, command: Command) -> int:
        """When others see what it wrote: at the end of its transaction, its own end where it is one of its own."""
        for later in self.after(command):
            if later.ends_transaction:
                return later.ended
        return command.ended

    def meanwhile(self, look: Command, act: Command, table: str) -> Command | None:
        """A write of another session, on the same values, that the look could not see and that came before the act."""
        for other in self.commands:
            if (
                other.session != act.session
                and other.writes(table)
                and (other.rows or other.function)
                and self.visible(other) > self.snapshot(look)
                and other.begun < act.ended
                and (not other.values or not act.values or set(other.values) & set(act.values))
            ):
                return other
        return None


def story(finding: Finding, functions: Mapping[str, str] | None = None) -> Story:
    """`functions`: the bodies of the scenario's own, by name."""
    return Story(finding, tuple(_commands(finding, functions or {})))


def _commands(finding: Finding, functions: Mapping[str, str]) -> Iterator[Command]:
    opened: dict[int, Command] = {}
    calls: dict[int, int] = {}
    found: list[Command] = []
    for time, event in enumerate(finding.trace):
        if event.happening is Happening.ANSWERED:
            calls[event.session] = calls.get(event.session, 0) + 1
            continue
        known = opened.get(event.session) or _begun(event, calls.get(event.session, 0), time, functions)
        if event.happening is Happening.WAITING:
            opened[event.session] = replace(known, waited=known.waited or event.result.startswith("waits"))
        else:
            opened.pop(event.session, None)
            found.append(replace(known, ended=time, result=event.result))
    yield from sorted(found, key=lambda command: command.begun)


def _begun(event: Event, call: int, time: int, functions: Mapping[str, str]) -> Command:
    tokens = significant(event.statement)
    sql = written(event.statement, tokens)
    deeds = deeds_of(sql)
    called = next((token.name for token in tokens if token.name in functions), "")
    if called and not any(deed.verb in WRITES for deed in deeds):
        deeds = deeds_of(functions[called])
    else:
        called = ""
    return Command(event.session, call, sql, _values(event.statement[len(sql) :]), deeds, time, time, "", called)


def _values(comment: str) -> tuple[str, ...]:
    """Of `  -- 'a', 1` or `  -- key='a', amount=1`."""
    tokens = significant(comment.partition("--")[2])
    return tuple(one.text for one in tokens if one.kind in (Kind.STRING, Kind.NUMBER))


@lru_cache(1024)
def deeds_of(sql: str) -> tuple[Deed, ...]:
    """In the order of the text."""
    tokens = significant(sql)
    return tuple(_deeds(tokens))


_NO_UPDATE_AFTER = ("for", "key", "do", "then", "on")


def _deeds(tokens: Tokens) -> Iterator[Deed]:
    for at, token in enumerate(tokens):
        before = tokens[at - 1].word if at else ""
        after = tokens[at + 1].word if at + 1 < len(tokens) else ""
        match token.word:
            case "insert" | "merge" if after == "into":
                yield from _deed(token.word, tokens, at + 2)
            case "delete" if after == "from":
                yield from _deed("delete", tokens, at + 2)
            case "update" if before not in _NO_UPDATE_AFTER:
                yield from _deed("update", tokens, at + 1)
            case "lock" if at == 0:
                yield from _deed("lock", tokens, at + 1 + (after == "table"))
            case "from" | "join" if before not in ("delete", "distinct"):
                locking = _locks_rows(tokens, at)
                yield from _deed("lock" if locking else "select", tokens, at + 1)


def _deed(verb: str, tokens: Tokens, at: int) -> Iterator[Deed]:
    if at < len(tokens) and tokens[at].word == "only":
        at += 1
    parts = []
    while at < len(tokens) and tokens[at].name:
        parts.append(tokens[at].name)
        if at + 1 >= len(tokens) or tokens[at + 1].text != ".":
            break
        at += 2
    function = at + 1 < len(tokens) and tokens[at + 1].text == "(" and verb == "select"
    if parts and not function:
        yield Deed(verb, ".".join(parts))


def _locks_rows(tokens: Tokens, at: int) -> bool:
    """Whether FOR UPDATE, FOR NO KEY UPDATE, FOR SHARE or FOR KEY SHARE follows."""
    words = [token.word for token in tokens[at:]]
    return any(a == "for" and b in ("update", "no", "share", "key") for a, b in pairwise(words))
