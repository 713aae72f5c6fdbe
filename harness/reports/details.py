"""Each statement of a trial in full: what it returned and waited for, which snapshot it saw, which rows it left."""

from collections.abc import Iterable, Iterator

from harness.model.trace import Observed, Ran, Transaction, Version, Wait
from harness.reports.clues import statements_of
from harness.reports.deeds import label, listed, values
from harness.reports.witness import collapsed


def details(seen: Observed) -> list[str]:
    """A paragraph for each statement, by the step in which it was sent."""
    lines: list[str] = []
    for ran in sorted(seen.statements, key=lambda ran: (ran.began, ran.number)):
        lines += [*_statement(seen, ran), ""]
    left = [f"  {version_shown(seen, version)}" for version in seen.left]
    return [*lines, "rows at the end:", *(left or ["  none"])]


def _statement(seen: Observed, ran: Ran) -> Iterator[str]:
    yield f"step {ran.began + 1}, s{ran.session + 1}: {collapsed(ran.statement)}"
    if ran.status not in ("COMMIT", "ROLLBACK"):
        yield f"  snapshot: {snapshot(seen, ran)}"
    yield from (f"  held {gate.name} from step {gate.step + 1}" for gate in ran.gates)
    yield from (f"  waited {_wait(seen, wait)}" for wait in ran.waits)
    yield f"  => {_ended(ran)}"
    transaction = seen.transactions[ran.transaction]
    if statements_of(seen, transaction)[-1] is ran:
        yield from _left(seen, transaction)


def _ended(ran: Ran) -> str:
    when = "" if ran.ended in (None, ran.began) else f", in step {(ran.ended or 0) + 1}"
    if ran.ended is None:
        return "given up"
    if ran.error is not None:
        detail = f" ({collapsed(ran.error.detail)})" if ran.error.detail else ""
        return f"{ran.error.sqlstate} {ran.error.message}{detail}{when}"
    more = ", ..." if ran.returned > len(ran.rows) else ""
    rows = f": {', '.join(map(values, ran.rows))}{more}" if ran.columns and ran.rows else ""
    return f"{ran.status or 'no status'}{rows}{when}"


def snapshot(seen: Observed, ran: Ran) -> str:
    """`of step 3: s1's INSERT (step 2) committed, s2's UPDATE (step 1) not`; writers of the other sessions only."""
    own = seen.transactions[ran.transaction]
    if own.snapshot is None:
        return "none is taken"
    step = own.snapshot if seen.one_snapshot else ran.began
    others = [t for t in seen.transactions if t.session != ran.session and (t.added or t.removed)]
    inside = [_named(seen, t) for t in others if t.committed and t.ended is not None and t.ended < step]
    begun = [t for t in others if not (t.committed and t.ended is not None and t.ended < step)]
    outside = [_named(seen, t) for t in begun if min(r.began for r in statements_of(seen, t)) < step]
    told = ([f"has {listed(inside)}"] if inside else []) + ([f"not {listed(outside)}"] if outside else [])
    return f"of step {step + 1}, {', '.join(told) or 'has nothing of other sessions'}"


def _named(seen: Observed, transaction: Transaction) -> str:
    first = statements_of(seen, transaction)[0]
    return f"s{transaction.session + 1}'s {label(first)} (step {first.began + 1})"


def _wait(seen: Observed, wait: Wait) -> str:
    on = f" on {wait.on}" if wait.on else ""
    holders = listed([f"s{holder + 1}" for holder in wait.holders]) or "nobody of ours"
    taken = next((ran for ran in seen.statements if ran.number == wait.held_through), None)
    through = f", through its {label(taken)} (step {taken.began + 1})" if taken is not None else ""
    return f"from step {wait.step + 1} for {wait.kind} {wait.mode}{on}, held by {holders}{through}"


def _left(seen: Observed, transaction: Transaction) -> Iterable[str]:
    if transaction.committed is False:
        return ["  nothing of it was committed"]
    return [
        *(f"  removed {version_shown(seen, version)}" for version in transaction.removed),
        *(f"  added   {version_shown(seen, version)}" for version in transaction.added),
    ]


def version_shown(seen: Observed, version: Version) -> str:
    """`score (0,2) (player=a, points=2), xmin s2's (step 6)`"""
    if version.writer is not None:
        writer = seen.transactions[version.writer]
        step = "" if writer.ended is None else f" (committed in step {writer.ended + 1})"
        xmin = f"s{writer.session + 1}'s{step}"
    else:
        xmin = "the start state's" if version.known else "unknown"
    row = ", ".join(f"{name}={'NULL' if value is None else value}" for name, value in version.as_dict.items())
    return f"{version.table} {version.ctid} ({row}), xmin {xmin}"
