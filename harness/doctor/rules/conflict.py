"""What passes, and is wrong once rows conflict or sessions meet: the rules D201 to D208."""

import re
from collections.abc import Iterator, Sequence

from harness.doctor.anatomy import Assignment
from harness.doctor.catalogue import Column, Index
from harness.doctor.rules.rule import (
    Case,
    Edit,
    Found,
    Proposal,
    dropping,
    duplicates,
    listed,
    place,
    rule,
    unique_index,
    whole,
)
from harness.scenario.lexer import CONSTANTS, normal, quoted, significant, unwrapped

_OWNERS = re.compile(
    r"(owner|user|tenant|org|organi[sz]ation|customer|workspace|team|company|author)(_id|_uuid|_user_id)?|created_by"
)
_DELETED = re.compile(r"(is_)?(deleted|removed|archived)(_at|_on)?|(time|date)_(deleted|removed|archived)")


@rule("D201", "a second unique index that no arbiter covers")
def second_unique_index(case: Case) -> Iterator[Found]:
    """ON CONFLICT handles conflicts on its arbiter only. A row that conflicts on another unique index is 23505 all
    the same.

    So an upsert by (user_id, waba_id) fails on a primary key that the caller makes, and "ON CONFLICT (id)" never helps
    where the id is generated. Even where both keys always go together two sessions can meet: one inserts into the first
    index while the other waits at the second. DO NOTHING without a target covers all unique indexes; DO UPDATE can only
    have one key, so leave the other key to the server (a default, an identity), or catch 23505 and decide.
    """
    if not case.conflict.targeted or not case.arbiters:
        return
    loose = [index for index in case.table.uniques if index not in case.arbiters and not _covered(case, index)]
    if not loose:
        return
    proposals = []
    if all(made_anew(case, index) for index in case.arbiters):  # "ON CONFLICT (id)", and the id is new in every row
        proposals += [Proposal(edits=(Edit("target", whole(index)),)) for index in loose if index.unique]
    if case.conflict.action == "nothing" and all(index.immediate for index in case.table.uniques):
        proposals.append(Proposal(edits=(Edit("target", ""),), comment="every unique index then arbitrates"))
    yield Found(
        f"only {listed([index.name for index in case.arbiters])} arbitrates; a row that conflicts on "
        f"{listed([f'{index.name} {index.shown}' for index in loose])} is {state_of(loose)} in spite of ON CONFLICT",
        tuple(proposals),
        sqlstate=state_of(loose),
    )


@rule("D202", "NULLs in the key never conflict")
def nulls_never_conflict(case: Case) -> Iterator[Found]:
    """To a unique index two NULLs are distinct: rows with a NULL in the key never conflict, and each upsert inserts
    one more.

    Make the column NOT NULL; or, from PostgreSQL 15 on, the index NULLS NOT DISTINCT; or give each shape of NULLs its
    own partial index and its own statement.
    """
    kept = [index.key_set for index in case.arbiters if not index.nulls_distinct]
    for index in case.arbiters:
        if not index.unique or not index.nulls_distinct or index.key_set in kept:
            continue
        names = [name for key in index.keys for name in [key.column] if key.nullable and name is not None]
        names = [name for name in names if _may_be_null(case, index, name)]
        if not names:
            continue
        proposals = [
            Proposal(
                ddl=(
                    f"ALTER TABLE {place(case.table)} "
                    + listed([f"ALTER COLUMN {quoted(name)} SET NOT NULL" for name in names]),
                ),
                comment="fails while there are NULLs",
            )
        ]
        if case.catalogue.major >= 15:
            keys, where = index.target, index.predicate and unwrapped(index.predicate)
            made = unique_index(case, keys, where=where, more=" NULLS NOT DISTINCT")
            proposals.append(Proposal(ddl=made, comment=duplicates(case, keys, where)))
        yield Found(
            f"{listed(names)} may be NULL, and NULLs never conflict in {index.name}: every such upsert inserts one "
            "more row",
            tuple(proposals),
        )


@rule("D203", "DO UPDATE changes a key")
def changes_a_key(case: Case) -> Iterator[Found]:
    """DO UPDATE that sets the primary key, or another unique key, gives the row that is there a new name.

    Who holds the old one finds nothing, foreign keys refuse or cascade, and the new value may be taken: 23505. It is
    usually an accident of "replace all columns". List the columns that an upsert may replace, and leave the keys out.
    """
    if case.conflict.action != "update":
        return
    held = {name for index in case.arbiters for name in index.columns or ()}
    keys = {name: index for index in reversed(case.table.uniques) for name in index.columns or ()}
    changed = [one for one in case.conflict.assignments if one.column in keys and _changes(case, one, held)]
    if changed:
        names = [one.column for one in changed]
        of = dict.fromkeys(keys[name].name for name in names)
        yield Found(
            f"at a conflict DO UPDATE gives the row another {listed(names)}, a key ({listed(list(of))}) that others "
            "may hold",
            _without(case, names),
        )


