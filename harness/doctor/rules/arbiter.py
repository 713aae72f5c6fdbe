"""Why no index arbitrates: the reasons for 42P10, asked in this order; the first that holds is the one told."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

from harness.doctor.anatomy import shapes
from harness.doctor.catalogue import Index, Table
from harness.doctor.plan import Question
from harness.doctor.rules.rule import (
    Case,
    Edit,
    Found,
    Proposal,
    duplicates,
    in_schema,
    listed,
    parameters_of,
    place,
    rule,
    unique_index,
    whole,
)
from harness.scenario.lexer import CONSTANTS, normal, numbers_in, quoted, significant, unwrapped

NO_ARBITER = "42P10"


@rule("D108", "the matching unique index is invalid", kind="no arbiter", sqlstate=NO_ARBITER)
def invalid_index(case: Case) -> Iterator[Found]:
    """A CREATE UNIQUE INDEX CONCURRENTLY that failed leaves an index that is marked invalid (pg_index.indisvalid).

    It is maintained, and may even refuse rows, but the planner does not look at it: ON CONFLICT fails with 42P10 as if
    it were not there. It usually failed because there were duplicates. Remove those, then REINDEX INDEX CONCURRENTLY,
    or drop the index and make it anew.
    """
    for index in case.table.indexes:
        if index.unique and not index.valid and index.key_set == case.keys:
            yield Found(
                f"the unique index {index.name} on {index.shown} is invalid, as a failed CREATE INDEX CONCURRENTLY "
                "leaves it, and the planner passes it over",
                (
                    Proposal(
                        ddl=(f"REINDEX INDEX CONCURRENTLY {in_schema(case.table, index.name)}",),
                        comment=duplicates(case, index.target, index.predicate and unwrapped(index.predicate)),
                    ),
                ),
            )
            return


@rule("D104", "the predicate is a parameter", kind="no arbiter", sqlstate=NO_ARBITER)
def predicate_is_a_parameter(case: Case) -> Iterator[Found]:
    """`ON CONFLICT (a) WHERE active = $1` matches an index `WHERE active` only while the planner sees the value.

    The predicate of the clause must imply that of the index, and that is decided when the statement is planned. A
    custom plan is made for the values of one execution and passes; a generic plan is made for any value, and is 42P10.
    The server turns to generic plans from the sixth execution of a prepared statement on, if they are no dearer;
    drivers prepare after a number of executions of their own (psycopg: five, so the eleventh call is the first to fail;
    JDBC: five; server-side prepared statements of Go and Node: at once). It therefore works in every test, and fails on
    connections that live. Write the predicate as a constant.
    """
    asked = shapes(case.asked[0])[case.asked[1]].conflict
    if asked is None or not (numbers := sorted(numbers_in(asked.predicate or ""))):
        return
    for index in _partial(case):
        assert index.predicate is not None
        questions = [
            Question(
                case.asked[0], parameters_of(case.asked[0]), _values(case, dict(zip(numbers, chosen, strict=True)))
            )
            for chosen in itertools.islice(itertools.product(_constants(index.predicate), repeat=len(numbers)), 64)
        ]
        if any(index.name in plan.arbiters for plan in case.ask(questions)):
            written = f"${numbers_in(case.conflict.predicate or '')[0]}"
            yield Found(
                f"the clause's predicate holds a parameter ({written}), so {index.name} arbitrates only while plans "
                "are custom: it passes on young connections, and fails once the plan is generic (psycopg: from the "
                "11th call)",
                (
                    Proposal(edits=(Edit("target", f"{case.named} WHERE {unwrapped(index.predicate)}"),)),
                    _for_every_row(case),
                ),
            )
            return


@rule(
    "D103",
    "the matching unique index is partial, and the clause does not imply its predicate",
    kind="no arbiter",
    sqlstate=NO_ARBITER,
)
def partial_index(case: Case) -> Iterator[Found]:
    """A partial unique index arbitrates only if the conflict target's WHERE implies the index's WHERE.

    PostgreSQL does support WHERE in ON CONFLICT: `ON CONFLICT (student_id, course_id) WHERE is_active DO NOTHING`. It
    stands behind the columns and before DO. It is not matched automatically: a clause without WHERE means a full unique
    index. Repeat the predicate as the index has it (pg_indexes shows it); a WHERE behind DO UPDATE SET is something
    else, it says which conflicting rows are updated. Rows outside of the predicate never conflict.
    """
    edits = {
        index.name: Edit("target", f"{case.named} WHERE {unwrapped(index.predicate or '')}") for index in _partial(case)
    }
    meant = [index for index in _partial(case) if _arbitrates(case, index, edits[index.name])]
    if meant:
        written = case.conflict.predicate
        lacks = f"the clause's WHERE {written} does not imply that" if written else "the clause has no WHERE"
        only = " and ".join(f"{index.name} WHERE {unwrapped(index.predicate or '')}" for index in meant)
        yield Found(
            f"{case.named} is unique only in part, by {only}, and {lacks}",
            (*(Proposal(edits=(edits[index.name],)) for index in meant), _for_every_row(case)),
        )


@rule(
    "D106",
    "no unique index has the collation or operator class that the clause names",
    kind="no arbiter",
    sqlstate=NO_ARBITER,
)
def collation_or_opclass(case: Case) -> Iterator[Found]:
    """An entry `name COLLATE "C"` or `name text_pattern_ops` matches only an index that has just that for the column.

    Without COLLATE and operator class an entry matches whatever the index has, which is nearly always what is meant.
    """
    elements = [element for element in case.conflict.elements if normal(element.text) != normal(element.bare)]
    if not elements:
        return
    edit = Edit("target", "(" + ", ".join(element.bare for element in case.conflict.elements) + ")" + case.where)
    if (plan := case.accepts(edit)) is not None:
        names = listed(plan.arbiters)
        yield Found(
            f"the clause asks for {listed([element.text for element in elements])}, and {names} has another "
            "collation or operator class",
            (Proposal(edits=(edit,)), _full_index(case)),
        )


@rule(
    "D112",
    "on a partitioned table the unique index must contain the partition key",
    kind="no arbiter",
    sqlstate=NO_ARBITER,
)
def partitioned(case: Case) -> Iterator[Found]:
    """A unique index of a partitioned table must contain all columns of the partition key (0A000 otherwise).

    Indexes that only the partitions have are not seen by an INSERT into the parent. So either the conflict target names
    the key together with the partition key, or the table cannot refuse the duplicate: the same id may then stand in two
    partitions. Where ids must be unique over all of them, keep them in an unpartitioned table that the upsert goes to
    first.
    """
    if case.table.kind != "p":
        return
    keys = _partition_columns(case.table)
    missing = [name for name in keys if normal(name) not in case.keys]
    wider = [index for index in case.table.uniques if index.unique and case.keys < index.key_set]
    by = f"{place(case.table)} is partitioned by {case.table.partition_key}"
    children = [case.catalogue.tables[oid] for oid in case.table.children if oid in case.catalogue.tables]
    theirs = sorted({index.name for child in children for index in child.uniques if index.key_set == case.keys})
    if missing:
        key = "(" + ", ".join([*(element.text for element in case.conflict.elements), *missing]) + ")"
        edit = Edit("target", key)
        proposals = [Proposal(edits=(Edit("target", whole(index)),)) for index in wider[:1]]
        if not any(index.key_set == case.keys | {normal(name) for name in missing} for index in wider):
            proposals.append(Proposal((edit,), unique_index(case, key), duplicates(case, key)))
        only = f" (only partitions have one: {listed(theirs)})" if theirs else ""
        yield Found(f"{by}, and no unique index of it can leave out {listed(missing)}{only}", tuple(proposals))
    elif theirs:
        yield Found(
            f"{by}, and only partitions have a unique index on {case.named} ({listed(theirs)}), which an INSERT into "
            "the parent does not see",
            (_full_index(case),),
        )


@rule(
    "D113",
    "the unique index is the parent's or a child's, and indexes are not inherited",
    kind="no arbiter",
    sqlstate=NO_ARBITER,
)
def inheritance(case: Case) -> Iterator[Found]:
    """Tables that INHERIT do not inherit indexes or unique constraints, and an index of the parent covers the
    parent's rows only.

    So the child needs its own, and nothing keeps one key from standing in the parent and in a child.
    """
    if case.table.kind == "p" or case.table.bound is not None:
        return
    kin = [
        case.catalogue.tables[oid]
        for oid in (*case.table.parents, *case.table.children)
        if oid in case.catalogue.tables
    ]
    for other in kin:
        for index in other.uniques:
            if index.key_set == case.keys:
                relation = "parent" if other.oid in case.table.parents else "child"
                yield Found(
                    f"the unique index {index.name} is that of the {relation} {place(other)}, and "
                    f"{place(case.table)} inherits none",
                    (Proposal(edits=(Edit("table", place(other)),)), _full_index(case)),
                )
                return


@rule("D114", "search_path leads to another table of that name", kind="no arbiter", sqlstate=NO_ARBITER)
def wrong_table(case: Case) -> Iterator[Found]:
    """The unqualified name is found in a schema that comes earlier in search_path, where the table lacks the index.

    Typical after a migration that ran with another search_path than the application, or with one schema for each
    tenant. Write the schema, or set search_path for the role or the database.
    """
    if case.shape.schema is not None:
        return
    for other in case.catalogue.namesakes(case.table):
        edit = Edit("table", other.written)
        if (plan := case.accepts(edit)) is not None:
            names = listed(plan.arbiters)
            yield Found(
                f"{quoted(case.table.name)} is {case.table.written} by search_path "
                f"({listed(case.catalogue.search_path)}), and the index {names} is that of {other.written}",
                (Proposal(edits=(edit,)), _full_index(case)),
            )
            return


def not_in_search_path(case: Case) -> Iterator[Found]:
    """The same where search_path leads to no table at all: `case.table` is one that has the name."""
    others = [table for table in case.catalogue.tables.values() if table.name == case.table.name]
    path = listed(case.catalogue.search_path) or "empty"
    yield Found(
        f"search_path ({path}) leads to no table {quoted(case.table.name)}; there is "
        f"{listed([table.written for table in others])}",
        tuple(Proposal(edits=(Edit("table", table.written),)) for table in others[:3]),
        sqlstate="42P01",
    )


@rule("D107", "the matching index is not unique", kind="no arbiter", sqlstate=NO_ARBITER)
def not_unique(case: Case) -> Iterator[Found]:
    """An index on the very columns is there, but it is not unique: it finds rows, and refuses none.

    Only unique indexes and exclusion constraints arbitrate. Make a unique one beside it, then drop the old one.
    """
    for index in case.table.indexes:
        if not index.unique and not index.exclusion and index.key_set == case.keys:
            yield Found(
                f"the index {index.name} on {index.shown} is not unique, so it refuses no duplicate and cannot "
                "arbitrate",
                (_full_index(case, index.predicate and unwrapped(index.predicate)), *_nearest(case)),
            )
            return


@rule(
    "D105",
    "the unique index is on an expression, the clause on the column, or the reverse",
    kind="no arbiter",
    sqlstate=NO_ARBITER,
)
def expression(case: Case) -> Iterator[Found]:
    """`ON CONFLICT (email)` does not match a unique index on `(lower(email))`: the conflict target must name the
    expression.

    Write the expression as the index has it, in parentheses unless it is a function call: `ON CONFLICT (lower(email))`.
    """
    for index in case.table.uniques:
        ours, theirs = case.keys - index.key_set, index.key_set - case.keys
        if not index.unique or len(index.keys) != len(case.conflict.elements) or len(ours) != len(theirs) or not ours:
            continue
        if not all(any(_mentions(one, other) or _mentions(other, one) for other in theirs) for one in ours):
            continue
        edit = Edit("target", whole(index))
        if case.accepts(edit) is not None:
            yield Found(
                f"the unique index {index.name} is on {index.shown}, and the clause names {case.named}: an "
                "expression is matched by the same expression only",
                (Proposal(edits=(edit,)), _full_index(case)),
            )
            return


@rule("D102", "the clause names fewer or more columns than the unique index", kind="no arbiter", sqlstate=NO_ARBITER)
def subset_or_superset(case: Case) -> Iterator[Found]:
    """The conflict target must name all key columns of the index and no other; their order does not matter.

    Decide which columns make two rows the same thing: either the clause names the index's columns, or there must be a
    unique index on those of the clause.
    """
    for index in sorted(case.table.uniques, key=lambda index: len(index.key_set ^ case.keys)):
        fewer = case.keys < index.key_set
        if index.unique and (fewer or case.keys > index.key_set):
            yield Found(
                f"the unique index {index.name} is on {index.shown}, and the clause names "
                f"{'only ' if fewer else 'more: '}{case.named}",
                (Proposal(edits=(Edit("target", whole(index)),)), _full_index(case)),
            )
            return


@rule("D101", "there is no unique index on these columns", kind="no arbiter", sqlstate=NO_ARBITER)
def no_unique_index(case: Case) -> Iterator[Found]:
    """ON CONFLICT needs a unique index or exclusion constraint that refuses the duplicate: it is the arbiter.

    Without one PostgreSQL says "there is no unique or exclusion constraint matching the ON CONFLICT specification"
    (42P10) on every call, conflict or not. Make the index; CREATE UNIQUE INDEX CONCURRENTLY does not stop writers. It
    fails while there are duplicates, which is a good moment to look at them. Looking for the row first and then
    inserting is no substitute: two sessions both look, find nothing, and both insert.
    """
    have = [f"{index.name} {index.shown}" for index in case.table.uniques if index.unique]
    there = f"it has {listed(have)}" if have else "it has no unique index at all"
    yield Found(
        f"no unique index of {place(case.table)} is on {case.named}; {there}", (_full_index(case), *_nearest(case))
    )


# What they share ---------------------------------------------------------------------------------------------------


def _partial(case: Case) -> list[Index]:
    return [index for index in case.table.uniques if index.unique and index.predicate is not None]


def _for_every_row(case: Case) -> Proposal:
    """The index of the clause, where a partial one is there already: it means something else."""
    proposal = _full_index(case)
    if " WHERE " in proposal.ddl[0]:
        return proposal
    return replace(proposal, comment=f"then all rows count, not only those of the predicate; {proposal.comment}")


def _arbitrates(case: Case, index: Index, edit: Edit) -> bool:
    """Whether the server takes this very index for the statement so edited."""
    plan = case.accepts(edit)
    return plan is not None and index.name in plan.arbiters


def _full_index(case: Case, where: str | None = None) -> Proposal:
    """The index that the clause as it stands asks for."""
    predicate = case.conflict.predicate
    if where is None and predicate is not None and not numbers_in(predicate):
        where = predicate
    keys = "(" + ", ".join(element.text for element in case.conflict.elements) + ")"
    return Proposal(ddl=unique_index(case, keys, where=where), comment=duplicates(case, keys, where))


def _nearest(case: Case) -> list[Proposal]:
    """DO NOTHING may go without a target: then every unique index arbitrates, if there is one that the row could
    meet.
    """
    if case.conflict.action != "nothing" or not any(_reachable(case, index) for index in case.table.uniques):
        return []
    return [Proposal(edits=(Edit("target", ""),), comment="any unique index then arbitrates")]


def _reachable(case: Case, index: Index) -> bool:
    columns = [case.table.column(name) for name in index.columns or ()]
    return not (columns and all(c is not None and c.made_by_server and c.name not in case.columns for c in columns))


def _constants(predicate: str) -> list[str]:
    """The values that could make a clause imply the predicate: its own constants, and both truth values."""
    tokens = [token.text for token in significant(predicate) if token.kind in CONSTANTS]
    return list(dict.fromkeys([*tokens, "true", "false"]))


def _values(case: Case, chosen: dict[int, str]) -> tuple[str, ...]:
    return tuple(chosen.get(number, "NULL") for number in range(1, parameters_of(case.asked[0]) + 1))


def _mentions(expression: str, column: str) -> bool:
    words = [quoted(token.name) for token in significant(expression) if token.name]
    return len(words) > 1 and column in words


def _partition_columns(table: Table) -> list[str]:
    inside = (table.partition_key or "").partition("(")[2].rpartition(")")[0]
    return [part.strip() for part in inside.split(",")]
