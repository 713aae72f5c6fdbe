"""What went wrong, in two or three sentences, after the manner of Elle (Kingsbury & Alvaro, VLDB 2020).

Told from what was observed, and from what each serial order does instead (`clues`). A reason is given only where the
rules of snapshots leave no other (PostgreSQL, 13.2); where they do, less is said.
"""

import re
import textwrap
from collections.abc import Iterable, Sequence

from harness.model.contest import Contest, OpRef, Order
from harness.model.outcome import Failed, Ok, Outcome, Refused
from harness.model.sqlstate import describe
from harness.model.trace import Explained, Ran, Serial, Transaction, Version, Wait
from harness.model.verdict import Finding, Violation
from harness.reports.clues import Clue, clues, statements_of, transactions_of
from harness.reports.deeds import changed, did, effect, function_of, label, listed, tries_to_write, writes
from harness.reports.differences import is_made_name

CLUES_MAX = 2  # before the one that leaves no order
LATER = " came later"
_ON_CONFLICT = re.compile(r"\bON\s+CONFLICT\b", re.I)
_KEY = re.compile(r"\((.+)\)=\((.*)\)")  # of an error's detail, in any language


def story(finding: Finding) -> tuple[str, ...]:
    """The sentences; none where nothing can be said for sure."""
    if finding.explained is None:
        return ()
    told = _Teller(finding.contest, finding.found, finding.explained).tell(finding.violation, finding.schedule.alone)
    return tuple(sentence for sentence in told if sentence)


def paragraph(finding: Finding, width: int) -> list[str]:
    """The story as lines of a text."""
    return textwrap.wrap(" ".join(story(finding)), width, break_on_hyphens=False)


