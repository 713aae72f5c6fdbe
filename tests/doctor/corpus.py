"""The specimens in corpus/: SQL files, each entry a table, a statement, and what a doctor must say of it.

--- name
-- says: the errors and warnings, all of them; a hint where it is the point ("nothing")
-- arbiter: as the server infers them
-- repairs: the kinds that are offered for the first code
-- really: the SQLSTATE of executing it, after `before`, with `values` for its parameters, as `role` (none: it passes)
-- since: the first version that has the syntax
-- path: search_path
CREATE ...;
the statement;
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.scenario.sql import split


@dataclass(frozen=True)
class Specimen:
    name: str
    tables: tuple[str, ...]
    sql: str
    says: tuple[str, ...]
    arbiter: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()
    really: str = ""
    before: str = ""
    values: str = ""
    since: int = 13
    role: str = ""
    path: str = ""


def specimens(text: str) -> Iterator[Specimen]:
    for entry in re.split(r"^--- ", text, flags=re.MULTILINE)[1:]:
        name, _, rest = entry.partition("\n")
        told = dict(re.findall(r"^-- (\w+): (.*)$", rest, re.MULTILINE))
        says = tuple(word for word in told.pop("says").split() if word != "nothing")
        lists = {word: tuple(told.pop(word, "").split()) for word in ("arbiter", "repairs")}
        *tables, sql = split(re.sub(r"^-- .*\n", "", rest, flags=re.MULTILINE))
        yield Specimen(name, tuple(tables), sql, says, since=int(told.pop("since", "13")), **lists, **told)


ALL = [one for path in sorted(Path(__file__).parent.glob("corpus/*.sql")) for one in specimens(path.read_text())]
