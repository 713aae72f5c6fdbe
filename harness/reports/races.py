"""Causes that are races: what a session rests on, and what another did to it meanwhile, proved by the trace's times.

Each finds the statements that prove it, or says nothing. Of those in RACES, the most special first, one is told.
"""

from collections.abc import Iterator
from itertools import combinations

from harness.model.advice import Tried
from harness.model.cell import Isolation
from harness.reports.commands import WRITES, Command, Story
from harness.reports.ground import Ground
from harness.reports.rewrites import Cause, Fits, conflict_of, here, lock_table, sends_the_same, upsert, who
from harness.scenario.lexer import normal, significant, split_at

# ---- a look, and what follows from it ------------------------------------------------------------------------------


def _looks(told: Story) -> Iterator[tuple[Command, Command, str, Command]]:
    """A look, the act that rests on it, their table, and the write between that the look could not see."""
    for act in told.commands:
        if not told.condemned(act):
            continue
        for verb in ("insert", "update", "delete"):
            for table in (deed.table for deed in act.deeds if deed.verb == verb):
                for look in told.before(act):
                    if not _of_the_same(look, act) or not _rests_on(look, act, table):
                        continue
                    if (other := told.meanwhile(look, act, table)) is not None:
                        yield look, act, table, other


def _rests_on(look: Command, act: Command, table: str) -> bool:
    """Found nothing, so it inserts; found something, so it changes that."""
    found = look.does("select", table) or look.does("lock", table) or look.does("update", table)
    if not found or look.rows is None or look.function:
        return False
    return look.rows == 0 if act.does("insert", table) else look.rows > 0 and not look.does("update", table)


def _of_the_same(look: Command, act: Command) -> bool:
    return not look.values or not act.values or bool(set(look.values) & set(act.values))


def for_update_absent(told: Story, ground: Ground) -> Iterator[Cause]:
    """FOR UPDATE locks rows that it returns: where there is none it locks nothing (chapter 13.3.2)."""
    for look, act, table, other in _looks(told):
        if look.does("lock", table) and act.does("insert", table):
            says = (
                f"{who(look)}'s SELECT ... FOR UPDATE returned no row of {table}, and a row that is not there is not "
                f"locked: {who(other)} inserted it meanwhile, and {who(act)} inserted all the same"
            )
            yield Cause("for-update-absent", says, *upsert(told, ground, table, act))
            return


def swallowed(told: Story, ground: Ground) -> Iterator[Cause]:
    """Above READ COMMITTED a savepoint ends the error, not the snapshot: what was in the way stays invisible."""
    if told.isolation is Isolation.READ_COMMITTED:
        return
    for refused in told.commands:
        later = told.after(refused)
        if refused.sqlstate != "23505" or not later or not later[0].back_to_savepoint:
            continue
        for table in (deed.table for deed in refused.deeds if deed.verb == "insert"):
            again = next(
                (c for c in later if c.rows == 0 and (c.does("select", table) or c.does("update", table))), None
            )
            if again is None:
                continue
            says = (
                f"{who(refused)} met 23505, went back to its savepoint and looked for the row of {table}: the snapshot "
                f"of {told.isolation.sql} is older than that row, so it found none"
            )
            text, fits = upsert(told, ground, table, refused)
            rewrite = f"begin the whole transaction again after 23505, outside of it; or\n{text}"
            yield Cause("swallowed-in-savepoint", says, rewrite, fits)
            return


def delete_and_insert(told: Story, ground: Ground) -> Iterator[Cause]:
    """Who waits for a row that is then deleted finds nothing: the row put in its place is too new for its snapshot."""
    for first in told.commands:
        for table in (deed.table for deed in first.deeds if deed.verb == "delete"):
            last = next((one for one in (first, *told.after(first)) if one.does("insert", table)), None)
            if last is None:
                continue
            for other in told.commands:
                meets = other.session != first.session and other.writes(table)
                if meets and other.begun < told.visible(last) and told.visible(other) > first.begun:
                    where = (
                        f"{first.function}() deletes from {table} and inserts"
                        if first.function
                        else (f"{who(first)} deletes from {table} and inserts")
                    )
                    says = (
                        f"{where}, and {who(other)} writes the same rows meanwhile: a DELETE keeps no key, and who "
                        "waits for a row that it deletes does not see the one put in its place"
                    )
                    yield Cause("delete-and-insert", says, *upsert(told, ground, table, last))
                    return


