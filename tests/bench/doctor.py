"""What the doctor is measured on: a schema of 500 tables, and 1,000 statements of which none or all are broken."""

from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from harness.doctor.consult import consult
from harness.doctor.sources import statements

TABLES, STATEMENTS = 500, 1000
_TABLE = """
CREATE TABLE t{0} (id bigserial PRIMARY KEY, a int NOT NULL, b text NOT NULL, live bool, note text);
CREATE UNIQUE INDEX t{0}_live ON t{0} (a, b) WHERE live;
"""
_UPSERT = """
INSERT INTO t{} (a, b, note) VALUES ($1, $2, $3) ON CONFLICT {} DO UPDATE SET note = EXCLUDED.note;
"""
# Sound, then broken: those on one table in two ways, so that no two of all share a repair.
_TARGETS = {False: ("(a, b) WHERE live",) * 2, True: ("(a, b)", "(a) WHERE live")}


def seconds(*, broken: bool) -> float:
    """From files to diagnoses, and where there are some to two repairs each, all of them tried."""
    with TemporaryDirectory() as folder:
        schema, file = Path(folder, "schema.sql"), Path(folder, "statements.sql")
        schema.write_text("".join(map(_TABLE.format, range(TABLES))))
        file.write_text("".join(_UPSERT.format(n % TABLES, _TARGETS[broken][n // TABLES]) for n in range(STATEMENTS)))
        start = perf_counter()
        found = consult(list(statements([str(file)], [], None)), schema=[str(schema)]).examined
        took = perf_counter() - start
    errors = [each for one in found for each in one.diagnoses if each.severity == "error"]
    assert len(found) == STATEMENTS and len(errors) == STATEMENTS * broken
    assert all(len(each.repairs) == 2 for each in errors)
    return took
