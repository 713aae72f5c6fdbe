"""Folders of migrations: the forward parts only, in the order in which their tool runs them."""

from pathlib import Path

import pytest

from harness.doctor.sources import SourceError
from harness.doctor.sources.migrations import scripts


def check(folder: Path, files: str, expected: str) -> None:
    """`files` are made empty, `expected` are the scripts, both in words."""
    for name in files.split():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert [str(Path(source.file).relative_to(folder)) for source in scripts(str(folder))] == expected.split()


def test_flyway_runs_versions_as_numbers_and_repeatables_last(tmp_path: Path) -> None:
    check(
        tmp_path,
        "R__views.sql V10__j.sql V1__a.sql V1.1__b.sql V2__c.sql U2__c.sql sub/V1_5__d.sql",
        "V1__a.sql V1.1__b.sql sub/V1_5__d.sql V2__c.sql V10__j.sql R__views.sql",
    )


def test_golang_migrate_runs_what_is_up(tmp_path: Path) -> None:
    check(
        tmp_path,
        "000002_b.up.sql 000002_b.down.sql 000010_c.up.sql 000001_a.up.sql 000001_a.down.sql",
        "000001_a.up.sql 000002_b.up.sql 000010_c.up.sql",
    )


def test_prisma_and_diesel_have_a_folder_for_each(tmp_path: Path) -> None:
    check(
        tmp_path,
        "20240201000000_b/migration.sql 20240101000000_a/migration.sql migration_lock.toml",
        "20240101000000_a/migration.sql 20240201000000_b/migration.sql",
    )
    check(
        tmp_path / "diesel",
        "2024-02-01-000000_b/up.sql 2024-02-01-000000_b/down.sql 2024-01-15-000000_a/up.sql",
        "2024-01-15-000000_a/up.sql 2024-02-01-000000_b/up.sql",
    )


def test_sqitch_follows_its_plan(tmp_path: Path) -> None:
    (tmp_path / "sqitch.plan").write_text(
        "%syntax-version=1.0.0\n%project=x\n\nusers 2024-01-01T00:00:00Z A <a@b.c> # x\n"
        "admins [users] 2024-02-01T00:00:00Z A <a@b.c>\n@v1 2024-02-01T00:00:00Z A <a@b.c>\n"
    )
    check(
        tmp_path,
        "deploy/admins.sql deploy/users.sql revert/users.sql verify/users.sql",
        "deploy/users.sql deploy/admins.sql",
    )


def test_plain_numbers_are_compared_as_numbers_and_names_come_last(tmp_path: Path) -> None:
    check(tmp_path, "10_c.sql 2_b.sql 001_a.sql views.sql", "001_a.sql 2_b.sql 10_c.sql views.sql")


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ("-- migrate:up", "-- migrate:down"),
        ("-- migrate:up transaction:false", "-- migrate:down"),
        ("-- +goose Up", "-- +goose Down"),
        ("-- +migrate Up", "-- +migrate Down"),
        ("-- Up Migration", "-- Down Migration"),
        ("# --- !Ups", "# --- !Downs"),
    ],
)
def test_sections_that_lead_backwards_are_blank_and_lines_stay(tmp_path: Path, up: str, down: str) -> None:
    file = tmp_path / "1_a.sql"
    file.write_text(f"{up}\nCREATE TABLE t (a int);\n{down}\nDROP TABLE t;\n")
    (source,) = scripts(str(file))
    assert source.content.strip() == "CREATE TABLE t (a int);"
    assert source.line(2) == "CREATE TABLE t (a int);"


def test_a_comment_about_payments_is_no_section(tmp_path: Path) -> None:
    file = tmp_path / "1_a.sql"
    file.write_text("-- down payments\nCREATE TABLE t (a int);\n")
    assert "CREATE" in next(scripts(str(file))).content


def test_a_folder_without_sql_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "20240101_users.rb").write_text("")
    with pytest.raises(SourceError, match=r"no \.sql file in this folder.*pg_dump --schema-only"):
        list(scripts(str(tmp_path)))