class _Teller:
    def __init__(self, contest: Contest, found: Outcome, explained: Explained) -> None:
        self.contest, self.found, self.explained = contest, found, explained
        self.seen = explained.observed

    def tell(self, violation: Violation, alone: bool) -> list[str]:
        match violation.kind:
            case "wrong-alone":
                return self._unlike_the_body()
            case "deadlock" | "hang":
                return self._cycle()
        failed = self._failed(violation.sqlstate)
        refused = self._refused(failed) if failed else []
        if alone:
            return refused
        told = self._contradiction()
        match violation.kind:
            case "error":
                return [*told, *refused]
            case "duplicate":
                return [*told, *self._all_stayed(violation.explanation)]
            case "lost-update":
                return [*told, *self._overwritten()]
            case "partial-effect":
                return [*told, *self._kept_of_failures()]
        return told

    # ---- names ----------------------------------------------------------------------------------------------------

    def _who(self, ref: OpRef) -> str:
        alone = len(self.contest.sessions[ref.session]) == 1
        return f"s{ref.session + 1}" if alone else f"s{ref.session + 1}'s call {ref.position + 1}"

    def _order(self, order: Order) -> str:
        return ", ".join(self._who(ref) for ref in order)

    def _name(self, ran: Ran) -> str:
        """`s2's INSERT (step 3)`"""
        return f"s{ran.session + 1}'s {label(ran)} ({self._steps(ran)})"

    def _steps(self, ran: Ran) -> str:
        """The step that the table shows it at, and the one in which it ended if others came between."""
        others = (other for other in self.seen.statements if other.session != ran.session)
        if ran.ended is None or not any(ran.began < other.began <= ran.ended for other in others):
            return f"step {ran.began + 1}"
        return f"steps {ran.began + 1} to {ran.ended + 1}"

    def _work(self, transaction: Transaction) -> str:
        """`s1's INSERT (step 2)`, or `s1's transaction (steps 2 to 6)` where several statements wrote."""
        statements = statements_of(self.seen, transaction)
        wrote = [ran for ran in statements if writes(ran)] or statements
        if len(wrote) == 1:
            return self._name(wrote[0])
        first, last = min(ran.began for ran in wrote), max(ran.ended or ran.began for ran in wrote)
        return f"s{transaction.session + 1}'s transaction (steps {first + 1} to {last + 1})"

    def _statement(self, number: int) -> Ran:
        return next(ran for ran in self.seen.statements if ran.number == number)

    # ---- what no order does ---------------------------------------------------------------------------------------

    def _contradiction(self) -> list[str]:
        found = clues(self.explained, self.found)
        if not found or found[-1].left or found[-1].ran.error is not None or not self.explained.every_order:
            return []
        if len(found) == 2 and (both := self._both(*found)):
            return both
        return [*(self._in_some(clue) for clue in found[:-1][-CLUES_MAX:]), self._in_none(found[-1])]

    def _both(self, one: Clue, two: Clue) -> list[str] | None:
        """Two sessions did the same, of which the second should not have."""
        alike = (one.ran.text, one.did) == (two.ran.text, two.did) and one.ran.call != two.ran.call
        if not alike or len(self.contest.operations) != 2:
            return None
        (first, words), (then, instead) = one.ruled_out[0], two.ruled_out[0]
        missing = [*self._only_later(one, first), *self._only_later(two, then)]
        why = f", because {listed(missing)}{LATER}" if len(missing) > 1 else self._why(two, then)
        if "its snapshot" in why:  # whose?
            return None
        head = f"{self._name(one.ran)} and {self._name(two.ran)} both {one.did}{why}."
        if words == instead:
            return [head, f"One after the other, the second of them {instead}{self._hears(two.ran.call, then)}."]
        a, b = self._who(one.ran.call), self._who(two.ran.call)
        after = f"After {a}, {b} {instead}{self._hears(two.ran.call, then)}"
        return [head, f"{after}; after {b}, {a} {words}{self._hears(one.ran.call, first)}."]

    def _only_later(self, clue: Clue, serial: Serial) -> list[str]:
        """What of the calls before it in this order was not even begun."""
        calls = serial.order[: serial.order.index(clue.ran.call)] if clue.sure else ()
        later = [t for t in self._work_of(calls) if self._missing(t, clue.ran).endswith(LATER)]
        return [self._work(t) for t in later] or self._tried_later(clue.ran, calls)

    def _in_some(self, clue: Clue) -> str:
        """What fits some of the orders only."""
        serial, instead = clue.ruled_out[0]
        head = f"{self._name(clue.ran)} {clue.did}"
        if len(self.contest.operations) == 2 and len(clue.left) == 1:
            order = clue.left[0].order
            other = self._who(next(ref for ref in order if ref != clue.ran.call))
            a, b = (self._who(ref) for ref in order)
            there = "after" if order[0] == clue.ran.call else "before"
            return f"{head}, which fits only {a} before {b}; {there} {other} it {instead}."
        orders = " or ".join(self._order(left.order) for left in clue.left[:2])
        more = f" and {len(clue.left) - 2} more" if len(clue.left) > 2 else ""
        why = f"; in the order {self._order(serial.order)} it {instead}" if instead else ""
        return f"{head}, as in the order {orders}{more}{why}."

    def _in_none(self, clue: Clue) -> str:
        """What fits none of the orders that were left."""
        ruled_out = sorted(clue.ruled_out, key=lambda pair: not pair[1])
        sentence = f"{self._name(clue.ran)} {clue.did}{self._why(clue, ruled_out[0][0])}"
        instead: dict[str, Serial] = {}
        for serial, words in ruled_out:
            if words:
                instead.setdefault(words, serial)
        others = [f"in the order {self._order(serial.order)} it {words}" for words, serial in instead.items()]
        if not others:
            return f"{sentence}."
        hears = self._hears(clue.ran.call, ruled_out[0][0]) if len(others) == 1 else ""
        return f"{sentence}; {listed(others[:2])}{hears}."

    def _hears(self, call: OpRef, serial: Serial) -> str:
        """What the client is told in the order that was just spoken of, if it is something else."""
        there = serial.outcome.told.get(call)
        if there == self.found.told.get(call) or not isinstance(there, Ok | Refused):
            return ""
        if isinstance(there, Ok) and isinstance(there.value, str) and is_made_name(there.value):
            return ""  # another id
        if there == Ok(None):
            return f", and {self._who(call)} succeeds"
        heard = f"refused: {there.reason}" if isinstance(there, Refused) else f"told {there}"
        return f", and {self._who(call)} is {heard}"

    # ---- why ------------------------------------------------------------------------------------------------------

    def _why(self, clue: Clue, serial: Serial) -> str:
        """Why it did not do what it does in this order: which work of the others it could not see, or saw too early.

        What its call has read before is as in that order, or the order would have been ruled out by then.
        """
        ran = clue.ran
        if not clue.sure:
            return ""
        mine = serial.order.index(ran.call)
        earlier, later = self._work_of(serial.order[:mine]), self._work_of(serial.order[mine + 1 :])
        unseen = [t for t in earlier if self._sees(ran, t) is False]
        seen = [t for t in earlier if self._sees(ran, t)]
        early = [t for t in later if self._sees(ran, t)]
        if unseen:
            but = f"{listed([self._work(t) for t in seen])} had been committed, but " if seen else ""
            return f", because {but}{listed([self._missing(t, ran) for t in unseen])}{self._waited(ran, unseen)}"
        if early:
            return f", because {listed([self._work(t) for t in early])} had been committed"
        between = [t for t in earlier if self._sees(ran, t) is None]
        if later_on := self._tried_later(ran, serial.order[:mine]):
            return f", because {listed(later_on)}{LATER}"
        while_it_ran = self._while_it_ran(ran, between[-1]) if between else ""
        return f", for {while_it_ran}" if while_it_ran else ""

    def _missing(self, transaction: Transaction, ran: Ran) -> str:
        """`s1's INSERT (step 2) had not been committed`, or what else keeps it out of the statement's snapshot."""
        statements = statements_of(self.seen, transaction)
        began, snapshot = min(s.began for s in [*filter(writes, statements)] or statements), self._snapshot(ran)
        if began < snapshot:
            return f"{self._work(transaction)} had not been committed"
        if ran.ended is not None and transaction.ended is not None and transaction.ended <= ran.ended:
            return f"its snapshot is of step {snapshot + 1}, before {self._work(transaction)}"
        return f"{self._work(transaction)}{LATER}"

    def _waited(self, ran: Ran, unseen: Sequence[Transaction]) -> str:
        """A statement that waited for a row goes on with the snapshot it has (13.2.1)."""
        sessions = {transaction.session for transaction in unseen}
        waited = [wait for wait in ran.waits if wait.kind == "transactionid" and sessions & set(wait.holders)]
        if not waited or label(ran) == "INSERT":
            return ""
        return f", and having waited for that (from step {waited[0].step + 1}) it went on with the snapshot it had"

    def _work_of(self, calls: Iterable[OpRef]) -> list[Transaction]:
        """What these calls committed that changed something."""
        return [t for t in transactions_of(self.seen, calls) if t.committed and (t.added or t.removed)]

    def _tried_later(self, ran: Ran, calls: Iterable[OpRef]) -> list[str]:
        """Statements of these calls that were to write, and could not, after this one had its answer."""
        wanted, last = set(calls), ran.began if ran.ended is None else ran.ended
        later = [other for other in self.seen.statements if other.call in wanted and other.began > last]
        return [self._name(other) for other in later if tries_to_write(other) and not writes(other)]

    def _snapshot(self, ran: Ran) -> int:
        """The step whose beginning the statement saw."""
        own = self.seen.transactions[ran.transaction].snapshot
        return own if own is not None and self.seen.one_snapshot else ran.began

    def _sees(self, ran: Ran, other: Transaction) -> bool | None:
        """Whether what the other committed was in the statement's snapshot; None where that does not decide."""
        if other.ended is None:
            return None
        if other.ended < self._snapshot(ran):
            return True
        during = ran.ended is not None and other.ended <= ran.ended
        # A VOLATILE function takes a snapshot for each of its statements (36.7); ON CONFLICT asks the index as it is.
        free = function_of(ran) is not None or _ON_CONFLICT.search(ran.text) is not None
        return None if during and free and not self.seen.one_snapshot else False

    def _while_it_ran(self, ran: Ran, other: Transaction) -> str:
        """A function during which another committed: what of it had begun by then?"""
        if function_of(ran) is None or other.ended is None:
            return ""
        committed = f"before s{other.session + 1} committed (step {other.ended + 1})"
        for wait in ran.waits:
            if other.session in wait.holders and wait.step <= other.ended:
                return f"it had begun to wait for s{other.session + 1} (step {wait.step + 1}) {committed}"
        for gate in ran.gates:
            when, verb, *_ = gate.name.split()
            if gate.step <= other.ended and when == "BEFORE" and verb in ("UPDATE", "DELETE"):
                return f"its {verb} had begun (step {gate.step + 1}) {committed}"
        return ""

    # ---- an error -------------------------------------------------------------------------------------------------

    def _failed(self, sqlstate: str | None) -> Ran | None:
        """The statement whose error a client was told of."""
        told = [ref for ref, answer in self.found.answers if answer == Failed(sqlstate or "")]
        failed = [ran for ran in self.seen.statements if ran.error and ran.error.sqlstate == sqlstate]
        return next((ran for ref in told for ran in reversed(failed) if ran.call == ref), None)

    def _refused(self, ran: Ran) -> list[str]:
        """With what was in the way."""
        error = ran.error
        assert error is not None  # whoever asks has seen it
        met = f"{self._name(ran)} met {describe(error.sqlstate)}"
        if error.sqlstate == "23505" and (key := _KEY.search(error.detail)):
            there = self._in_the_way(ran, key[1].split(", "), key[2].split(", "))
            caught = ", which its ON CONFLICT did not catch" if _ON_CONFLICT.search(ran.text) else ""
            return [f"{met}{caught}: {error.constraint} already had ({key[1]}) = ({key[2]}){there}."]
        if error.sqlstate == "25P02":
            cause = next((r for r in self._before_in_transaction(ran) if r.error), None)
            if cause is not None:
                failed = f"{self._name(cause)} had failed in the same transaction"
                return [f"{met}, because {failed} ({did(cause, past=True)})."]
        if error.sqlstate == "40001":
            return [f'{met}, "{error.message}"{self._too_old(ran)}.']
        return [f'{met}: "{error.message}".']

    def _before_in_transaction(self, ran: Ran) -> list[Ran]:
        statements = statements_of(self.seen, self.seen.transactions[ran.transaction])
        return [other for other in statements if other.number < ran.number]

    def _in_the_way(self, ran: Ran, columns: Sequence[str], values: Sequence[str]) -> str:
        """Whose row it was that had the key."""
        assert ran.error is not None and ran.ended is not None
        ended = [t for t in self.seen.transactions if t.ended is not None and t.ended <= ran.ended]
        gone = {id(version) for t in ended if (t.ended or 0) < ran.ended for version in t.removed}
        written = [version for t in ended for version in t.added]

        def has_key(version: Version) -> bool:
            row = version.as_dict
            known = version.table.rpartition(".")[2] == (ran.error.table if ran.error else "")
            return known and all(row.get(c) == v for c, v in zip(columns, values, strict=False))

        found = [v for v in (*self.seen.start, *written) if id(v) not in gone and has_key(v)]
        if len(found) != 1 or not found[0].known:
            return ""
        if found[0].writer is None:
            return ", in a row of the start state"
        transaction = self.seen.transactions[found[0].writer]
        return f", in the row written by {self._work(transaction)}{self._which_came_later(ran, transaction)}"

    def _which_came_later(self, ran: Ran, other: Transaction) -> str:
        if other.session == ran.session or other.ended is None or other.ended < self._snapshot(ran):
            return ""
        if function_of(ran) is not None:
            why = self._while_it_ran(ran, other)
            own = re.sub("^its", f"s{ran.session + 1}'s own", why)
            return f" ({own})" if why else ""
        snapshot = f"the snapshot of s{ran.session + 1} (step {self._snapshot(ran) + 1})"
        return f", committed (step {other.ended + 1}) after {snapshot}"

    def _too_old(self, ran: Ran) -> str:
        """Who committed after the failing transaction's snapshot, if it was one."""
        snapshot = self._snapshot(ran)
        last = ran.began if ran.ended is None else ran.ended
        others = [
            t
            for t in self._work_of(self.contest.operations)
            if t.session != ran.session and t.ended is not None and snapshot <= t.ended <= last
        ]
        if len(others) != 1 or others[0].ended is None:
            return ""
        committed = f"{self._work(others[0])} was committed after that, in step {others[0].ended + 1}"
        return f": its snapshot is of step {snapshot + 1}, and {committed}"

    # ---- what came of it ------------------------------------------------------------------------------------------

    def _all_stayed(self, explanation: str) -> list[str]:
        """Whose rows those of the duplicate are, if they are as many as it counts."""
        here = [v for v in self.seen.left if f" live rows of {v.table} " in explanation]
        works = [self.seen.transactions[v.writer] for v in here if v.writer is not None]
        inserted = [t for t in works if {label(r) for r in statements_of(self.seen, t) if writes(r)} != {"UPDATE"}]
        count = explanation.partition(" ")[0]
        rows = next((some for some in (works, inserted) if str(len(some)) == count), [])
        if len({transaction.number for transaction in rows}) < 2:
            return []
        names = listed([f"that of {self._work(transaction)}" for transaction in rows])
        return [f"{'Both rows' if len(rows) == 2 else 'All rows'} stayed, {names}."]

    def _overwritten(self) -> list[str]:
        """Who replaced a version that another session had written."""
        for transaction in self.seen.transactions:
            for version in transaction.removed:
                before = None if version.writer is None else self.seen.transactions[version.writer]
                if before is not None and before.session != transaction.session:
                    did_so = "overwrote" if transaction.added else "deleted"
                    return [f"{self._work(transaction)} {did_so} what {self._work(before)} had written."]
        return []

    def _kept_of_failures(self) -> list[str]:
        told = []
        for ref, answer in self.found.answers:
            kept = self._work_of([ref]) if isinstance(answer, Failed) else []
            if kept:
                names = listed([self._work(t) for t in kept])
                told.append(f"{self._who(ref)} failed with {answer}, but {names} had been committed, and stayed.")
        return told

    # ---- alone, and in a cycle ------------------------------------------------------------------------------------

    def _unlike_the_body(self) -> list[str]:
        """The first call that left something else than the operation's own body leaves."""
        (serial,) = self.explained.serial
        for ref in serial.order:
            mine = effect(self._work_of([ref]))
            theirs = effect(t for t in transactions_of(serial.observed, [ref]) if t.committed)
            last = [ran for ran in self.seen.statements if ran.call == ref]
            if mine == theirs and self.found.told.get(ref) == serial.outcome.told.get(ref):
                continue
            tried = [ran for ran in last if label(ran) not in ("SELECT", "COMMIT", "ROLLBACK", "LOCK")] or last
            if not tried:
                return []
            hears = self._hears(ref, serial)
            if mine == theirs or not (mine.removed or mine.added):
                did_it = listed([f"{self._name(ran)} {did(ran, past=True)}" for ran in tried[-CLUES_MAX:]])
            else:
                wrote = [ran for ran in tried if writes(ran)] or tried
                did_it = f"{listed([self._name(ran) for ran in wrote[-CLUES_MAX:]])} {changed(mine, theirs, past=True)}"
            there = changed(theirs, mine, past=False) if mine != theirs else "leaves the same"
            return [f"{did_it}; the operation's own body, from the same rows, {there}{hears}."]
        return []

    def _cycle(self) -> list[str]:
        """Who waited for whom when nobody could go on."""
        waits = [(ran, ran.waits[-1]) for ran in self.seen.statements if ran.waits]
        ends = [ran for ran in self.seen.statements if ran.error and ran.error.sqlstate == "40P01"]
        at = max((wait.step for _, wait in waits), default=0)
        standing = [(ran, wait) for ran, wait in waits if ran.ended is None or ran.ended >= at]
        if len({ran.session for ran, _ in standing}) < 2:
            return []
        each = [f"{self._name(ran)} waited for {self._held(wait)}" for ran, wait in standing]
        ended = f"; {self._name(ends[-1])} met {describe('40P01')}" if ends else ""
        return [f"{', and '.join(each)}{ended}."]

    def _held(self, wait: Wait) -> str:
        """`a row of score, held by s1's UPDATE (step 2)`"""
        table = wait.on.partition(" ")[0]
        if wait.kind in ("transactionid", "tuple"):
            what = f"a row of {table}" if table else "a row"
        else:
            what = f"table {table}" if wait.kind == "relation" else f"an {wait.kind} lock"
        holders = listed([f"s{holder + 1}" for holder in wait.holders])
        by = self._name(self._statement(wait.held_through)) if wait.held_through is not None else holders
        return f"{what}, held by {by}" if by else what
