"""Folders of migrations: which files, in which order, and which part of each leads forward."""

import re
from collections.abc import Iterator
from pathlib import Path

from harness.doctor.sources.files import read, walk
from harness.doctor.sources.text import Source, SourceError

# Files and folders that lead backwards, or nowhere: golang-migrate, Flyway (undo), Diesel, Sqitch.
_BACKWARDS = re.compile(r"(^|[._-])(down|undo|revert|rollback)\.sql$|^U\d[\d._]*__", re.IGNORECASE)
_BACKWARD_FOLDERS = frozenset(("revert", "verify", "down", "undo", "rollback"))
_VERSION = re.compile(r"[VB](?P<flyway>\d+(?:[._]\d+)*)__|(?P<number>\d+)", re.IGNORECASE)
_REPEATABLE = re.compile(r"R__")  # Flyway: after all versions
# `-- migrate:up` (dbmate), `-- +goose Up`, `-- +migrate Up` (sql-migrate), `-- Up Migration` (node-pg-migrate),
# `# --- !Ups` (Play).
_SECTION = re.compile(
    r"^[ \t#]*--(?:[ \t]*migrate:|[ \t]*\+\w+[ \t]+|-?[ \t]*!|[ \t]*(?=\w+ migration\b))(?P<way>up|down)s?\b.*$",
    re.IGNORECASE | re.MULTILINE,
)


def scripts(path: str) -> Iterator[Source]:
    """The forward parts of a file, or of a folder's migrations in the order in which their tool runs them.

    Known are Flyway (V1__, R__), golang-migrate (.up.sql), dbmate, goose and sql-migrate (sections), Prisma and Diesel
    (a folder for each), Sqitch (its plan), and files that begin with a number or a timestamp.
    Raises SourceError for what cannot be read, and for a folder without any.
    """
    if not Path(path).is_dir():
        yield forward(read(path))
        return
    files = _planned(path) or sorted(_forward_files(path), key=lambda file: _order(Path(file).relative_to(path)))
    if not files:
        raise SourceError(
            f"{path}: no .sql file in this folder; migrations in another language take a running application: "
            "give the schema as pg_dump --schema-only writes it"
        )
    for file in files:
        yield forward(read(file))


def forward(source: Source) -> Source:
    """The file with what leads backwards blanked out; lines stay where they are."""
    sections = list(_SECTION.finditer(source.content))
    if not sections:
        return source
    ends = [*(section.start() for section in sections[1:]), len(source.content)]
    parts = [source.content[: sections[0].start()]]
    for section, end in zip(sections, ends, strict=True):
        body = source.content[section.end() : end]
        kept = section["way"].lower() == "up"
        parts += [" " * len(section[0]), body if kept else re.sub(r"[^\n]", " ", body)]
    return Source(source.file, "".join(parts))


def _forward_files(folder: str) -> Iterator[str]:
    for file in walk(folder, (".sql",)):
        inside = Path(file).relative_to(folder)
        if not _BACKWARDS.search(inside.name) and not _BACKWARD_FOLDERS & set(inside.parts[:-1]):
            yield file


def _order(inside: Path) -> tuple[object, ...]:
    """By version, as numbers: 2 before 10. It stands in the file's name, or in that of a folder around it."""
    if _REPEATABLE.match(inside.name):
        return 2, (), _natural(inside)
    for part in reversed(inside.parts):
        match = _VERSION.match(part)
        if match:
            version = tuple(map(int, re.findall(r"\d+", match["flyway"] or match["number"])))
            return 0, version, _natural(inside)
    return 1, (), _natural(inside)


def _natural(inside: Path) -> tuple[tuple[str, int, str], ...]:
    pieces = re.findall(r"(\d+)|(\D+)", str(inside))
    return tuple(("", int(digits), "") if digits else (text, 0, "") for digits, text in pieces)


def _planned(folder: str) -> list[str]:
    """Sqitch: the changes of sqitch.plan, in its order."""
    plan = Path(folder) / "sqitch.plan"
    if not plan.is_file():
        return []
    changes = re.findall(r"^(?![%@#\s])(\S+)", read(str(plan)).content, re.MULTILINE)
    return [str(Path(folder) / "deploy" / f"{change}.sql") for change in changes]
