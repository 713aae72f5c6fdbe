"""Questions asked of code under test: what it takes, whether it wants a pool, where it stands, if it can be run."""

import inspect
from collections.abc import Callable
from typing import Any

from harness.scenario.errors import Place, ScenarioError
from harness.scenario.parameters import Pool
from harness.scenario.sql import SqlBody


def wants_pool(body: Callable[..., object]) -> bool:
    """Whether the first argument is annotated `Pool`; anything else is given a connection."""
    try:
        first = next(iter(inspect.signature(body).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    if first is None:
        return False
    function = getattr(body, "__func__", body)
    try:
        annotation = inspect.get_annotations(function, eval_str=True).get(first.name)
    except (NameError, TypeError, AttributeError):  # a name that exists for type checkers only: compare its text
        annotation = first.annotation
    if isinstance(annotation, str):
        return annotation.strip("'\" ").rpartition(".")[2] == "Pool"
    return annotation is Pool


def takes(body: Callable[..., Any], *, bound: bool = True) -> tuple[str, ...]:
    """The names of what a body is called with, after the connection (and after self, where not yet bound)."""
    if isinstance(body, SqlBody):
        return body.parameters
    return tuple(inspect.signature(body).parameters)[1 if bound else 2 :]


def check_body(title: str, body: Callable[..., Any], place: Place) -> None:
    """Raises ScenarioError for what cannot be called step by step over a plain connection."""
    if inspect.iscoroutinefunction(body) or inspect.isgeneratorfunction(body):
        raise ScenarioError(
            f"{title} is async or a generator: expected a plain function over psycopg.Connection", *place
        )


def place_of(function: Callable[..., Any]) -> Place:
    """Where its definition begins, decorators included."""
    code = inspect.unwrap(function).__code__
    return Place(code.co_filename, code.co_firstlineno)