def read_modify_write(told: Story, ground: Ground) -> Iterator[Cause]:
    """P4: what is written was computed from a row that another has changed since."""
    if told.finding.violation.kind not in ("lost-update", "non-serializable"):
        return
    for act in told.commands:
        for table in (deed.table for deed in act.deeds if deed.verb == "update"):
            look = act if act.does("select", table) else _read_for(told, act, table)
            if look is None or (other := told.meanwhile(look, act, table)) is None or not other.does("update", table):
                continue
            column = next(iter(_set(act.sql)), "column")
            how = "in a subquery of its UPDATE" if look is act else "with a plain SELECT"
            says = f"{who(act)} read {table}.{column} {how}, {who(other)} changed it, and {who(act)} wrote over that"
            rewrite = (
                f"UPDATE {table} SET {column} = {column} + ... (the UPDATE reads the row that it has locked), "
                "or SELECT ... FOR UPDATE first, in the same transaction"
            )
            yield Cause("read-modify-write", says, rewrite, here(told, _computes(table, column)))
            return


def _read_for(told: Story, act: Command, table: str) -> Command | None:
    """A plain SELECT of a column that the UPDATE sets, to a value that the caller did not give."""
    columns = _set(act.sql)
    given = {repr(value) for calls in told.finding.contest.sessions for call in calls for _, value in call.arguments}
    if not set(act.values) - given:
        return None
    for look in told.before(act):
        words = {token.name for token in significant(look.sql.lower().partition(" from ")[0]) if token.name}
        read = "*" in look.sql.partition(" ")[2][:2] or columns & words
        if look.does("select", table) and look.rows and read and _of_the_same(look, act):
            return look
    return None


def _set(sql: str) -> set[str]:
    """The columns that an UPDATE assigns."""
    tokens = significant(sql)
    words = [token.word for token in tokens]
    if "set" not in words:
        return set()
    start = words.index("set") + 1
    return {part[0].name for part in split_at(",", tokens[start:]) if len(part) > 2 and part[1].text == "="}


def _computes(table: str, column: str) -> Fits:
    """An UPDATE, or the DO UPDATE of an upsert, that sets the column from itself; or a lock of the rows before."""

    def fits(tried: Tried) -> bool:
        texts = [normal(sql) for sql in tried.statements]
        own = (f"{column} = {column} ", f"{column} = {table} . {column} ")
        return any(any(word in text for word in own) and "( select" not in text for text in texts)

    return fits


def in_one_statement(told: Story, ground: Ground) -> Iterator[Cause]:
    """One statement looks with the snapshot that it began with, and writes later."""
    for act in told.commands:
        for deed in act.deeds:
            looks = deed.verb == "merge" or (deed.verb == "insert" and _looks_too(act, deed.table))
            if not looks or not told.condemned(act) or conflict_of(act.sql) or act.function:
                continue
            other = told.meanwhile(act, act, deed.table)
            if other is not None and (other.does("insert", deed.table) or other.does("merge", deed.table)):
                what = "MERGE" if deed.verb == "merge" else "INSERT"
                says = (
                    f"one statement, and still a look and a write: {who(act)}'s {what} looked for the row of "
                    f"{deed.table} with the snapshot that it began with, before {who(other)}'s was committed"
                )
                yield Cause("look-in-the-statement", says, *upsert(told, ground, deed.table, act))
                return


def _looks_too(act: Command, table: str) -> bool:
    return act.does("select", table) or act.does("update", table)


def check_then_act(told: Story, ground: Ground) -> Iterator[Cause]:
    for look, act, table, other in _looks(told):
        verb = "UPDATE" if look.does("update", table) else "SELECT"
        if act.does("insert", table):
            says = (
                f"{who(look)}'s {verb} found no row of {table} before {who(other)}'s was committed, and {who(act)} "
                "inserted on the strength of that"
            )
            yield Cause("check-then-act", says, *upsert(told, ground, table, act))
            return
        if act.rows == 0 and not look.does("lock", table):
            says = (
                f"{who(look)}'s SELECT found a row of {table} that was no more as it had been, by {who(other)}, when "
                f"{who(act)}'s {'UPDATE' if act.does('update', table) else 'DELETE'} came: it changed nothing"
            )
            text, fits = upsert(told, ground, table, None)
            yield Cause("check-then-act", says, f"SELECT ... FOR UPDATE in the same transaction; or\n{text}", fits)
            return


