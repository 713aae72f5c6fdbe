"""`harness export`: a finding as a file that other tools run."""

from pathlib import Path

import click

from harness.campaign.record import Recorded, record
from harness.cli.options import consoles, debug, report_file, server_spec
from harness.cli.replay import recorded_in
from harness.exports.psql import runner, script
from harness.exports.pytest_file import pytest_file
from harness.exports.spec import spec
from harness.reports.files import write_whole
from harness.servers.choose import FORMS, recorded_on, running

FORMATS = ("psql", "spec", "pytest")


@click.command()
@click.argument("witness", metavar="WITNESS")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="For which tool.")
@click.option("--runner", "types_itself", is_flag=True, help="Of psql: a bash script that types the steps itself.")
@click.option("--server", type=server_spec, metavar="SERVER", help=f"{FORMS}. Default: the version of the line.")
@click.option("--from", "source", type=click.Path(exists=True, dir_okay=False), help="The scenario's file.")
@click.option("-o", "--output", type=report_file, metavar="FILE", help="Where to. Default: standard output.")
@debug
def export(
    witness: str, form: str, types_itself: bool, server: str | None, source: str | None, output: Path | None
) -> int:
    """Write a finding down for another tool: replays its schedule once, and records every command.

    \b
    psql    numbered steps to paste into two terminals; --runner: one bash script that types them
    spec    for the isolationtester of a stock PostgreSQL
    pytest  a test that fails until the strategy is mended

    Exit code 2 if the code no longer goes the way of the line, or the tool cannot be made to do what it says.
    """
    if types_itself and form != "psql":
        raise click.UsageError(f"--runner with --format {form}: expected --format psql")
    given, *others = recorded_in(witness)
    if others:
        raise click.UsageError(
            f"{witness}: {1 + len(others)} schedule lines are in this file, and a file of ours holds one: give the line"
        )
    source = source or given.source
    schedule = given.schedule(source)
    with running(server or recorded_on(schedule.cell.server)) as started:
        recorded = record(schedule, started, source=source)
    text = _written(recorded, form, source, types_itself=types_itself)
    _, err = consoles(no_color=True)
    if recorded.violation is None:
        err.print("warning: nothing is wrong with what this schedule comes to", soft_wrap=True)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_whole(output, text)
        if types_itself:
            output.chmod(0o755)
    return 0


def _written(recorded: Recorded, form: str, source: str | None, *, types_itself: bool) -> str:
    match form:
        case "psql":
            return runner(recorded) if types_itself else script(recorded)
        case "spec":
            return spec(recorded)
        case _:
            return pytest_file(recorded, source)
