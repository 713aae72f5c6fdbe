"""Scenario files as pytest sees them: file, scenario, cell; `scenarios/purchases.py::purchases::ShippedFix[...]`."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from harness.campaign.campaign import Options, Selection, against_expectation, cells_of, jobs_of
from harness.campaign.job import Event, Impossible
from harness.campaign.store import Store
from harness.campaign.workers import Workers
from harness.model.cell import Cell
from harness.model.verdict import CellResult
from harness.pytest_plugin.plugin import NOTE, budget_of, seed_of, servers_of, store_of
from harness.reports.picks import uncovered
from harness.reports.witness import witness
from harness.scenario.check import check
from harness.scenario.discovery import load
from harness.scenario.errors import ScenarioError
from harness.scenario.language import Scenario
from harness.servers.server import Server, ServerError


class WorseThanExpected(Exception):
    """A finding that no rule covers, or a cell that could not be judged; the text is for a person."""


class ScenarioFile(pytest.File):
    def collect(self) -> Iterator[pytest.Collector]:
        try:
            server_id = _run_of(self.config).server_id
            if isinstance(server_id, ServerError):
                raise server_id
            for scenario in load(self.path):
                check(scenario)
                _run_of(self.config).refuse_twin(scenario)
                node: ScenarioNode = ScenarioNode.from_parent(self, name=scenario.name)
                node.scenario, node.server_id = scenario, server_id
                yield node
        except (ScenarioError, ServerError) as error:
            raise self.CollectError(str(error)) from None


class ScenarioNode(pytest.Collector):
    scenario: Scenario
    server_id: str

    def collect(self) -> Iterator[pytest.Item]:
        # Cells of one layout next to each other: they share a database, and only the last layout's is kept.
        layouts = list(self.scenario.layouts)
        grouped = sorted(cells_of(self.scenario, [self.server_id]), key=lambda cell: layouts.index(cell.layout))
        for cell in grouped:
            item: CellItem = CellItem.from_parent(self, name=cell.id.partition("::")[2])
            item.scenario, item.cell = self.scenario, cell
            item.add_marker(pytest.mark.harness)
            if self.config.pluginmanager.hasplugin("xdist"):
                # For --dist loadgroup: a layout's cells, hence its database, in one worker.
                item.add_marker(pytest.mark.xdist_group(f"{self.scenario.name}-{cell.layout}"))
            yield item


class CellItem(pytest.Item):
    scenario: Scenario
    cell: Cell

    def runtest(self) -> None:
        run = _run_of(self.config)
        try:
            result = run.explore(self.scenario, self.cell)
        finally:
            self.user_properties += [(NOTE, text) for text in run.notes()]
        self.user_properties += [("verdict", str(result.verdict)), ("expected", result.expected)]
        if result.coverage.orders:
            self.user_properties += [
                ("orders", result.coverage.orders),
                ("exhaustive", result.coverage.exhaustive),
                ("granularity", result.coverage.granularity),
            ]
        if not result.as_expected:
            raise WorseThanExpected(_told(result))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, WorseThanExpected | ScenarioError | ServerError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        place = next(s.place for s in self.scenario.strategies if s.name == self.cell.strategy)
        return place.path, place.line - 1, self.cell.id


def _told(result: CellResult) -> str:
    findings = uncovered(result)
    kinds = ", ".join(dict.fromkeys(finding.violation.name for finding in findings))
    found = f"{result.verdict} {kinds}" if kinds else f"{result.verdict}: {result.reason}"
    first = f"{result.cell.id}: expected {result.expected}, found {found}"
    return "\n\n".join([first, *(witness(finding, result.source) for finding in findings)])


# What all cells of a process share -----------------------------------------------------------------------------------


class _Run:
    """The server and the process in which code under test runs: it may exit, hang, or pin itself to a CPU."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.server_id = servers_of(config).id()
        self._options = Options(seed=seed_of(config))
        self._budget_s = budget_of(config)
        self._deadline: float | None = None
        self._first: dict[str, Scenario] = {}
        self._said: list[str] = []
        self._store = self._opened_store(config)
        self._workers: Workers | None = None

    def refuse_twin(self, scenario: Scenario) -> None:
        twin = self._first.setdefault(scenario.name, scenario)
        if twin.place != scenario.place:
            raise ScenarioError(
                f"a second scenario called {scenario.name!r}; the first is at {twin.path}:{twin.place.line}",
                *scenario.place,
            )

    def explore(self, scenario: Scenario, cell: Cell) -> CellResult:
        server = self._server()
        if self._budget_s is not None and self._deadline is None:
            self._deadline = time.time() + self._budget_s
        # The id may have been foreseen wrongly, or not at all, as for an image of an unknown version.
        selection = Selection(scenario, (replace(cell, server=server.id),))
        jobs = list(jobs_of([selection], [server], self._options, self._deadline))
        if self._store is not None:
            self._store.tell_the_dead(selection.cells)
            jobs = [self._store.prepared(job, scenario) for job in jobs]
        (event,) = [found for found in self._crew().run(jobs) if self._is_final(found, scenario)]
        if not isinstance(event, CellResult):
            pytest.skip(f"layout {cell.layout} forbids the start state {cell.state}")
        if self._store is not None:
            self._store.explored(event, scenario)
        return against_expectation(event, scenario)

    def _is_final(self, event: Event, scenario: Scenario) -> bool:
        if isinstance(event, CellResult | Impossible):
            return True
        if self._store is not None:
            self._store.heard(event, scenario)
        return False

    def notes(self) -> list[str]:
        """What was said since they were asked for last."""
        said, self._said = self._said, []
        return said

    def _opened_store(self, config: pytest.Config) -> Store | None:
        folder = store_of(config)
        if folder is None:
            return None
        store = Store(folder, lambda text: self._said.append(text))
        store.open()
        config.add_cleanup(store.close)
        return store

    def _server(self) -> Server:
        server = servers_of(self._config).server()
        if isinstance(server, ServerError):
            if os.environ.get("CI"):
                raise server
            pytest.skip(str(server))
        return server

    def _crew(self) -> Workers:
        if self._workers is None:
            number = getattr(self._config, "workerinput", {}).get("workerid", "gw0").removeprefix("gw")
            running = None if self._store is None else self._store.place_for_journals()
            self._workers = Workers(1, first_cpu=int(number), running=running)
            self._config.add_cleanup(self._workers.close)  # before the server's: cleanups run last in, first out
        return self._workers


_RUN = pytest.StashKey[_Run]()


def _run_of(config: pytest.Config) -> _Run:
    if _RUN not in config.stash:
        config.stash[_RUN] = _Run(config)
    return config.stash[_RUN]
