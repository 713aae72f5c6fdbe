"""The names a scenario file imports: `from harness import Key, Own, Scenario, unsafe`."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.model.cell import Isolation
    from harness.scenario.expectations import retry, safe, unknown, unsafe
    from harness.scenario.language import Scenario
    from harness.scenario.parameters import Column, Connection, Identity, Key, Own, Pool

    READ_COMMITTED = Isolation.READ_COMMITTED
    REPEATABLE_READ = Isolation.REPEATABLE_READ
    SERIALIZABLE = Isolation.SERIALIZABLE

__all__ = [
    "READ_COMMITTED",
    "REPEATABLE_READ",
    "SERIALIZABLE",
    "Column",
    "Connection",
    "Identity",
    "Isolation",
    "Key",
    "Own",
    "Pool",
    "Scenario",
    "retry",
    "safe",
    "unknown",
    "unsafe",
]

_HOMES = {
    "Isolation": "harness.model.cell",
    "Scenario": "harness.scenario.language",
    **dict.fromkeys(("retry", "safe", "unknown", "unsafe"), "harness.scenario.expectations"),
    **dict.fromkeys(("Column", "Connection", "Identity", "Key", "Own", "Pool"), "harness.scenario.parameters"),
}

# Looked up when asked for: every pytest run imports `harness` for the plugin's sake, and most of them need no driver.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in ("READ_COMMITTED", "REPEATABLE_READ", "SERIALIZABLE"):
            value = importlib.import_module("harness.model.cell").Isolation[name]
        elif name in _HOMES:
            value = getattr(importlib.import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module 'harness' has no attribute {name!r}; it has: {', '.join(__all__)}")
        globals()[name] = value
        return value
