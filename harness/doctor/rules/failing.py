"""What else fails, always or at every conflict: the rules D109 to D118."""

from collections.abc import Iterator
from itertools import combinations

from harness.doctor.catalogue import Index
from harness.doctor.rules.rule import OLD, Case, Edit, Found, Proposal, listed, place, rule, whole
from harness.scenario.lexer import CONSTANTS, normal, quoted, significant


@rule("D109", "ON CONSTRAINT names no constraint of the table", kind="refused", sqlstate="42704")
def index_as_constraint(case: Case) -> Iterator[Found]:
    """ON CONFLICT ON CONSTRAINT takes the name of a constraint. CREATE UNIQUE INDEX makes an index and no constraint.

    Name the columns (and the predicate) of the index instead: that also survives a renaming. A plain unique index can
    be made a constraint (ADD CONSTRAINT ... UNIQUE USING INDEX); a partial one, or one on an expression, cannot.
    """
    if case.sqlstate != "42704" or (name := case.conflict.constraint) is None:
        return
    index = case.table.index(name)
    if index is None:
        have = [f"{one.constraint} {one.shown}" for one in case.table.indexes if one.constraint]
        yield Found(f"{place(case.table)} has no constraint {name}; its constraints are {listed(have) or 'none'}")
    elif index.unique:
        edit = Proposal(edits=(Edit("target", whole(index)),))
        made = Proposal(
            ddl=(f"ALTER TABLE {place(case.table)} ADD CONSTRAINT {quoted(name)} UNIQUE USING INDEX {quoted(name)}",)
        )
        plain = index.predicate is None and index.columns is not None
        yield Found(
            f"{name} is a unique index on {index.shown} and no constraint, so ON CONSTRAINT does not find it",
            (edit, made) if plain else (edit,),
        )
    else:
        yield Found(f"{name} is an index that is not unique, and no constraint: nothing can arbitrate by that name")


@rule("D110", "the arbiter is a deferrable constraint", sqlstate="55000")
def deferrable(case: Case) -> Iterator[Found]:
    """A DEFERRABLE constraint cannot arbitrate, be it INITIALLY DEFERRED or not: 55000 at execution, although EXPLAIN
    passes.

    It is also 55000 for ON CONFLICT DO NOTHING without a target when any unique constraint of the table is deferrable,
    since then all of them arbitrate. (Unless an index that is
    older conflicts first.) A unique constraint cannot be altered to NOT DEFERRABLE: it is replaced by another
    one.
    """
    for index in case.judges:
        if index.immediate or not index.valid:
            continue
        constraint = quoted(index.constraint or index.name)
        new = quoted(f"{index.name}_now"[:63])
        others = [one for one in case.table.uniques if one.immediate and one.unique]
        kind = "PRIMARY KEY" if index.primary else "UNIQUE"
        replaced = Proposal(
            ddl=(
                f"CREATE UNIQUE INDEX CONCURRENTLY {new} ON {place(case.table)} {index.target}",
                f"ALTER TABLE {place(case.table)} DROP CONSTRAINT {constraint}, ADD CONSTRAINT {constraint} {kind} "
                f"USING INDEX {new}",
            ),
            comment="the constraint is then checked at once: nothing may rely on it being deferred",
        )
        named = [Proposal(edits=(Edit("target", whole(one)),)) for one in others if not case.conflict.targeted][:1]
        yield Found(
            f"{index.constraint or index.name} is DEFERRABLE, and deferrable constraints cannot arbitrate: EXPLAIN "
            "passes, execution fails with 55000",
            (*named, *((replaced,) if index.unique else ())),
        )
        return


@rule("D111", "an exclusion constraint cannot arbitrate DO UPDATE", kind="refused", sqlstate="42809")
def exclusion_update(case: Case) -> Iterator[Found]:
    """A row may conflict with several others under an exclusion constraint, so there is no one row to update.

    DO NOTHING is possible. To replace what overlaps, delete it and insert in one transaction, and be ready for 23P01.
    """
    if case.sqlstate != "42809" or case.conflict.action == "nothing":
        return
    for index in case.table.uniques:
        if index.exclusion and case.conflict.constraint == index.constraint:
            yield Found(
                f"{index.constraint} is an exclusion constraint, under which a row may conflict with many, so DO "
                "UPDATE has no one row to update",
                (Proposal(edits=(Edit("act", "DO NOTHING"),)),),
            )


