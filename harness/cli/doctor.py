"""`harness doctor` and `harness explain`: which index arbitrates an upsert, and if none does, why and what to write."""

import difflib
import re
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import click
import psycopg

from harness.cli.options import consoles, debug, no_color, report_file, server_spec
from harness.doctor import sources, to_scenario
from harness.doctor.consult import Consultation, consult, upserting
from harness.doctor.output.machine import github_lines, json_text, sarif_text
from harness.doctor.output.terminal import show
from harness.doctor.rules.rule import RULES, Rule
from harness.doctor.sources import SourceError, SourceWarning
from harness.doctor.statement import Statement
from harness.reports.files import write_whole
from harness.servers.choose import FORMS

SEVERITIES = ("error", "warning", "hint")
UNABLE = 2


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(exists=True, allow_dash=True))
@click.option("-e", "texts", multiple=True, metavar="SQL", help="A statement to examine. Repeatable.")
@click.option(
    "--schema",
    multiple=True,
    type=click.Path(exists=True),
    metavar="PATH",
    help="The tables: a file of DDL (pg_dump -s), or a folder of migrations. Repeatable.",
)
@click.option(
    "--server",
    default="auto",
    type=server_spec,
    metavar="SERVER",
    help=f"With --schema where to load it: {FORMS}. Without: postgresql://..., only planned on and read.",
)
@click.option("--search-path", metavar="NAMES", help="The search_path that the application has.")
@click.option(
    "--severity",
    type=click.Choice(SEVERITIES),
    default="warning",
    show_default=True,
    help="The least that makes the exit code 1.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Calls a second to reckon with, for sequences.",
)
@click.option(
    "--pg-stat-statements", "statistics", is_flag=True, help="Also what pg_stat_statements of --server has seen."
)
@click.option(
    "--scenario", type=report_file, metavar="FILE", help="Write a scenario of the first upsert that can be one."
)
@click.option("--no-repairs", is_flag=True, help="Diagnoses only: nothing is tried.")
@click.option("--json", "json_file", type=report_file, metavar="FILE", help="Also as JSON.")
@click.option("--sarif", type=report_file, metavar="FILE", help="Also as SARIF 2.1.0.")
@click.option("--github", is_flag=True, help="As annotations of a GitHub workflow.")
@no_color
@debug
def doctor(
    files: tuple[str, ...],
    texts: tuple[str, ...],
    schema: tuple[str, ...],
    server: str,
    search_path: str | None,
    severity: str,
    rate: float,
    statistics: bool,
    scenario: Path | None,
    no_repairs: bool,
    json_file: Path | None,
    sarif: Path | None,
    github: bool,
    no_color: bool,
) -> int:
    """Say which index arbitrates each INSERT ... ON CONFLICT, or why none does, and what repairs it.

    FILE holds SQL, or code with SQL in its strings; - is standard input. Nothing is ever executed on a server given as
    postgresql://..., and nothing written: it only plans, in a READ ONLY transaction. Repairs are tried on a scratch
    copy before they are shown. A comment `-- harness: ignore D103` on or above a statement silences a rule.

    \b
    Exit codes: 0  nothing wrong
                1  a diagnosis of at least --severity
                2  could not do its job: no server, a schema that cannot be loaded, no upsert that could be checked
                3  usage
    """
    if not files and not texts and not statistics:
        raise click.UsageError("nothing to examine: expected files, '-' for standard input, or -e 'INSERT ...'")
    out, err = consoles(no_color=no_color)
    unwritten: SourceError | None = None
    with _warnings_told():
        paths = [file for file in files if file != "-"]
        functions = list(sources.functions(paths, texts, sys.stdin if "-" in files else None))
        statements = [statement for function in functions for statement in function]

        def write(connection: psycopg.Connection[Any]) -> None:
            nonlocal unwritten
            unwritten = None if scenario is None else _write_scenario(functions, scenario, connection)

        if upserting(statements) or statistics or scenario is not None:
            found = consult(
                statements,
                server=server,
                schema=schema,
                search_path=search_path,
                rate=rate,
                repairs=not no_repairs,
                also=sources.from_server if statistics else None,
                then=write if scenario is not None else None,
            )
        else:
            found = Consultation("", "", (), len(statements))
    for target, text in ((json_file, json_text), (sarif, sarif_text)):
        if target is not None:
            write_whole(target, text(found))
    if github:
        for line in github_lines(found):
            click.echo(line)
    else:
        show(found, out)
    if unwritten is not None:
        raise unwritten
    if scenario is not None:
        err.print(f"written: {scenario}; what comes of it: harness explore {scenario}", soft_wrap=True)
    return code_of(found, severity)


def _write_scenario(
    functions: Sequence[Sequence[Statement]], path: Path, connection: psycopg.Connection[Any]
) -> SourceError | None:
    """Of the first that can be one; where none can, the reason is that of the first."""
    reasons: list[SourceError] = []
    for candidate in chain.from_iterable(map(to_scenario.candidates, functions)):
        try:
            to_scenario.write(candidate, connection, path)
            return None
        except to_scenario.TranslationError as error:
            reasons.append(SourceError(f"--scenario: {error}"))
    reasons.append(SourceError("--scenario: expected an INSERT ... ON CONFLICT, or a look and an INSERT; found none"))
    return reasons[0]


@contextmanager
def _warnings_told() -> Iterator[None]:
    """On stderr, each once, whatever happens then."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SourceWarning)
        try:
            yield
        finally:
            for message in dict.fromkeys(str(one.message) for one in caught):
                click.echo(f"warning: {message}", err=True)


def code_of(found: Consultation, severity: str) -> int:
    """1 for a diagnosis that counts; 2 where there were upserts, and none could be checked."""
    counted = SEVERITIES[: SEVERITIES.index(severity) + 1]
    if any(each.severity in counted for one in found.examined for each in one.diagnoses):
        return 1
    return UNABLE if found.examined and all(one.unchecked is not None for one in found.examined) else 0


@click.command()
@click.argument("codes", metavar="[CODE]...", nargs=-1)
@debug
def explain(codes: tuple[str, ...]) -> int:
    """Explain the doctor's diagnoses, such as D103. Without a code all are listed, for an SQLSTATE its own."""
    texts = ["\n".join(_explained(code.upper())) for code in codes] or ["\n".join(_listed(RULES.values()))]
    click.echo("\n\n".join(texts))
    return 0


def _listed(rules: Iterable[Rule]) -> Iterator[str]:
    for rule in sorted(rules, key=lambda rule: rule.code):
        yield f"{rule.code}  {rule.severity:<8} {rule.title}"


def _known(code: str) -> Rule:
    rule = RULES.get(code)
    if rule is None:
        known: Sequence[str] = sorted(RULES)
        close = difflib.get_close_matches(code, known, n=1)
        guess = f" (did you mean {close[0]}?)" if close else ""
        raise click.UsageError(f"{code}: no such diagnosis{guess}; 'harness explain' lists them")
    return rule


def _explained(code: str) -> Sequence[str]:
    if possible := [rule for rule in RULES.values() if rule.sqlstate == code]:
        return [f"{code} is one of these; 'harness doctor' says which:", *_listed(possible)]
    rule = _known(code)
    sqlstate = f", {rule.sqlstate}" if rule.sqlstate else ""
    paragraphs = re.split(r"\n\s*\n", rule.text)
    return [
        f"{rule.code} ({rule.severity}{sqlstate}): {rule.title}",
        *(line for text in paragraphs for line in ("", *textwrap.wrap(" ".join(text.split()), 100))),
    ]
