"""What is right and may still surprise: the rules D301 to D304."""

from collections.abc import Iterator

from harness.doctor.rules.conflict import made_anew
from harness.doctor.rules.failing import distinct, given, surely_equal
from harness.doctor.rules.rule import Case, Edit, Found, Proposal, listed, place, rule, whole
from harness.scenario.lexer import quoted, significant

INT4_MAX = 2**31 - 1
YEAR_S = 365.25 * 24 * 3600


@rule("D301", "every call takes a value of the sequence, also at a conflict")
def burned_sequence(case: Case) -> Iterator[Found]:
    """The default is computed before the conflict is found, and sequences do not roll back: an upsert that only ever
    updates still counts up.

    A serial column (int4) ends at 2,147,483,647, after which every call fails with 2200H, although the table may hold a
    few thousand rows. Make it bigint. (Looking first and inserting only what is missing saves values, and brings the
    race back.) `--rate` says with how many calls a second to reckon.
    """
    for column in case.table.columns:
        numbers = column.sequence
        if numbers is None or numbers.most > INT4_MAX or column.name in case.columns:
            continue
        left = max(numbers.most - (numbers.last or 0), 0)
        ddl = [f"ALTER TABLE {place(case.table)} ALTER COLUMN {quoted(column.name)} TYPE bigint"]
        if not column.identity:
            ddl.append(f"ALTER SEQUENCE {numbers.name} AS bigint")
        yield Found(
            f"each call takes a value of {numbers.name}, also at a conflict: {column.name} ({column.type}) ends "
            f"after {_span(left / case.rate)} at {case.rate:g} calls a second",
            (
                Proposal(
                    ddl=tuple(ddl),
                    comment="rewrites the table under an exclusive lock; foreign keys to it need the same",
                ),
            ),
        )


@rule("D302", "a BEFORE INSERT trigger fires also where the row then conflicts")
def trigger_fires(case: Case) -> Iterator[Found]:
    """BEFORE INSERT row triggers run before the conflict is looked for, and what they have done stays done.

    At a conflict DO UPDATE then fires BEFORE UPDATE and AFTER UPDATE as well; so an audit trigger of all kinds logs an
    upsert twice or three times. Statement-level triggers for INSERT and UPDATE both fire, whatever happens. A trigger
    that changes a key column decides which row is met.
    """
    before = [trigger for trigger in case.table.triggers if trigger.before and trigger.row and trigger.insert]
    if before:
        both = case.conflict.action == "update" and any(trigger.update for trigger in before)
        yield Found(
            f"the BEFORE INSERT trigger {listed([trigger.name for trigger in before])} runs also where the row "
            "then conflicts" + (", and once more for the UPDATE" if both else "")
        )


@rule("D303", "the same key may stand twice in one command")
def maybe_twice(case: Case) -> Iterator[Found]:
    """DO UPDATE refuses to touch a row twice in one command (21000). A batch from a queue that delivers at least
    once, or a query without DISTINCT, will sooner or later hold a key twice.

    Deduplicate in the application, keeping the last; or with DISTINCT ON, whose ORDER BY says which one to keep.
    """
    if case.conflict.action != "update" or case.shape.deduplicated or not case.arbiters:
        return
    index = case.arbiters[0]
    if case.shape.rows is not None:
        several = len(case.shape.rows) > 1 and not _all_differ(case)
    else:
        several = case.shape.query is not None and any(token.word == "from" for token in significant(_query(case)))
    if several and not made_anew(case, index):
        edits = (distinct(case, index.columns),) if index.columns is not None and given(case, index) else ()
        yield Found(
            f"if two rows of this command have the same {index.shown}, it fails with 21000",
            (Proposal(edits=edits, comment="ORDER BY in it says which row to keep"),) if edits else (),
            sqlstate="21000",
        )


@rule("D304", "DO NOTHING without a target also hides other conflicts")
def hidden_conflicts(case: Case) -> Iterator[Found]:
    """Without a target every unique index arbitrates: a row that is refused for another key than the one you mean is
    silently left out.

    Name the key that makes it the same thing; the others then show as 23505 (D201): one of the two you have to choose.
    """
    if case.conflict.targeted:
        return
    met = [index for index in case.table.uniques if not made_anew(case, index)]
    if len(met) > 1:
        yield Found(
            f"any conflict is passed over in silence: on {listed([f'{index.name} {index.shown}' for index in met])}",
            tuple(
                Proposal(edits=(Edit("target", whole(index)),)) for index in met if index.unique and not index.primary
            )[:1],
        )


def _query(case: Case) -> str:
    start, end = case.shape.query or (0, 0)
    return case.statement.sql[start:end]


def _all_differ(case: Case) -> bool:
    """Whether the keys of the rows are constants, no two of them equal; equal ones are D116 where they surely meet."""
    index = case.arbiters[0]
    keys = list(zip(*(case.values_of(name) or ("?",) for name in index.columns or ()), strict=False))
    constant = all(surely_equal(value, value, index) or value.upper() == "NULL" for key in keys for value in key)
    return bool(keys) and constant and (index.predicate is None or len(set(keys)) == len(keys))


def _span(seconds: float) -> str:
    for size, word in ((YEAR_S, "years"), (86_400.0, "days"), (3600.0, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {word}"
    return "less than two hours"