def lock_too_late(told: Story, ground: Ground) -> Iterator[Cause]:
    """Above READ COMMITTED who waits for a lock by a SELECT has its snapshot: what the holder did is too new for it."""
    if told.isolation is Isolation.READ_COMMITTED:
        return
    for lock in told.commands:
        after = told.after(lock)
        waits = (
            lock.waited and not lock.sqlstate and lock.sql[:6].upper() == "SELECT" and told.snapshot(lock) == lock.begun
        )
        if not waits or not any(one.ends_transaction for one in after):
            continue
        for other in told.commands:
            for table in (deed.table for deed in other.deeds if deed.verb in WRITES):
                held = other.session != lock.session and lock.begun < told.visible(other) <= lock.ended
                if held and any(one.writes(table) and told.condemned(one) for one in after):
                    says = (
                        f"{who(lock)}'s SELECT that waited for the lock had taken the snapshot of {told.isolation.sql} "
                        f"already: what {who(other)} wrote to {table} while it held the lock stays invisible behind it"
                    )
                    text, fits = lock_table(table)
                    rewrite = f"take the lock where no snapshot is taken: {text}; or at read committed"
                    yield Cause("lock-after-snapshot", says, rewrite, here(told, fits))
                    return


def split(told: Story, ground: Ground) -> Iterator[Cause]:
    """One call, two transactions, and another session between them."""
    for first in told.commands:
        after = told.after(first)
        for table in (deed.table for deed in first.deeds if deed.verb in WRITES):
            second = next((one for one in after if one.writes(table)), None)
            if second is None or told.visible(first) >= second.begun or not first.rows:
                continue
            for other in told.commands:
                touches = any(deed.table == table for deed in other.deeds)
                between = told.visible(first) < other.ended and other.begun < second.ended
                if other.session != first.session and touches and between and _of_the_same(first, other):
                    says = (
                        f"{who(first)} changed {table} in two transactions, and {who(other)} came between: it met "
                        "what neither call had meant to leave"
                    )
                    text, fits = upsert(told, ground, table, second if second.does("insert", table) else None)
                    yield Cause("two-transactions", says, f"one transaction for both, and in it\n{text}", fits)
                    return


RACES = (
    for_update_absent,
    swallowed,
    lock_too_late,
    delete_and_insert,
    read_modify_write,
    in_one_statement,
    check_then_act,
    split,
)


def opposite_order(told: Story, ground: Ground) -> Iterator[Cause]:
    """Two who lock the same rows in opposite orders wait for each other (chapter 13.3.4)."""
    if told.finding.violation.kind != "deadlock" and told.finding.violation.sqlstate != "40P01":
        return
    sessions = sorted({command.session for command in told.commands})
    tables = dict.fromkeys(deed.table for command in told.commands for deed in command.deeds if command.waited)
    for one, other in combinations(sessions, 2):
        for table in tables:
            mine, theirs = _locked(told, one, table), _locked(told, other, table)
            common = [value for value in mine if value in theirs]
            for a, b in combinations(common, 2):
                if theirs.index(a) > theirs.index(b):
                    first, second = f"s{one + 1}", f"s{other + 1}"
                    says = f"{first} takes the rows of {table} in the order {a}, {b}; {second} in the order {b}, {a}"
                    how = f"sort what goes to {table} by its key: in the program, or by INSERT ... SELECT ... ORDER BY"
                    yield Cause("opposite-order", says, how, here(told, sends_the_same(told)))
                    return


def _locked(told: Story, session: int, table: str) -> list[str]:
    """The values of the commands that lock rows of the table, in order."""
    commands = [one for one in told.commands if one.session == session and _locks(one, table)]
    return list(dict.fromkeys(value for command in commands for value in command.values))


def _locks(command: Command, table: str) -> bool:
    return command.writes(table) or command.does("lock", table)
