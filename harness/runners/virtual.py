"""A clock and random source for code under test: a sleep takes no time but lets others go, uuids repeat."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import greenlet

from harness.sessions.session import Session

_EPOCH = 1_700_000_000.0
_DRAWS = (
    "random",
    "randint",
    "randrange",
    "uniform",
    "choice",
    "choices",
    "shuffle",
    "sample",
    "getrandbits",
    "randbytes",
)


def _session() -> Session | None:
    current = greenlet.getcurrent()
    return current if isinstance(current, Session) else None


def _source(session: Session) -> random.Random:
    """Seeded by the operation, not by when it runs: equal in every order, and in the serial ones."""
    if session.random is None:
        session.random = random.Random(f"operation {session.operation}")
    source: random.Random = session.random
    return source


@contextmanager
def virtual() -> Iterator[None]:
    """Within the block, `time`, `os.urandom` and `random` are virtual for sessions, and for them only.

    Reaches code that looks these names up in their modules when it runs (`uuid.uuid4` does); `datetime.now()` and names
    bound at import are beyond it. Such a call shows as a serial order that disagrees with itself.
    """
    real: dict[tuple[Any, str], Any] = {}

    def put(module: Any, name: str, virtually: Callable[..., Any]) -> None:
        original = real[module, name] = getattr(module, name)

        def dispatch(*args: Any, **kwargs: Any) -> Any:
            session = _session()
            return original(*args, **kwargs) if session is None else virtually(session, *args, **kwargs)

        setattr(module, name, dispatch)

    def sleep(session: Session, seconds: float) -> None:
        session.clock += seconds
        if not session.draining:
            session.yield_turn()

    def draw(name: str) -> Callable[..., Any]:
        return lambda session, *args, **kwargs: getattr(_source(session), name)(*args, **kwargs)

    put(time, "sleep", sleep)
    put(time, "time", lambda session: _EPOCH + session.clock)
    put(time, "monotonic", lambda session: session.clock)
    put(os, "urandom", lambda session, size: _source(session).randbytes(size))
    for name in _DRAWS:
        put(random, name, draw(name))
    try:
        yield
    finally:
        for (module, name), original in real.items():
            setattr(module, name, original)
