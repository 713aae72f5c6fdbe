"""The hammer end to end: a real race is found and handed over, a safe strategy acquitted, nobody met is unknown."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.campaign import Options, select
from harness.campaign.hammer import hammer
from harness.campaign.hammered import HammerOptions, HammerResult, Racing
from harness.campaign.referee import Referee
from harness.model.cell import Cell
from harness.model.contest import Contest
from harness.model.history import Batch, Calls
from harness.model.verdict import Verdict
from harness.oracles.linearize import TooLarge
from harness.servers.server import Server

OPTIONS = HammerOptions(sessions=6, seconds=60.0, rounds=40, processes=1, hand_over=False)


def hammered(
    server: Server, pattern: str, options: HammerOptions = OPTIONS, historian: "Kept | None" = None
) -> HammerResult:
    (result,) = hammer(select([pattern], Options(), [server.id]), [server], options, historian=historian).cells
    return result


class Kept:
    """A historian that remembers."""

    def __init__(self) -> None:
        self.calls = 0
        self.templates: Sequence[Contest] = ()

    def note(self, cell: Cell, templates: Sequence[Contest], batch: Batch, calls: Calls) -> None:
        self.calls += len(calls)
        self.templates = templates


def test_a_duplicate_found_by_luck_is_brought_under_control(server: Server) -> None:
    options = replace(OPTIONS, hand_over=True)
    result = hammered(server, "purchases::ShippedFix[none,new,read_committed]", options)
    assert result.verdict is Verdict.UNSAFE
    assert result.as_expected
    (duplicate,) = [luck for luck in result.by_luck if luck.luck.violation.name == "duplicate"]
    assert duplicate.rate.hits > 0
    assert duplicate.finding is not None
    assert duplicate.finding.violation.name == "duplicate"
    assert duplicate.finding.replayed == 3
    assert {call.round for call in duplicate.luck.calls} == {duplicate.luck.round}


def test_the_index_turns_it_into_an_error_with_a_rate(server: Server) -> None:
    result = hammered(server, "purchases::ShippedFix[partial,new,read_committed]")
    assert result.names == ("23505",)
    (failed,) = result.failures
    assert (failed.sqlstate, failed.retryable) == ("23505", False)
    assert failed.rate.tries == result.calls == 40 * 6


def test_a_safe_strategy_is_acquitted(server: Server) -> None:
    kept = Kept()
    result = hammered(server, "purchases::on_conflict_with_predicate[partial,refunded,read_committed]", OPTIONS, kept)
    assert (result.verdict, result.names) == (Verdict.SAFE, ())
    assert result.unjudged == result.incomplete == 0
    assert result.overlap.hits > 0
    assert kept.calls == result.calls


def test_one_session_meets_nobody(server: Server) -> None:
    result = hammered(
        server, "purchases::on_conflict_with_predicate[partial,new,read_committed]", replace(OPTIONS, sessions=1)
    )
    assert result.verdict is Verdict.UNKNOWN
    assert not result.as_expected
    assert result.reason == "no two sessions were ever inside one key at once"


def test_what_needs_no_concurrency_is_found_before_the_race(server: Server) -> None:
    result = hammered(server, "purchases::without_the_where[partial,new,read_committed]", replace(OPTIONS, rounds=2))
    assert [finding.violation.alone for finding in result.alone] == [True]
    assert result.names == ("42P10",)


SCORE = '''
"""One counter that all share: no key tells rounds apart."""
from hypothesis import strategies as st
from harness import Connection, Own, Scenario, unsafe

total = Scenario("total", tables="CREATE TABLE total (n int)", states={{"some": "INSERT INTO total VALUES (1)"}})

@total.operation(points=Own(st.integers(1, 100)))
def add(connection: Connection, points: int) -> None:
    connection.execute("UPDATE total SET n = n + %s", (points,))

@add.strategy
def at_once(connection: Connection, points: int) -> None:
    connection.execute("UPDATE total SET n = n + %s", (points,))

@add.strategy
def read_and_write(connection: Connection, points: int) -> None:
    {how}
    (n,) = connection.execute("SELECT n FROM total").fetchone()
    connection.execute("UPDATE total SET n = %s", (n + points,))
'''


@pytest.fixture
def totals(tmp_path: Path) -> Path:
    path = tmp_path / "totals.py"
    path.write_text(SCORE.format(how="pass"))
    return path


def test_rounds_without_keys_are_run_one_at_a_time(server: Server, totals: Path) -> None:
    result = hammered(server, f"{totals}::at_once[none,some,read_committed]")
    assert result.one_at_a_time
    assert (result.verdict, result.rounds) == (Verdict.SAFE, 40)


def test_a_lost_update_is_called_by_its_name(server: Server, totals: Path) -> None:
    result = hammered(server, f"{totals}::read_and_write[none,some,read_committed]")
    assert result.names == ("lost-update",)


def test_rounds_too_large_to_search_have_their_sums_checked(
    server: Server, totals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Referee, "_violation", too_large)
    options = replace(OPTIONS, rounds=10)
    lost = hammered(server, f"{totals}::read_and_write[none,some,read_committed]", options)
    kept = hammered(server, f"{totals}::at_once[none,some,read_committed]", options)
    assert lost.unjudged == lost.summed == kept.unjudged == kept.summed == 10
    assert (lost.names, kept.names) == (("lost-update",), ())


def too_large(*_: object) -> None:
    raise TooLarge("pretended")


def test_a_process_that_ends_costs_its_batch_and_is_said(server: Server, tmp_path: Path) -> None:
    path, marker = tmp_path / "totals.py", tmp_path / "ended"
    # The session on the hammer's connections ends its process, the first time; the explorer's sessions do not.
    how = f"""import os
    if type(connection).__name__ == "RacingConnection" and not os.path.exists({str(marker)!r}):
        open({str(marker)!r}, "w").close()
        os._exit(7)"""
    path.write_text(SCORE.format(how=how))
    events: list[HammerResult | Racing] = []
    pattern = f"{path}::read_and_write[none,some,read_committed]"
    (result,) = hammer(select([pattern], Options(), [server.id]), [server], OPTIONS, events.append).cells
    assert any("exited (7)" in note for note in result.notes)
    assert result.rounds > 0
    assert any(isinstance(event, Racing) for event in events)
