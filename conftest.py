"""One PostgreSQL for a test run: the pytest plugin's own, which its tests thereby use as everybody else does."""

import pytest
from hypothesis import settings

from harness.pytest_plugin import plugin
from harness.servers.server import Server, ServerError

pytest_plugins = ["pytester"]

# No test is about the clock: a machine that is busy fails none.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    if not pluginmanager.is_registered(plugin):  # a checkout that is not installed has no entry point
        pluginmanager.register(plugin, "upsert-harness")


@pytest.fixture(scope="session")
def shared_server(request: pytest.FixtureRequest) -> Server | ServerError:
    return plugin.servers_of(request.config).server()
