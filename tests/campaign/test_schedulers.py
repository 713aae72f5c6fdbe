"""Which scheduler runs a cell, what it says of what it covered, and that it finds what there is."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.campaign.search import SCHEDULERS, Search
from harness.cli.main import main
from harness.model.contest import Contest
from harness.model.schedule import Gates
from harness.model.verdict import CellResult, Verdict
from harness.reports.summary import coverage_lines
from harness.servers.server import Server
from tests.campaign.exploring import WAYS, explored
from tests.schedulers.model import every_order

SERIALIZABLE_PAIR = "in_a_transaction[none]"  # 2 x (SELECT, INSERT, COMMIT): 20 orders, nobody waits


def cell(server: Server, name: str, **options: Any) -> CellResult:
    return explored(server, name if "::" in name else f"{WAYS}::{name}", **options)


# ---- what was met, and of how many ----------------------------------------------------------------------------------


def test_a_search_is_complete_when_no_choice_is_left() -> None:
    search = Search(Contest("new", (), ""), True, 100)
    assert not search.complete
    everything = every_order([2, 2, 1])
    for choices in everything[1:]:
        search.note(choices)
        search.note(choices)  # again, as samplers do
        assert not search.complete
    search.note(everything[0])
    assert search.complete
    assert search.orders_about == len(search.orders) == len(everything) == 30


def test_how_many_orders_there_are_follows_from_the_steps_seen() -> None:
    search = Search(Contest("new", (), ""), True, 100)
    search.note(every_order([3, 3])[0])
    assert search.orders_about == 20


def test_what_samples_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="'exhaustive' samples nothing"):
        Search(Contest("new", (), ""), True, 1).sampler("exhaustive")


@pytest.mark.server
@pytest.mark.parametrize("scheduler", ["portfolio", "preemptions", "random", "uniform", "pct", "pos"])
def test_a_cell_that_was_sampled_says_of_how_many(server: Server, scheduler: str) -> None:
    result = cell(server, SERIALIZABLE_PAIR, orders_max=8, scheduler=scheduler)
    coverage = result.coverage
    assert not coverage.exhaustive
    assert coverage.contests < coverage.sampled <= 8 * coverage.contests
    # The walk's estimate is exact from its second trial on; the first is the plain random walk.
    assert coverage.sampled_of == pytest.approx(20 * coverage.contests, rel=0.5)
    assert any(line.startswith(f"sampled: {coverage.sampled} of about ") for line in coverage_lines([result]))


@pytest.mark.server
@pytest.mark.parametrize("scheduler", ["random", "uniform", "exhaustive", "preemptions", "nondeterminism"])
def test_a_sample_that_met_every_choice_is_exhaustive(server: Server, scheduler: str) -> None:
    """A uniform walk misses one of 20 orders in 600 trials with 20 (19/20)^600 = 10^-12."""
    result = cell(server, SERIALIZABLE_PAIR, orders_max=600, scheduler=scheduler)
    assert result.coverage.exhaustive
    assert (result.verdict, result.coverage.sampled) == (Verdict.RETRY, 0)


@pytest.mark.server
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_finds_what_half_of_the_orders_show(server: Server, scheduler: str) -> None:
    # 14 of 20 orders make two rows; pct, at depth 2, one trial in 2 x 6 at least: 400 miss with (11/12)^400 < 10^-15.
    result = cell(server, "on_conflict[none]", orders_max=400, scheduler=scheduler)
    assert (result.verdict, [f.violation.name for f in result.findings]) == (Verdict.UNSAFE, ["duplicate"])


@pytest.mark.server
@pytest.mark.parametrize("scheduler", ["pct", "pos", "uniform", "random"])
def test_the_seed_decides_what_is_sampled(server: Server, scheduler: str) -> None:
    def found(seed: int) -> object:
        sampled = {"orders_max": 20, "scheduler": scheduler, "gates": Gates.NONE}
        return cell(server, "on_conflict[none]", seed=seed, **sampled).findings[0].schedule

    assert found(1) == found(1)
    assert len({found(seed) for seed in range(8)}) > 1


# ---- every schedule twice -------------------------------------------------------------------------------------------

# Alone it does the same every time. Where two calls meet, every other one looks once more.
FICKLE = """
from harness import READ_COMMITTED, Connection, Key, Scenario

fickle = Scenario("fickle", tables="CREATE TABLE item (name text, n int)",
                  states={"one": "INSERT INTO item VALUES (%(name)s, 0)"})
inside, met = [], []

@fickle.operation(name=Key(str))
def put(connection: Connection, name: str) -> int:
    inside.append(name)
    try:
        connection.execute("SELECT FROM item")
        if len(inside) > 1:
            met.append(name)
            if MOD:
                connection.execute("SELECT 1 FROM item")
        return connection.execute("UPDATE item SET n = n + 1 WHERE name = %s RETURNING n", [name]).fetchone()[0]
    finally:
        inside.remove(name)

@put.strategy(isolation=READ_COMMITTED)
def as_it_stands(connection: Connection, name: str) -> int:
    return put(connection, name)
"""


@pytest.mark.server
@pytest.mark.parametrize(("mod", "differs"), [("len(met) % 3 == 0", True), ("True", False)])
def test_code_that_does_not_repeat_itself_is_told(server: Server, tmp_path: Path, mod: str, differs: bool) -> None:
    path = tmp_path / "fickle.py"
    path.write_text(FICKLE.replace("MOD", mod))
    result = cell(server, f"{path}::as_it_stands", scheduler="nondeterminism")
    if differs:
        assert result.verdict is Verdict.UNKNOWN
        assert result.reason.startswith("a schedule, run twice, did two things: ")
        assert "sends 'SELECT 1 FROM item'" in result.reason
        assert "; from 'one' (same name): s1: put(name='name1')" in result.reason
    else:
        assert (result.verdict, result.coverage.exhaustive) == (Verdict.SAFE, True)
        assert result.coverage.repeated == result.coverage.orders > 20
        assert any(line.startswith("run twice, without a difference: ") for line in coverage_lines([result]))


@pytest.mark.server
def test_nondeterminism_outweighs_a_finding_in_the_exit_code(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "fickle.py"
    path.write_text(FICKLE.replace("MOD", "len(met) % 3 == 0"))
    words = [f"{path}::as_it_stands", "--workers", "0", "--scheduler", "nondeterminism", "--server", "embedded"]
    if server.provider != "embedded":
        pytest.skip("starts an embedded server")
    made = CliRunner().invoke(main, ["explore", *words])
    assert made.exit_code == 2
    assert "did two things" in made.output