@rule("D204", "DO UPDATE moves the row to another owner")
def changes_the_owner(case: Case) -> Iterator[Found]:
    """A DO UPDATE that sets user_id, tenant_id or the like, with an arbiter that leaves it out: whoever comes last
    takes the row.

    If several owners may have the same thing, the owner belongs into the key: a unique index on (user_id, waba_id), and
    a conflict target that names both. If not, leave the owner out of SET, and look at whose row came back.
    """
    if case.conflict.action != "update":
        return
    held = {name for index in case.arbiters for name in index.columns or ()}
    keys = {name for index in case.table.uniques for name in index.columns or ()} - held
    moved = [
        one
        for one in case.conflict.assignments
        if _OWNERS.fullmatch(one.column)
        and one.column not in keys
        and one.column not in held
        and _changes(case, one, held)
    ]
    for one in moved[:1]:
        key = "(" + listed([quoted(one.column), *(element.text for element in case.conflict.elements)]) + ")"
        wider = [
            Proposal(
                (Edit("target", key + case.where), *_act_without(case, [one.column])),
                unique_index(case, key),
                duplicates(case, key),
            )
        ]
        yield Found(
            f"at a conflict on {listed([index.name for index in case.arbiters])} the row of another {one.column} "
            "becomes this call's",
            (*_without(case, [one.column]), *(wider if case.conflict.elements else [])),
        )


@rule("D205", "DO NOTHING with RETURNING returns no row at a conflict")
def nothing_returned(case: Case) -> Iterator[Found]:
    """RETURNING gives the rows that were inserted or updated. DO NOTHING does neither at a conflict, so no row comes
    back.

    Code that takes the id from it meets NULL on the second call. Reading it in the same statement (WITH ... UNION ALL
    SELECT) misses a row that a concurrent session has just committed: the statement's snapshot is older. Either DO
    UPDATE with a harmless assignment, which locks and returns the row (and writes a new version, and fires UPDATE
    triggers), or a SELECT in a second statement. The same goes for DO UPDATE ... WHERE where the condition is false.
    """
    if case.shape.returning is None or case.conflict.action != "nothing":
        return
    candidates = [
        i for i in case.judges if i.unique and i.immediate and i.columns is not None and not made_anew(case, i)
    ]
    candidates.sort(key=lambda index: not set(index.columns or ()) <= set(case.columns))
    proposals = []
    for index in candidates[:1]:
        column = quoted((index.columns or ("",))[0])
        edits = [Edit("act", f"DO UPDATE SET {column} = EXCLUDED.{column}")]
        if not case.conflict.targeted:
            edits.append(Edit("target", whole(index)))
        proposals.append(
            Proposal(tuple(edits), comment="locks and rewrites the row that is there; fires UPDATE triggers")
        )
    yield Found(
        f"at a conflict DO NOTHING returns no row, so RETURNING {case.shape.returning.strip()} comes back empty on "
        "the second call",
        tuple(proposals),
    )


@rule("D206", "the clause has a predicate, and a full index arbitrates")
def predicate_without_effect(case: Case) -> Iterator[Found]:
    """The WHERE of a conflict target only helps to find an index; it says nothing about which rows conflict.

    Where a full unique index is on the same columns it arbitrates, and rows outside of the predicate conflict as well:
    the refunded purchase keeps the course from being bought again.
    """
    if case.conflict.predicate is None:
        return
    full = [index for index in case.arbiters if index.predicate is None]
    if full:
        (first, *_), where = full, case.conflict.predicate
        dropped = dropping(case.table, first)
        yield Found(
            f"{first.name} is a full unique index and arbitrates, so rows that are not {where} conflict as well: "
            "WHERE has no effect",
            (
                Proposal(edits=(Edit("target", case.named),), comment="says what happens"),
                Proposal(
                    ddl=(*unique_index(case, first.target, where=where), dropped),
                    comment="rows outside of the predicate may then repeat",
                ),
            ),
        )


@rule("D208", "a soft-deleted row holds the key")
def soft_deleted_row(case: Case) -> Iterator[Found]:
    """Under a full unique index a row with deleted_at set still holds its key, invisible to the application.

    DO NOTHING then does nothing although nobody sees a row; DO UPDATE updates the deleted row and leaves it deleted.
    Either the update restores (SET deleted_at = NULL), or the index is partial (WHERE deleted_at IS NULL), and then
    every upsert must name that predicate (D103).
    """
    if any(index.predicate is not None for index in case.judges):
        return
    column = next((column for column in case.table.columns if _DELETED.fullmatch(column.name)), None)
    keyed = [index for index in case.judges if index.unique and not made_anew(case, index)]
    if column is None or not keyed or any(column.name in (index.columns or ()) for index in keyed):
        return
    if any(one.column == column.name for one in case.conflict.assignments):
        return
    live, restored = _live(column)
    updates = case.conflict.action == "update"
    proposals = []
    if updates:
        proposals.append(
            Proposal(
                edits=(
                    Edit(
                        "act", re.sub(r"(?i)\bSET\b", f"SET {quoted(column.name)} = {restored},", _act(case), count=1)
                    ),
                )
            )
        )
    if case.conflict.elements and not keyed[0].primary:
        index = keyed[0]
        proposals.append(
            Proposal(
                (Edit("target", f"{index.target} WHERE {live}"),),
                (*unique_index(case, index.target, where=live), dropping(case.table, index)),
                "a deleted row then stays, and a new one is made",
            )
        )
    then = f"updates it and leaves {column.name} set" if updates else "does nothing, although nobody sees a row"
    yield Found(
        f"{keyed[0].name} also holds the keys of rows with {column.name} set: DO {case.conflict.action.upper()} {then}",
        tuple(proposals),
    )


