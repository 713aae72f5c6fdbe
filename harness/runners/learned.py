"""What the calls of a template do one at a time: learned from the strategy itself, call by call, as somebody asks."""

import re
import time
from decimal import Decimal
from itertools import permutations

from harness.model.contest import Contest, OpRef
from harness.model.outcome import Answer, Ok, Outcome, Rows
from harness.oracles.ledger import Entry
from harness.oracles.linearize import TooLarge
from harness.runners.canonical import Seen
from harness.runners.explorer import Explorer
from harness.scenario.parameters import Own

TRANSITIONS_MAX = 3_000  # of one template; each costs a few round trips
_MADE_UP = re.compile(r"\w+#\d+")  # a generated id, renamed by first appearance


class Patience:
    """How long may be learned, all templates of a cell together."""

    def __init__(self, seconds: float) -> None:
        self.left_s = seconds


class Learned:
    """A table of transitions: (state, call) -> the state after it, what the call is told.

    A state is what an outcome of some calls is: its rows, and answers that are generated ids, whose names depend on the
    rows. It is reached again by the calls that led to it first: rows put there by other means would not be the same.
    """

    def __init__(self, explorer: Explorer, contest: Contest, patience: Patience, *, apart: bool) -> None:
        """`apart`: each session is a process of its own; else one session can stand for all, over one connection."""
        self._explorer, self._patience = explorer, patience
        calls = tuple(call for session in contest.sessions for call in session)
        self.contest = contest if apart else Contest(contest.state, (calls,), contest.pattern, contest.prelude)
        self.refs = self.contest.operations
        start = explorer.start(self.contest)
        self._outcomes: list[Seen] = [start]
        self._paths: list[tuple[int, ...]] = [()]
        self._known: dict[object, int] = {(start.outcome.rows, ()): 0}
        self._after: dict[tuple[int, int], tuple[int, Answer]] = {}
        self.start = 0

    def step(self, state: int, number: int) -> tuple[int, Answer]:
        """As oracles.linearize asks. Raises TooLarge."""
        known = self._after.get((state, number))
        if known is None:
            known = self._after[state, number] = self._learn(state, number)
        return known

    def seen(self, state: int) -> Seen:
        return self._outcomes[state]

    def is_after(self, state: int, outcome: Outcome, told: dict[OpRef, Answer]) -> bool:
        """Whether these are the rows of the state, and ids that clients were told are those of the same rows."""
        mine = self._outcomes[state].outcome
        return mine.rows == outcome.rows and all(
            told.get(ref) in (None, answer) for ref, answer in mine.answers if is_vague(answer)
        )

    def _learn(self, state: int, number: int) -> tuple[int, Answer]:
        if len(self._after) >= TRANSITIONS_MAX:
            raise TooLarge(f"more than {TRANSITIONS_MAX} transitions to learn")
        if self._patience.left_s <= 0:
            raise TooLarge("more than there was time to learn")
        began = time.monotonic()
        path = (*self._paths[state], number)
        seen = self._explorer.alone(self.contest, tuple(self.refs[n] for n in path))
        self._patience.left_s -= time.monotonic() - began
        vague = tuple((ref, answer) for ref, answer in seen.outcome.answers if is_vague(answer))
        after = self._known.setdefault((seen.outcome.rows, vague), len(self._paths))
        if after == len(self._paths):
            self._paths.append(path)
            self._outcomes.append(seen)
        return after, seen.outcome.answer(self.refs[number])

    # ---- sums -----------------------------------------------------------------------------------------------------

    def ledgers(self) -> "tuple[Ledger, ...]":
        """The sums to which every call adds the same whatever was there before, as far as pairs of calls show it."""
        kept = []
        alone = {number: self._sums(self.step(0, number)[0]) for number in range(len(self.refs))}
        start = self._sums(0)
        columns = set(start).union(*alone.values())
        pairs = list(permutations(self._two_of_each(), 2))
        both = {(a, b): self._sums(self.step(self.step(0, a)[0], b)[0]) for a, b in pairs}
        zero = Decimal(0)
        for column in sorted(columns):
            at = start.get(column, zero)
            adds = {number: sums.get(column, zero) - at for number, sums in alone.items()}
            if any(adds.values()) and all(
                sums.get(column, zero) == at + adds[a] + adds[b] for (a, b), sums in both.items()
            ):
                kept.append(Ledger(column, at, tuple(adds[number] for number in range(len(self.refs)))))
        return tuple(kept)

    def _two_of_each(self) -> list[int]:
        """Calls of which there are copies are told apart by their own values only: two of them stand for all."""
        alike: dict[object, list[int]] = {}
        for number, ref in enumerate(self.refs):
            call = self.contest.call(ref)
            parameters = self._explorer.scenario.operations[call.operation].parameters
            same = tuple((n, repr(v)) for n, v in call.arguments if not isinstance(parameters[n], Own))
            alike.setdefault((call.operation, same), []).append(number)
        return sorted(number for numbers in alike.values() for number in numbers[:2])

    def _sums(self, state: int) -> dict[tuple[str, str], Decimal]:
        return sums(self._outcomes[state].outcome.rows)


class Ledger:
    """A sum, and what each call of a template adds to it."""

    def __init__(self, column: tuple[str, str], start: Decimal, adds: tuple[Decimal, ...]) -> None:
        self.column, self.start, self.adds = column, start, adds

    @property
    def what(self) -> str:
        table, column = self.column
        return f"the number of rows of {table}" if column == "*" else f"the sum of {table}.{column}"

    def entries(self, certain: dict[int, bool]) -> list[Entry]:
        """Of the calls that had their effect (True), or may have had it (False)."""
        return [Entry(self.adds[number], sure) for number, sure in certain.items()]


def sums(rows: Rows) -> dict[tuple[str, str], Decimal]:
    """Of every column that holds nothing but numbers, by table; under `*` the number of rows."""
    found: dict[tuple[str, str], Decimal] = {}
    for table in rows:
        found[table.name, "*"] = Decimal(len(table.rows))
        for position, name in enumerate(table.columns):
            values = [row[position] for row in table.rows if row[position] is not None]
            numbers = [Decimal(value) for value in values if isinstance(value, str) and _is_number(value)]
            if numbers and len(numbers) == len(values):
                found[table.name, name] = sum(numbers, Decimal(0))
    return found


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


def is_vague(answer: Answer) -> bool:
    """Whether an answer names a generated id: such names are given by what stands in the tables in the end."""
    return isinstance(answer, Ok) and _names_an_id(answer.value)


def _names_an_id(value: object) -> bool:
    if isinstance(value, tuple):
        return any(map(_names_an_id, value))
    return isinstance(value, str) and (value == "gone" or _MADE_UP.fullmatch(value) is not None)
