"""A certificate against the same cell run again: it holds, or the first member that differs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.reports.certificate import Entry
from harness.scenario.discovery import harness_version


@dataclass(frozen=True, slots=True)
class Difference:
    member: str
    expected: str
    found: str
    todo: str

    def __str__(self) -> str:
        return f"{self.member}: expected {self.expected}, found {self.found}; {self.todo}"


ANEW = "if that was meant, certify the cell anew"
_SHOWN_MAX = 200

# In the order in which they explain each other: with another file, or another plan, other counts are no wonder.
_MEMBERS: tuple[tuple[str, Callable[[Entry], Any], str], ...] = (
    ("verdict", lambda e: e["verdict"], "'harness explore CELL --witnesses all' shows the interleaving"),
    ("scenario file", lambda e: e["digests"]["scenario"], f"it was edited: {ANEW}"),
    ("schema", lambda e: e["digests"]["schema"], f"tables, layout or operations were edited: {ANEW}"),
    ("server version", lambda e: e["server"]["version"], "give the server of that version, or certify this one"),
    ("plan", lambda e: e["plans"], f"an index or the planner's choice has changed: {ANEW}"),
    ("oracles", lambda e: e["oracles"], "another harness judges otherwise: certify the cell anew"),
    ("sessions", lambda e: e["sessions"], ANEW),
    ("granularity", lambda e: e["granularity"], ANEW),
    ("gates", lambda e: e["gates"], ANEW),
    ("contests", lambda e: (e["contests"], e["skipped"]), ANEW),
    ("ages", lambda e: e["ages"], ANEW),
    ("exhaustive", lambda e: e["exhaustive"], "orders were left out: more of them, or more time, is needed"),
    ("reduction", lambda e: e["reduction"], ANEW),
    ("classes", lambda e: e["classes"], "the same code took other ways: certify anew, and report it if it recurs"),
    ("orders", lambda e: e["orders"], "the same code took other ways: certify anew, and report it if it recurs"),
)


def first_difference(certified: Entry, now: Entry, *, written_by: str) -> Difference | None:
    """None: the certificate holds."""
    for member, read, todo in _MEMBERS:
        expected, found = read(certified), read(now)
        if expected == found:
            continue
        if written_by != harness_version():
            todo = f"{todo} (written by harness {written_by}, this is {harness_version()})"
        return _plans(expected, found, todo) if member == "plan" else _differs(member, expected, found, todo)
    return None


def _differs(member: str, expected: object, found: object, todo: str) -> Difference:
    return Difference(member, _shown(expected), _shown(found), todo)


def _plans(expected: list[dict[str, str]], found: list[dict[str, str]], todo: str) -> Difference:
    """The first statement that is run in another way, or that is new, or gone."""
    before, after = ({(p["statement"], p["plan"]): p["fingerprint"] for p in plans} for plans in (expected, found))
    gone = [plan for plan in before if plan not in after]
    come = [plan for plan in after if plan not in before]
    statement = (gone or come)[0][0]
    was, now = (next((plan for text, plan in plans if text == statement), None) for plans in (gone, come))
    name = f"plan of {_shown(' '.join(statement.split()))}"
    return _differs(name, was or "no such statement", now or "no such statement", todo)


def _shown(value: object) -> str:
    text = " | ".join(line.strip() for line in str(value).splitlines())
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."