# What they share ---------------------------------------------------------------------------------------------------


def state_of(indexes: Sequence[Index]) -> str:
    return "23505" if any(index.unique for index in indexes) else "23P01"


def made_anew(case: Case, index: Index) -> bool:
    """Whether the values of one of its keys are new in every row."""
    return any(_unrepeated(case, key.column) for key in index.keys if key.column is not None)


def _unrepeated(case: Case, name: str) -> bool:
    column = case.table.column(name)
    if column is None:
        return False
    if name not in case.columns:
        return column.made_by_server
    values = case.values_of(name)
    if values is None:
        return column.type == "uuid" and _alone_in_primary_key(case, name)
    fresh = all(_fresh(value, column) for value in values)
    # A uuid that the caller makes for each row: of those no two are equal, or the caller has worse problems.
    return fresh or (column.type == "uuid" and _alone_in_primary_key(case, name))


def _alone_in_primary_key(case: Case, name: str) -> bool:
    return any(index.primary and index.columns == (name,) for index in case.table.indexes)


def _fresh(value: str, column: Column) -> bool:
    text = normal(value)
    return (text == '"default"' and column.made_by_server) or ("uuid" in text and "(" in text) or "nextval" in text


def _covered(case: Case, index: Index) -> bool:
    """Whether a conflict on this index is also one on an arbiter, or cannot come about."""
    for arbiter in case.arbiters:
        nulls = index.nulls_distinct or not arbiter.nulls_distinct
        if arbiter.unique and arbiter.predicate is None and arbiter.key_set <= index.key_set and nulls:
            return True
    return made_anew(case, index) or any(
        _always_null(case, index, key.column) for key in index.keys if key.column is not None
    )


def _always_null(case: Case, index: Index, name: str) -> bool:
    column = case.table.column(name)
    if column is None or not index.nulls_distinct or column.generated:
        return False
    if name not in case.columns:
        return column.default is None and not column.identity
    return all(value.upper() == "NULL" for value in case.values_of(name) or ["?"])


def _may_be_null(case: Case, index: Index, name: str) -> bool:
    column = case.table.column(name)
    excluded = normal(f"{quoted(name)} IS NOT NULL") in normal(index.predicate or "")
    if column is None or excluded or column.generated:
        return False
    if name not in case.columns:
        return column.default is None and not column.identity
    values = case.values_of(name)
    return values is None or not all(_not_null(value, column) for value in values)


def _not_null(value: str, column: Column) -> bool:
    tokens = significant(value)
    if len(tokens) == 1 and tokens[0].word == "default":
        return column.default is not None
    first = tokens[0] if tokens else None
    return (
        first is not None
        and (first.kind in CONSTANTS or first.word in ("true", "false"))
        and (len(tokens) == 1 or tokens[1].text == "::")
    )


def _changes(case: Case, one: Assignment, held: set[str]) -> bool:
    """Whether it can give the column another value than it has. EXCLUDED's own value of an arbiter's key is the same
    one.
    """
    value = normal(one.value)
    column = quoted(one.column)
    if value.endswith(f". {column}") and not value.startswith("excluded"):
        return False
    return value != column and not (one.column in held and value == f"excluded . {column}")


def _act(case: Case) -> str:
    start, end = case.conflict.act
    return case.statement.sql[start:end]


def _act_without(case: Case, names: Sequence[str]) -> list[Edit]:
    left = [one for one in case.conflict.assignments if one.column not in names]
    where = f" WHERE {case.conflict.where}" if case.conflict.where else ""
    text = (
        f"DO UPDATE SET {listed([f'{quoted(one.column)} = {one.value}' for one in left])}{where}"
        if left
        else "DO NOTHING"
    )
    return [Edit("act", text)]


def _without(case: Case, names: Sequence[str]) -> tuple[Proposal, ...]:
    return (Proposal(edits=tuple(_act_without(case, names))),)


def _live(column: Column) -> tuple[str, str]:
    """The predicate of rows that are not deleted, and what restores one."""
    name = quoted(column.name)
    return (f"NOT {name}", "false") if column.type == "boolean" else (f"{name} IS NULL", "NULL")
