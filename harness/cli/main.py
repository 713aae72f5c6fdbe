"""The command `harness`: its verbs, its errors on one line, and its exit codes."""

import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from harness.campaign.replay import ReplayError
from harness.campaign.witness_file import WitnessError
from harness.cli.compare import compare
from harness.cli.doctor import doctor, explain
from harness.cli.explore import explore
from harness.cli.export import export
from harness.cli.hammer import hammer, history
from harness.cli.listing import listing
from harness.cli.options import DEBUG, debug
from harness.cli.replay import replay
from harness.doctor.sources import SourceError
from harness.model.cell import IdError
from harness.model.codec import CodecError
from harness.reports.certificate import BadCertificate
from harness.runners.history_file import HistoryError
from harness.runners.journal import JournalError
from harness.runners.script import Unwritable
from harness.scenario.discovery import harness_version
from harness.scenario.errors import ScenarioError
from harness.servers.server import ServerError

UNABLE = 2  # no server, nothing explored, a scenario that cannot be loaded
USAGE = 3
INTERRUPTED = 130


class Verbs(click.Group):
    """A group whose commands return exit codes, and whose users never see a traceback for a mistake of theirs."""

    def main(  # type: ignore[override]  # never returns a value: there is one mode
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words, prog_name, standalone_mode=False)
        except Exception as error:
            code = _complain(error, debugging=DEBUG in words)
        except KeyboardInterrupt:
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


def _complain(error: Exception, *, debugging: bool) -> int:
    """Say what is wrong, on stderr; the exit code."""
    match error:
        case click.Abort():
            return INTERRUPTED
        case click.ClickException():
            return _say(f"error: {_lower(error.format_message())}{_hint(error)}", USAGE)
        case IdError() | CodecError() | BadCertificate() | WitnessError() | JournalError():
            return _say(f"error: {error}", USAGE)
        case ScenarioError():
            place = ":".join(str(part) for part in (error.path, error.line) if part is not None)
            return _say(f"{place}: error: {error.message}" if place else f"error: {error.message}", UNABLE)
        case ServerError() | ReplayError() | SourceError() | HistoryError() | Unwritable():
            return _say(f"error: {error}", UNABLE)
        case OSError() if error.filename:
            return _say(f"error: {error.filename}: {_lower(error.strerror or str(error))}", UNABLE)
    if debugging:
        traceback.print_exception(error)
    first, *_ = str(error).splitlines() or [""]
    hint = "" if debugging else f"; {DEBUG} shows where"
    return _say(f"internal error, a fault of the harness: {type(error).__name__}: {first}{hint}", UNABLE)


def _say(text: str, code: int) -> int:
    click.echo(text, err=True)
    return code


def _hint(error: click.ClickException) -> str:
    """Where the words are wrong, the words there are; a wrong value says itself what was expected."""
    lost = isinstance(error, click.NoSuchOption | click.MissingParameter) or error.message.startswith("No such command")
    if not lost or not isinstance(error, click.UsageError) or error.ctx is None:
        return ""
    return f"; '{error.ctx.command_path} --help' shows what there is"


def _lower(message: str) -> str:
    """Click's sentences in the style of ours: `No such option: --x.` -> `no such option: --x`."""
    text = " ".join(message.split())
    text = re.sub(r"\.? \(?Did you mean (?:one of: )?(.*?)\?\)?$", r" (did you mean \1?)", text)
    text = text if text.endswith("..") else text.removesuffix(".")
    return text[:1].lower() + text[1:] if text[:2] != text[:2].upper() else text


@click.group("harness", cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(harness_version(), prog_name="harness", message="%(prog)s %(version)s")
@debug
def main() -> None:
    """Proves that an upsert is right under concurrency, on a real PostgreSQL.

    A CELL is scenario::strategy[layout,state,isolation,server]; any part may be left out, and the scenario may be the
    path of a file. None at all means every cell of ./scenarios, or else of the scenarios that come with the harness.

    \b
    Exit codes: 0  nothing worse than expected
                1  a finding that no rule covers
                2  could not do its job: no server, nothing explored, a cell unexpectedly unknown
                3  usage
                130  interrupted
    """


main.add_command(listing)
main.add_command(explore)
main.add_command(hammer)
main.add_command(history)
main.add_command(replay)
main.add_command(export)
main.add_command(compare)
main.add_command(doctor)
main.add_command(explain)

if __name__ == "__main__":
    main()
