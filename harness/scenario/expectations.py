"""The regression contract: what a strategy is expected to show in which cells; rules are ceilings, exact in kind."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from harness.model.cell import Cell, Isolation
from harness.model.verdict import Verdict

Filter = str | Sequence[str] | None

_WORST_FIRST = (Verdict.UNSAFE, Verdict.UNKNOWN, Verdict.RETRY, Verdict.SAFE)
_ALIASES = {"40P01": "deadlock"}  # an unhandled deadlock is a kind of its own; its SQLSTATE means the same


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of an `expect` list. A filter that is None matches every cell."""

    verdict: Verdict
    kinds: tuple[str, ...] = ()
    layout: tuple[str, ...] | None = None
    state: tuple[str, ...] | None = None
    isolation: tuple[str, ...] | None = None
    server: tuple[str, ...] | None = None
    larger: bool = field(default=False, kw_only=True)  # only of contests beyond the small scope

    def matches(self, cell: Cell) -> bool:
        """Whether the cell is one of those the rule speaks of."""
        return all(
            words is None or found in words
            for words, found in (
                (self.layout, cell.layout),
                (self.state, cell.state),
                (self.isolation, cell.isolation.value),
            )
        ) and (self.server is None or any(_is_on(word, cell) for word in self.server))

    def __str__(self) -> str:
        """As written: `unsafe('23505', layout=('partial', 'full'))`."""
        arguments = [repr(kind) for kind in self.kinds]
        for name in ("layout", "state", "isolation", "server"):
            words: tuple[str, ...] | None = getattr(self, name)
            if words is not None:
                arguments.append(f"{name}={words[0]!r}" if len(words) == 1 else f"{name}={words!r}")
        arguments += ["larger=True"] if self.larger else []
        return f"{self.verdict}({', '.join(arguments)})"


def _is_on(word: str, cell: Cell) -> bool:
    """`pg15` is every minor of it, `pg15.20` that one, `<pg15.20` those of the same major version before it."""
    told = re.fullmatch(r"(<?)pg(\d+)(?:\.(\d+))?", word)
    major, dot, minor = (cell.version or cell.server.removeprefix("pg")).partition(".")
    if told is None or told[2] != major:
        return word == cell.server
    if told[3] is None:
        return not told[1]
    return bool(dot) and (int(minor) < int(told[3]) if told[1] else minor == told[3])


def _words(value: Filter) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (str(value),) if isinstance(value, str) else tuple(str(word) for word in value)


def unsafe(
    *kinds: str,
    layout: Filter = None,
    state: Filter = None,
    isolation: Filter = None,
    server: Filter = None,
    larger: bool = False,
) -> Rule:
    """Findings of exactly these kinds are known here: `unsafe("duplicate", "23505", layout="none")`.

    `larger`: only of more than two sessions with a call each, as `--examples` draws them and the hammer runs them.
    """
    return Rule(Verdict.UNSAFE, kinds, *map(_words, (layout, state, isolation, server)), larger=larger)


def unknown(*, layout: Filter = None, state: Filter = None, isolation: Filter = None, server: Filter = None) -> Rule:
    """The harness cannot judge these cells, and that is known: a lone statement without gates, for one."""
    return Rule(Verdict.UNKNOWN, (), *map(_words, (layout, state, isolation, server)))


def retry(*, layout: Filter = None, state: Filter = None, isolation: Filter = None, server: Filter = None) -> Rule:
    """The strategy may ask its caller to call again."""
    return Rule(Verdict.RETRY, (), *map(_words, (layout, state, isolation, server)))


def safe(*, layout: Filter = None, state: Filter = None, isolation: Filter = None, server: Filter = None) -> Rule:
    """Above READ COMMITTED: not even a retry; elsewhere it says what would hold without it."""
    return Rule(Verdict.SAFE, (), *map(_words, (layout, state, isolation, server)))


@dataclass(frozen=True, slots=True)
class Expected:
    """What the rules come to for one cell: the worst verdict allowed, and the kinds allowed with it."""

    verdict: Verdict
    kinds: frozenset[str]
    text: str  # the rules as written; the bare verdict where none matches


class HasRules(Protocol):
    """A strategy, as far as expectations are concerned."""

    @property
    def expect(self) -> tuple[Rule, ...]: ...


def expected(strategy: HasRules, cell: Cell, *, any_state: bool = False, larger: bool = False) -> Expected:
    """Of the rules that match, the worst wins; without one: safe at READ COMMITTED, at most retry above it.

    `any_state`: of contests whose calls lead from the start state into others. What is declared of one state of a
    layout is then expected from all. `larger`: rules of larger contests count, too; of any state they always do.
    """
    rules = [replace(rule, state=None) for rule in strategy.expect] if any_state else strategy.expect
    matching = [rule for rule in rules if rule.matches(cell) and (any_state or larger or not rule.larger)]
    if not matching:
        default = Verdict.SAFE if cell.isolation is Isolation.READ_COMMITTED else Verdict.RETRY
        return Expected(default, frozenset(), str(default))
    worst = min((rule.verdict for rule in matching), key=_WORST_FIRST.index)
    winners = [rule for rule in matching if rule.verdict is worst]
    return Expected(worst, _kinds(kind for rule in winners for kind in rule.kinds), ", ".join(map(str, winners)))


def is_as_expected(expectation: Expected, verdict: Verdict, kinds_found: Collection[str]) -> bool:
    """Whether a result stays under the ceiling: a verdict no worse, and no kind that no rule names.

    What was not found out is never a pass: an `unknown` has to be expected as such.
    """
    if verdict is Verdict.UNKNOWN:
        return expectation.verdict is Verdict.UNKNOWN
    no_worse = _WORST_FIRST.index(verdict) >= _WORST_FIRST.index(expectation.verdict)
    return no_worse and _kinds(kinds_found) <= expectation.kinds


def stale_rules(strategy: HasRules, results: Iterable[tuple[Cell, Verdict, Collection[str]]]) -> tuple[Rule, ...]:
    """The rules that no cell meets any more: none of theirs has the verdict, or a kind they name was seen in none.

    A rule of which no cell was run is not called stale, nor one of larger contests: they are a sample. Give the results
    of whole explorations: of a run that was narrowed to one layout or state nothing can be said about rules that span
    several.
    """
    known = list(results)
    stale = []
    for rule in (rule for rule in strategy.expect if not rule.larger):
        mine = [(verdict, kinds) for cell, verdict, kinds in known if rule.matches(cell)]
        met = [kinds for verdict, kinds in mine if verdict is rule.verdict]
        seen = _kinds(kind for kinds in met for kind in kinds)
        if mine and not (met and _kinds(rule.kinds) <= seen):
            stale.append(rule)
    return tuple(stale)


def _kinds(kinds: Iterable[str]) -> frozenset[str]:
    return frozenset(_ALIASES.get(kind, kind) for kind in kinds)
