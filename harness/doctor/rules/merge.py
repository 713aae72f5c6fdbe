"""MERGE used as an upsert (D207), and the INSERT ... ON CONFLICT that says the same where it can be told."""

from collections.abc import Iterator, Mapping, Sequence

from harness.doctor.anatomy import Unreadable, shapes
from harness.doctor.rules.conflict import made_anew, state_of
from harness.doctor.rules.rule import Case, Edit, Found, Proposal, duplicates, listed, rule, unique_index
from harness.scenario.lexer import Tokens, normal, quoted, significant, split_at, written


@rule("D207", "MERGE used as an upsert", kind="merge")
def merge_as_upsert(case: Case) -> Iterator[Found]:
    """MERGE looks first and inserts then, and takes no measure against what others insert in between.

    Two sessions that both find no match both insert: 23505 where a unique index is there, two rows where none is.
    (Chapter 13.2 and the MERGE page say so; only INSERT ... ON CONFLICT guarantees insert or update at READ COMMITTED.)
    Use MERGE for batches that run alone.
    """
    if not case.shape.inserts:
        return
    unique = [index for index in case.table.uniques if not made_anew(case, index)]
    state = state_of(unique) if unique else None
    end = f"the second is {state} ({listed([index.name for index in unique])})" if unique else "there are two rows"
    yield Found(
        f"MERGE does not arbitrate: two sessions that both find no match both insert, and {end}",
        tuple(_proposals(case)),
        sqlstate=state,
    )


def _proposals(case: Case) -> Iterator[Proposal]:
    try:
        keys, upsert = _upsert(case)
    except (Unreadable, IndexError):
        return
    target = f"({listed([quoted(key) for key in keys])})"
    edit = Edit("whole", upsert)
    have = any(
        index.unique and index.predicate is None and index.columns and set(index.columns) == set(keys)
        for index in case.table.uniques
    )
    if have:
        yield Proposal((edit,))
    else:
        yield Proposal((edit,), unique_index(case, target), duplicates(case, target))


def _upsert(case: Case) -> tuple[list[str], str]:
    """The key columns, and the statement. Raises Unreadable for a MERGE that says more than an upsert can."""
    text = case.statement.sql[slice(*case.shape.whole)]
    head, *whens = split_at("when", significant(text))
    into, rest = _two("using", head)
    source, condition = _two("on", rest)
    if any(token.word == "join" for token in source):
        raise Unreadable("expected one source, found a join")
    matched, unmatched = _branches(text, whens)
    inserted = shapes(f"INSERT INTO x {unmatched}")[0]
    columns = inserted.columns or tuple(column.name for column in case.table.columns)
    values = dict(zip(columns, (inserted.rows or ((),))[0], strict=False))
    alias = quoted(into[-1].name or case.shape.table)
    own = {case.shape.table, into[-1].name}
    keys = _keys(text, condition, own, values)
    action = "NOTHING" if matched is None else f"UPDATE SET {_assignments(matched, own, values)}"
    names = listed([quoted(column) for column in values])
    return keys, (
        f"INSERT INTO {case.statement.sql[slice(*case.shape.written)]} AS {alias} ({names})\n"
        f"SELECT {listed(list(values.values()))} FROM {written(text, source)}\n"
        f"ON CONFLICT ({listed([quoted(key) for key in keys])}) DO {action}"
    )


def _branches(text: str, whens: Sequence[Tokens]) -> tuple[str | None, str]:
    """What stands behind UPDATE SET, and behind INSERT."""
    matched, unmatched = None, None
    for when in whens:
        words = [token.word for token in when]
        match words:
            case ["matched", "then", "update", "set", *_] if matched is None:
                matched = written(text, when[4:])
            case ["matched", "then", "do", "nothing"]:
                pass
            case ["not", "matched", "then", "insert", *_] if unmatched is None:
                unmatched = written(text, when[4:])
            case ["not", "matched", "by", "target", "then", "insert", *_] if unmatched is None:
                unmatched = written(text, when[6:])
            case _:
                raise Unreadable(
                    "expected WHEN MATCHED THEN UPDATE and WHEN NOT MATCHED THEN INSERT, without conditions"
                )
    if unmatched is None:
        raise Unreadable("expected WHEN NOT MATCHED THEN INSERT")
    return matched, unmatched


def _keys(text: str, condition: Tokens, own: set[str], values: Mapping[str, str]) -> list[str]:
    """The columns of `t.a = s.a AND t.b = s.b`, each inserted with the very value it is compared with."""
    keys = []
    for part in split_at("and", condition):
        sides = _two("=", part)
        ours, theirs = sides if sides[0][0].name in own else reversed(sides)
        column = ours[-1].name
        if len(ours) != 3 or ours[0].name not in own or normal(values.get(column, "")) != normal(written(text, theirs)):
            raise Unreadable("expected a column of the table to equal what is inserted into it")
        keys.append(column)
    return keys


def _assignments(matched: str, own: set[str], values: Mapping[str, str]) -> str:
    """SET, with EXCLUDED in the place of the source: for each of its values the column it would be inserted into."""
    update = shapes(f"INSERT INTO x DEFAULT VALUES ON CONFLICT DO UPDATE SET {matched}")[0]
    assert update.conflict is not None
    excluded = {normal(value): f"EXCLUDED.{quoted(column)}" for column, value in values.items()}
    told = []
    for one in update.conflict.assignments:
        value = excluded.get(normal(one.value)) or _of_the_row(one.value, own, excluded)
        told.append(f"{quoted(one.column)} = {value}")
    return listed(told)


def _of_the_row(value: str, own: set[str], excluded: Mapping[str, str]) -> str:
    tokens = significant(value)
    text, end, at = "", 0, 0
    while at < len(tokens):
        if at + 2 < len(tokens) and tokens[at + 1].text == "." and tokens[at].name not in own:
            reference = written(value, tokens[at : at + 3])
            if normal(reference) not in excluded:
                raise Unreadable(f"expected a value that is inserted, found {reference}")
            text += value[end : tokens[at].start] + excluded[normal(reference)]
            end, at = tokens[at + 2].end, at + 3
        else:
            at += 1
    return text + value[end:]


def _two(word: str, tokens: Tokens) -> list[Tokens]:
    """What stands before and behind a word that must be there once."""
    parts = list(split_at(word, tokens))
    if len(parts) != 2 or not all(parts):
        raise Unreadable(f"expected {word.upper()} once")
    return parts