@rule("D115", "DO UPDATE needs a conflict target", kind="refused", sqlstate="42601")
def update_without_target(case: Case) -> Iterator[Found]:
    """ON CONFLICT DO UPDATE must say which unique key it speaks of: by columns, or ON CONSTRAINT. Only DO NOTHING may
    leave it out.

    With several unique keys the conflicting row could be several rows. There is no ON DUPLICATE KEY here: choose the
    key that makes two rows the same thing, and think about the others (D201).
    """
    if case.sqlstate != "42601" or case.conflict.targeted:
        return
    if case.conflict.action == "nothing":
        return
    usable = [i for i in case.table.uniques if i.unique and i.immediate and given(case, i)]
    yield Found(
        f"ON CONFLICT DO UPDATE must name its unique key; {place(case.table)} has "
        + (listed([f"{index.name} {index.shown}" for index in case.table.uniques]) or "none"),
        tuple(Proposal(edits=(Edit("target", whole(index)),)) for index in usable[:1]),
    )


@rule("D116", "the same key stands twice in one command", sqlstate="21000")
def same_key_twice(case: Case) -> Iterator[Found]:
    """DO UPDATE refuses to touch a row twice in one command: 21000, "ON CONFLICT DO UPDATE command cannot affect row
    a second time".

    PostgreSQL does not take the last one, since rows have no order. Deduplicate before: DISTINCT ON, or a dictionary in
    the application. DO NOTHING accepts duplicates.
    """
    if case.conflict.action != "update" or not case.shape.rows:
        return
    for index in case.arbiters:
        if index.predicate is not None or index.columns is None or not given(case, index):
            continue
        values = [case.values_of(column) or () for column in index.columns]
        for (one, first), (other, second) in combinations(enumerate(zip(*values, strict=False), 1), 2):
            if all(surely_equal(a, b, index) for a, b in zip(first, second, strict=True)):
                yield Found(
                    f"rows {one} and {other} have the same {listed(index.columns)} ({listed(first)}), and DO UPDATE "
                    "may touch a row once in a command",
                    (Proposal(edits=(distinct(case, index.columns),)),),
                )
                return


@rule("D118", "a rule or an INSTEAD OF trigger rewrites the INSERT", kind="refused", sqlstate="0A000")
def rewritten(case: Case) -> Iterator[Found]:
    """ON CONFLICT cannot be used with a table that has INSERT or UPDATE rules, nor with a view that only INSTEAD OF
    triggers make updatable: there is no table whose index could arbitrate.

    Turn the rule into a trigger, or insert into the table underneath.
    """
    rules = case.table.rules
    if case.sqlstate == "0A000" and rules:
        yield Found(
            f"{place(case.table)} has the rule {_rule_name(rules[0])}, and ON CONFLICT cannot be used with INSERT or "
            "UPDATE rules"
        )
    elif case.table.kind == "v" and any(trigger.instead for trigger in case.table.triggers):
        base = case.catalogue.tables.get(case.table.base or 0)
        yield Found(
            f"{place(case.table)} is a view with an INSTEAD OF trigger, which has no index that could arbitrate",
            () if base is None else (Proposal((Edit("table", place(base)),), comment="passes the trigger by"),),
            sqlstate=case.sqlstate,
        )


REFUSED = "D199"


@rule(REFUSED, "the server refuses it for another reason", kind="other")
def refused(case: Case) -> Iterator[Found]:
    """A column that is not there, a type that does not fit: what PostgreSQL says when the statement is parsed and
    planned, in its own words. It says the same when the statement is executed.

    Where the words say nothing of the statement (the type of a parameter, which the driver knows; a table that may be a
    temporary one) the ON CONFLICT clause is examined alone.
    """
    yield from ()


# What they share ---------------------------------------------------------------------------------------------------


def given(case: Case, index: Index) -> bool:
    return index.columns is not None and set(index.columns) <= set(case.columns)


def surely_equal(one: str, other: str, index: Index) -> bool:
    """Whether both are the same constant. NULLs are equal only to an index without distinct NULLs; a parameter may be
    NULL.
    """
    tokens = significant(one)
    constant = all(
        token.kind in CONSTANTS or token.word in ("true", "false", "null") or token.text == "-" for token in tokens
    )
    null = tokens[0].word == "null" if tokens else True
    return constant and not (null and index.nulls_distinct) and normal(one) == normal(other)


def distinct(case: Case, columns: tuple[str, ...]) -> Edit:
    names = {column: quoted(column) for column in case.columns}
    values = dict(names)
    if case.shape.rows is not None:  # in a subquery nothing tells constants and parameters their columns' types
        values = {column: f"{name}::{_type(case, column)}" for column, name in names.items()}
    key, every = listed([values[column] for column in columns]), listed(list(values.values()))
    return Edit("query", f"SELECT DISTINCT ON ({key}) {every} FROM ({OLD}) AS given ({listed(list(names.values()))})")


def _type(case: Case, name: str) -> str:
    column = case.table.column(name)
    return column.type if column is not None else "text"


def _rule_name(definition: str) -> str:
    words = [token.name for token in significant(definition) if token.name]
    return next((words[at + 1] or "" for at, word in enumerate(words[:-1]) if word == "rule"), normal(definition))
