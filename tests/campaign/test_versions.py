"""The version axis on real servers: the same contests, two minors, and what rules say of each."""

import re

import pytest
from click.testing import CliRunner

from harness.campaign.campaign import Options, explore, select
from harness.cli.main import main
from harness.model.verdict import Verdict
from harness.scenario.discovery import find
from harness.scenario.expectations import expected
from harness.servers.embedded import local_binaries
from harness.servers.server import Server

pytestmark = pytest.mark.server


def test_write_skew_through_an_upsert_that_did_nothing_is_found_where_the_rules_say_so(server: Server) -> None:
    options = Options(workers=0)
    report = explore(select(["duty_shifts"], options, [server.id]), [server], options)
    by_name = {result.cell.strategy: result for result in report.cells}
    assert by_name["look_then_insert"].verdict is Verdict.RETRY  # the twin whose SELECT leaves a predicate lock

    (scenario,) = find("duty_shifts")
    for strategy in scenario.strategies:
        result = by_name[strategy.name]
        assert result.cell.version == server.version
        assert result.verdict is expected(strategy, result.cell).verdict, "no mere ceiling: the minor decides"
        assert result.as_expected
    assert report.stale == ()


def test_one_command_compares_an_installed_server_with_the_embedded_one(server: Server) -> None:
    """`server` only says that there is one, and is another if that is what it is."""
    if server.provider != "embedded" or not local_binaries():
        pytest.skip("needs the embedded server and an installation beside it")
    words = ["explore", "duty_shifts", "--server", f"path:{local_binaries()[0]}", "--server", "embedded:16"]
    made = CliRunner().invoke(main, [*words, "--witnesses", "none", "--workers", "0"])
    assert made.exit_code in (0, 3), made.output
    if made.exit_code == 3:
        pytest.skip("the installed server is the embedded one's version")
    first = re.findall(r"^first difference: (\S+): ", made.output, re.M)
    same = re.findall(r"^(\d+) cells? (?:is|are) the same on ", made.output, re.M)
    upserts = [f"duty_shifts::{name}[none,both,serializable]" for name in ("insert_or_nothing", "insert_or_lock")]
    assert (first, same) in (([], ["3"]), (upserts, ["1"]))
