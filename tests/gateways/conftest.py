"""A real portal and a fake provider, each a process of its own, for tests that go through a gateway."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateways.servers import Server, portal_server, provider_server

PROVIDER_KEY = "sk-upstream-of-the-tests"


@pytest.fixture(scope="session")
def live_portal(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return the portal's web process (uvicorn, portal.asgi) on the test database."""
    server = portal_server(log=tmp_path_factory.mktemp("portal") / "output.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def fake_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return the fake provider; GET /_log tells what it billed."""
    server = provider_server(log=tmp_path_factory.mktemp("provider") / "output.log", key=PROVIDER_KEY)
    server.start()
    yield server
    server.stop()
