"""Public cases and the five incidents, on every version at hand: the doctor's word against the server's deed."""

import psycopg
import pytest

from harness.doctor import plan, sources
from harness.doctor.examine import Examined, examine
from harness.doctor.repairs import with_repairs
from harness.doctor.rules.rule import RULES, severity_of
from harness.doctor.statement import Statement
from harness.scenario.sql import split
from tests.doctor.corpus import ALL, Specimen

Connection = psycopg.Connection


def made(connection: Connection, specimen: Specimen) -> Statement:
    """The specimen's tables, and nothing else, in the database; its statement."""
    if connection.info.server_version < specimen.since * 10_000:
        pytest.skip(f"PostgreSQL {specimen.since} and newer have this syntax")
    connection.execute("RESET search_path")
    for name in ("public", "app", "cmis"):
        connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
    connection.execute("CREATE SCHEMA public")
    connection.execute(
        "DO $$ BEGIN IF to_regrole('doctor_web') IS NULL THEN CREATE ROLE doctor_web; END IF; END $$;"
        "GRANT USAGE ON SCHEMA public TO doctor_web"
    )
    for command in specimen.tables:
        connection.execute(command.encode())
    if specimen.path:
        connection.execute(f"SET search_path = {specimen.path}".encode())
    return statement_of(specimen.sql)


def statement_of(sql: str) -> Statement:
    (statement,) = sources.statements([], [sql], None)
    return statement


def examined(connection: Connection, statement: Statement) -> Examined:
    plan.begin(connection, read_only=True)
    (found,) = examine(connection, [statement]) or [Examined(statement)]
    connection.execute("ROLLBACK")
    return found


def executed(connection: Connection, specimen: Specimen) -> str:
    """The SQLSTATE of the statement, prepared and planned generically, in a transaction that is rolled back."""
    connection.execute("BEGIN")
    connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    prepared = False
    try:
        if specimen.before:
            connection.execute(specimen.before.encode())
        if specimen.role:
            connection.execute(f"SET LOCAL ROLE {specimen.role}".encode())
        connection.execute(f"PREPARE specimen AS {specimen.sql}".encode())
        prepared = True
        values = f"({specimen.values})" if specimen.values else ""
        connection.execute(f"EXECUTE specimen{values}".encode())
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.Error as error:
        return error.sqlstate or "?"
    finally:
        connection.execute("ROLLBACK")
        if prepared:
            connection.execute("DEALLOCATE specimen")
    return ""


@pytest.mark.server
@pytest.mark.parametrize("specimen", ALL, ids=lambda one: one.name)
def test_the_doctor_says_what_the_server_does(scratch: Connection, specimen: Specimen) -> None:
    found = examined(scratch, made(scratch, specimen))
    told = tuple(each.code for each in found.diagnoses if each.severity != "hint" or each.code in specimen.says)
    assert told == specimen.says
    assert found.arbiters == specimen.arbiter
    assert executed(scratch, specimen) == specimen.really
    errors = {each.sqlstate for each in found.diagnoses if each.severity == "error"}
    assert errors <= {specimen.really}


@pytest.mark.server
@pytest.mark.parametrize("specimen", [one for one in ALL if one.says], ids=lambda one: one.name)
def test_every_repair_that_is_shown_does_what_it_says(scratch: Connection, specimen: Specimen) -> None:
    statement = made(scratch, specimen)
    (found,) = with_repairs(scratch, [examined(scratch, statement)])
    first = next(each for each in found.diagnoses if each.code == specimen.says[0])
    assert tuple(repair.kind for repair in first.repairs) == specimen.repairs
    had = {each.code for each in found.diagnoses}
    for code, repair in ((each.code, repair) for each in found.diagnoses for repair in each.repairs):
        made(scratch, specimen)
        repaired = statement
        for command in split(repair.text):  # as a person would paste it: CONCURRENTLY, and in no transaction
            if command.upper().startswith(("INSERT", "WITH")):
                repaired = statement_of(command)
            else:
                scratch.execute(command.encode())
        left = {each.code for each in examined(scratch, repaired).diagnoses}
        assert code not in left, repair.text
        assert not {one for one in left - had if severity_of(one) == "error"}, repair.text


def test_every_rule_has_a_case_that_it_finds() -> None:
    assert {code for specimen in ALL for code in specimen.says} >= set(RULES)
