"""`harness list`: what there is to explore."""

import textwrap
from collections.abc import Iterable

import click

from harness.campaign.campaign import cells_of
from harness.cli.options import WIDTH, debug
from harness.model.cell import CellPattern, parse_pattern
from harness.scenario.check import check
from harness.scenario.discovery import find
from harness.scenario.errors import ScenarioError, known_ones
from harness.scenario.language import Scenario
from harness.scenario.strategy import Strategy


@click.command("list")
@click.argument("patterns", metavar="[CELL]...", nargs=-1)
@debug
def listing(patterns: tuple[str, ...]) -> int:
    """Show scenarios, their layouts, states and strategies; of a strategy named, its cells."""
    for pattern in map(parse_pattern, patterns or ("",)):
        for scenario in find(pattern.source):
            check(scenario)
            lines = _scenario(scenario) if pattern.strategy is None and not pattern.words else _cells(scenario, pattern)
            click.echo("\n".join(lines))
    return 0


def _scenario(scenario: Scenario) -> Iterable[str]:
    yield f"{scenario.name}  ({scenario.path})"
    yield from _indented(_first_sentence(scenario.doc), 2)
    yield from _labelled("layouts", ", ".join(scenario.layouts))
    yield from _labelled("states", ", ".join(scenario.states))
    for name, operation in scenario.operations.items():
        yield from _labelled("operation", f"{name}({', '.join(operation.parameters)})")
    for strategy in scenario.strategies:
        yield from _strategy(strategy)
    yield ""


def _strategy(strategy: Strategy) -> Iterable[str]:
    level = "" if strategy.isolation is None else f", at {strategy.isolation.sql} only"
    yield from _labelled("strategy", f"{strategy.name} ({', '.join(strategy.replaces)}{level})")
    yield from _indented(_first_sentence(strategy.doc), 14)
    for rule in strategy.expect:
        yield from _indented(f"expects {rule}", 14)


def _cells(scenario: Scenario, pattern: CellPattern) -> Iterable[str]:
    """Ids without their server: which one is said when it is there."""
    names = [strategy.name for strategy in scenario.strategies]
    if pattern.strategy is not None and pattern.strategy not in names:
        raise ScenarioError(
            f"scenario {scenario.name} has no strategy {pattern.strategy}"
            f"{known_ones('strategies', pattern.strategy, names)}"
        )
    for cell in cells_of(scenario, ["pg"]):
        if pattern.matches(cell):
            yield cell.id.replace(",pg]", "]")


def _first_sentence(text: str) -> str:
    """Of a paragraph, or all of it where no sentence ends."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    head, stop, _ = paragraph.partition(". ")
    return f"{head}." if stop else paragraph


def _labelled(label: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {label:<10}  ", subsequent_indent=" " * 14)


def _indented(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent)
