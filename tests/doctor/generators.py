"""Random tables with random indexes, and random upserts into them: some that must pass, some that may do anything."""

from dataclasses import dataclass

from hypothesis import strategies as st

COLUMNS = {"a": "int", "b": "int", "s": "text", "live": "boolean", "during": "int4range"}
VALUES = {
    "a": ("1", "2", "NULL"),
    "b": ("0", "3", "7", "NULL"),
    "s": ("'x'", "'X'", "'y'", "NULL"),
    "live": ("true", "false", "NULL"),
    "during": ("'[1,3)'", "'[2,4)'", "NULL"),
}
KEYS = ("a", "b", "s", "lower(s)", "(a + b)")
PREDICATES = ("live", "b > 0", "b > 5", "s IS NOT NULL", "live AND b > 0")


@dataclass(frozen=True)
class Index:
    name: str
    ddl: str
    target: str  # what a clause must say to mean it
    arbitrates: bool  # it is unique, and checked at once
    constraint: bool


@dataclass(frozen=True)
class Upsert:
    tables: tuple[str, ...]
    sql: str
    before: str  # rows that are there


@st.composite
def indexes(draw: st.DrawFn, number: int, major: int) -> Index:
    name = f"i{number}"
    kinds = ["unique", "unique", "partial", "plain", "constraint", "deferrable", "exclusion"]
    kind = draw(st.sampled_from([*kinds, "nulls"] if major >= 15 else kinds))
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
    inside = f"({', '.join(keys)})"
    columns = [key for key in keys if key in COLUMNS] or ["a"]
    listed = f"({', '.join(columns)})"
    match kind:
        case "unique":
            return Index(name, f"CREATE UNIQUE INDEX {name} ON t {inside}", inside, True, False)
        case "nulls":
            return Index(name, f"CREATE UNIQUE INDEX {name} ON t {inside} NULLS NOT DISTINCT", inside, True, False)
        case "partial":
            predicate = draw(st.sampled_from(PREDICATES))
            ddl = f"CREATE UNIQUE INDEX {name} ON t {inside} WHERE {predicate}"
            return Index(name, ddl, f"{inside} WHERE {predicate}", True, False)
        case "plain":
            return Index(name, f"CREATE INDEX {name} ON t {inside}", inside, False, False)
        case "constraint":
            return Index(name, f"ALTER TABLE t ADD CONSTRAINT {name} UNIQUE {listed}", listed, True, True)
        case "deferrable":
            ddl = f"ALTER TABLE t ADD CONSTRAINT {name} UNIQUE {listed} DEFERRABLE"
            return Index(name, ddl, listed, False, True)
        case _:
            ddl = f"ALTER TABLE t ADD CONSTRAINT {name} EXCLUDE USING gist (during WITH &&)"
            return Index(name, ddl, f"ON CONSTRAINT {name}", False, True)


@st.composite
def tables(draw: st.DrawFn, major: int, *, sound: bool = False) -> tuple[tuple[str, ...], list[Index], frozenset[str]]:
    not_null = draw(st.frozensets(st.sampled_from(sorted(COLUMNS))))
    columns = ", ".join(f"{name} {kind}{' NOT NULL' * (name in not_null)}" for name, kind in COLUMNS.items())
    key = draw(st.sampled_from(["id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ", "id serial, ", ""]))
    made = [draw(indexes(number, major)) for number in range(draw(st.integers(0, 4)))]
    if sound and not any(index.arbitrates for index in made):
        made.append(Index("last", "CREATE UNIQUE INDEX last ON t (a)", "(a)", True, False))
    return (f"CREATE TABLE t ({key}{columns})", *(index.ddl for index in made)), made, not_null


@st.composite
def rows(draw: st.DrawFn, not_null: frozenset[str], most: int) -> str:
    def value(name: str) -> st.SearchStrategy[str]:
        return st.sampled_from([one for one in VALUES[name] if one != "NULL" or name not in not_null])

    row = st.tuples(*map(value, COLUMNS)).map(lambda values: f"({', '.join(values)})")
    return ", ".join(draw(st.lists(row, min_size=1, max_size=most)))


@st.composite
def targets(draw: st.DrawFn, made: list[Index]) -> str:
    """Any: meant for an index or not, with the wrong predicate, as a constraint, none."""
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
    predicate = draw(st.sampled_from(["", "", *(f" WHERE {one}" for one in PREDICATES)]))
    columns = f"({', '.join(keys)}){predicate}"
    meant = [index.target for index in made]
    bare = [index.target.partition(" WHERE ")[0] for index in made]
    named = [f"ON CONSTRAINT {index.name}" for index in made]
    return draw(st.sampled_from([columns, "", "ON CONSTRAINT nobody", *meant, *meant, *bare, *named]))


def actions() -> st.SearchStrategy[str]:
    updates = ("live = EXCLUDED.live", "s = 'z'", "a = EXCLUDED.a, b = EXCLUDED.b", "b = t.b + 1")
    return st.sampled_from(["DO NOTHING", *(f"DO UPDATE SET {one}" for one in updates)])


@st.composite
def upserts(draw: st.DrawFn, major: int) -> Upsert:
    """Anything that can be said."""
    ddl, made, not_null = draw(tables(major))
    return _upsert(draw, ddl, not_null, draw(targets(made)), draw(actions()), most=2)


@st.composite
def sound_upserts(draw: st.DrawFn, major: int) -> Upsert:
    """Those that name an index which can arbitrate, and hold one row: nothing can be wrong before rows conflict."""
    ddl, made, not_null = draw(tables(major, sound=True))
    meant = draw(st.sampled_from([index for index in made if index.arbitrates]))
    keys = meant.target.partition(" WHERE ")[0]
    others = [index for index in made if index.ddl.endswith("DEFERRABLE") and set(index.target) == set(keys)]
    target = f"ON CONSTRAINT {meant.name}" if meant.constraint and (others or draw(st.booleans())) else meant.target
    if others and not meant.constraint:
        ddl = tuple(one for one in ddl if one not in {index.ddl for index in others})
    return _upsert(draw, ddl, not_null, target, draw(actions()), most=1)


def _upsert(
    draw: st.DrawFn, ddl: tuple[str, ...], not_null: frozenset[str], target: str, action: str, *, most: int
) -> Upsert:
    into = f"INSERT INTO t ({', '.join(COLUMNS)}) VALUES "
    returning = draw(st.sampled_from(["", " RETURNING a"]))
    sql = f"{into}{draw(rows(not_null, most))} ON CONFLICT {target} {action}{returning}"
    return Upsert(ddl, sql, into + draw(rows(not_null, 1)))
