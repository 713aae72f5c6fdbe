"""MERGE used as an upsert (D207), and the INSERT ... ON CONFLICT that says the same where it can be told."""

from collections.abc import Iterator, Mapping, Sequence

from harness.doctor.anatomy import shapes
from harness.doctor.lexer import Token, Unreadable, normal, quoted, tokens_of
from harness.doctor.rules.conflict import made_anew, state_of
from harness.doctor.rules.rule import Case, Edit, Found, Proposal, duplicates, listed, rule, unique_index


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
    tokens = [token for token in tokens_of(text) if token.kind != "space"]
    head, *whens = _cut(tokens, "WHEN")
    into, rest = _cut(head, "USING", most=1)
    source, condition = _cut(rest, "ON", most=1)
    if any(token.keyword == "JOIN" for token in source):
        raise Unreadable("expected one source, found a join")
    matched, unmatched = _branches(text, whens)
    (inserted,) = shapes(f"INSERT INTO x {unmatched}")
    columns = inserted.columns or tuple(column.name for column in case.table.columns)
    values = dict(zip(columns, (inserted.rows or ((),))[0], strict=False))
    alias = quoted(into[-1].name or case.shape.table)
    own = {case.shape.table, into[-1].name or ""}
    keys = _keys(text, condition, own, values)
    action = "NOTHING" if matched is None else f"UPDATE SET {_assignments(matched, own, values)}"
    names = listed([quoted(column) for column in values])
    return keys, (
        f"INSERT INTO {case.statement.sql[slice(*case.shape.written)]} AS {alias} ({names})\n"
        f"SELECT {listed(list(values.values()))} FROM {_text(text, source)}\n"
        f"ON CONFLICT ({listed([quoted(key) for key in keys])}) DO {action}"
    )


def _branches(text: str, whens: Sequence[Sequence[Token]]) -> tuple[str | None, str]:
    """What stands behind UPDATE SET, and behind INSERT."""
    matched, unmatched = None, None
    for when in whens:
        words = [token.keyword for token in when]
        match words:
            case ["MATCHED", "THEN", "UPDATE", "SET", *_] if matched is None:
                matched = _text(text, when[4:])
            case ["MATCHED", "THEN", "DO", "NOTHING"]:
                pass
            case ["NOT", "MATCHED", "THEN", "INSERT", *_] if unmatched is None:
                unmatched = _text(text, when[4:])
            case ["NOT", "MATCHED", "BY", "TARGET", "THEN", "INSERT", *_] if unmatched is None:
                unmatched = _text(text, when[6:])
            case _:
                raise Unreadable(
                    "expected WHEN MATCHED THEN UPDATE and WHEN NOT MATCHED THEN INSERT, without conditions"
                )
    if unmatched is None:
        raise Unreadable("expected WHEN NOT MATCHED THEN INSERT")
    return matched, unmatched


def _keys(text: str, condition: Sequence[Token], own: set[str], values: Mapping[str, str]) -> list[str]:
    """The columns of `t.a = s.a AND t.b = s.b`, each inserted with the very value it is compared with."""
    keys = []
    for part in _cut(condition, "AND"):
        sides = [[]]  # type: list[list[Token]]
        for token in part:
            sides.append([]) if token.text == "=" else sides[-1].append(token)
        if len(sides) != 2:
            raise Unreadable("expected equalities")
        ours, theirs = sides if sides[0][0].name in own else (sides[1], sides[0])
        column = ours[-1].name or ""
        if len(ours) != 3 or ours[0].name not in own or normal(values.get(column, "")) != normal(_text(text, theirs)):
            raise Unreadable("expected a column of the table to equal what is inserted into it")
        keys.append(column)
    return keys


def _assignments(matched: str, own: set[str], values: Mapping[str, str]) -> str:
    """SET, with EXCLUDED in the place of the source: for each of its values the column it would be inserted into."""
    (update,) = shapes(f"INSERT INTO x DEFAULT VALUES ON CONFLICT DO UPDATE SET {matched}")
    assert update.conflict is not None
    excluded = {normal(value): f"EXCLUDED.{quoted(column)}" for column, value in values.items()}
    told = []
    for one in update.conflict.assignments:
        value = excluded.get(normal(one.value)) or _of_the_row(one.value, own, excluded)
        told.append(f"{quoted(one.column)} = {value}")
    return listed(told)


def _of_the_row(value: str, own: set[str], excluded: Mapping[str, str]) -> str:
    tokens = [token for token in tokens_of(value) if token.kind != "space"]
    text, end, at = "", 0, 0
    while at < len(tokens):
        if at + 2 < len(tokens) and tokens[at + 1].text == "." and tokens[at].name not in own:
            reference = _text(value, tokens[at : at + 3])
            if normal(reference) not in excluded:
                raise Unreadable(f"expected a value that is inserted, found {reference}")
            text += value[end : tokens[at].start] + excluded[normal(reference)]
            end, at = tokens[at + 2].end, at + 3
        else:
            at += 1
    return text + value[end:]


def _cut(tokens: Sequence[Token], keyword: str, *, most: int = -1) -> list[list[Token]]:
    """Cut at a keyword outside of parentheses."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if token.keyword == keyword and depth == 0 and most != len(parts) - 1:
            parts.append([])
        else:
            parts[-1].append(token)
    if not all(parts) or (most > 0 and len(parts) != most + 1):
        raise Unreadable(f"expected {keyword}")
    return parts


def _text(text: str, tokens: Sequence[Token]) -> str:
    return text[tokens[0].start : tokens[-1].end]
