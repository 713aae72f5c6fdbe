"""Anything else that no order of the operations explains; the anomaly is named where outcomes alone can show it."""

from collections import Counter
from collections.abc import Mapping

from harness.model.contest import Order
from harness.model.outcome import Outcome, Row, Rows
from harness.model.verdict import Violation
from harness.oracles import allowed, explain
from harness.oracles.evidence import Evidence


def judge(evidence: Evidence) -> Violation | None:
    if allowed.explains(evidence):
        return None
    every = list(allowed.outcomes(evidence))
    order, expected = explain.nearest(evidence.outcome, every)
    apart = explain.rows_apart(evidence.outcome.rows, expected.rows) or "the answers differ"
    which = "the only one allowed" if len(every) == 1 else f"the nearest of {len(every)}"
    words = (
        f"no allowed order explains the outcome; against {explain.in_order(evidence.contest, order)}, {which}: {apart}"
    )
    # An order that only real time forbids: the dependencies then have no cycle, and no anomaly of Adya's is there.
    if late := explain.out_of_time(evidence):
        return Violation("non-serializable", words + late)
    return Violation("non-serializable", words, anomaly=_anomaly(evidence))


def _anomaly(evidence: Evidence) -> str | None:
    """Every session did to the start state, and was told, what it does and is told alone; and the writes do not meet.

    Then each overwrote what another had read, and nothing else binds them: a cycle of anti-dependencies, G2 of Adya
    1999. Where rows were changed but none added or removed it is G2-item, and for two writers A5B, the write skew of
    Berenson et al. 1995. Through which predicate they read, rows and answers do not say; these are the nearest names.
    """
    alone = [(order, allowed.run(evidence, order)) for order in _by_session(evidence)]
    if allowed.doubtful(evidence) or any(not _told_as_alone(evidence, *run) for run in alone):
        return None
    changes = [_Change(evidence.start, outcome.rows) for _, outcome in alone]
    writers = [change for change in changes if change.writes]
    # There are two at least: readers of the start state and then one writer would be an order that explains all.
    if not _is_sum(evidence, writers):
        return None
    if any(writer.adds_or_removes for writer in writers):
        return "G2"
    return "A5B" if len(writers) == 2 else "G2-item"


def _by_session(evidence: Evidence) -> list[Order]:
    acknowledged = sorted(allowed.acknowledged(evidence))
    sessions = range(len(evidence.contest.sessions))
    return [tuple(ref for ref in acknowledged if ref.session == session) for session in sessions]


def _told_as_alone(evidence: Evidence, order: Order, outcome: Outcome) -> bool:
    return all(outcome.answer(ref) == evidence.outcome.answer(ref) for ref in order)


class _Change:
    """What a session took from each table and what it put there."""

    def __init__(self, start: Rows, end: Rows) -> None:
        before, after = allowed.counted(start), allowed.counted(end)
        self.removed: Mapping[str, Counter[Row]] = {name: before[name] - after[name] for name in before}
        self.added: Mapping[str, Counter[Row]] = {name: after[name] - before[name] for name in before}

    @property
    def writes(self) -> bool:
        return any(self.removed.values()) or any(self.added.values())

    @property
    def adds_or_removes(self) -> bool:
        return any(self.removed[name].total() != self.added[name].total() for name in self.removed)


def _is_sum(evidence: Evidence, changes: list[_Change]) -> bool:
    """Whether the rows are the start state with all changes applied to different rows of it."""
    found = allowed.counted(evidence.outcome.rows)
    for name, rows in allowed.counted(evidence.start).items():
        removed = sum((change.removed[name] for change in changes), Counter[Row]())
        added = sum((change.added[name] for change in changes), Counter[Row]())
        if not removed <= rows or rows - removed + added != found[name]:
            return False
    return True
