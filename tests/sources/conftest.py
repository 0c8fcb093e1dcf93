"""Providers' APIs on this machine, an account at each, and a clock that tests move."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine
from pytest_django import Settings

from budgets.models import ScopeKind
from gateway.models import GatewayLog, LogKind
from gateway.services import register_log
from tests.fakes.reports import ADMIN_KEY, Reports, reports
from tests.fakes.spend_logs import MASTER_KEY, SpendLogs, spend_logs
from tests.gateway.conftest import World, world
from usage.models import ProviderAccount

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
VARIABLE = "PURSER_ADMIN_KEY_TEST"
LITELLM_VARIABLE = "PURSER_ADMIN_KEY_LITELLM"


@pytest.fixture
def clockwork(db: None) -> Iterator[time_machine.Traveller]:
    """Stop the clock at noon of 20 November 2026."""
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture
def provider(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reports]:
    """Serve the reports of a provider, which this machine may call."""
    settings.PROVIDER_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    monkeypatch.setenv(VARIABLE, ADMIN_KEY)
    with reports() as server:
        yield server


@pytest.fixture
def openai(clockwork: time_machine.Traveller, provider: Reports) -> ProviderAccount:
    """Return an account whose figures reach back to 15 November."""
    return account("openai", provider)


@pytest.fixture
def anthropic(clockwork: time_machine.Traveller, provider: Reports) -> ProviderAccount:
    """Return an account whose figures reach back to 15 November."""
    return account("anthropic", provider)


def account(name: str, server: Reports) -> ProviderAccount:
    return ProviderAccount.objects.create(
        provider=name,
        name="org-northwind",
        admin_credential=f"env:{VARIABLE}",
        base_url=server.url,
        created_at=datetime(2026, 12, 16, tzinfo=UTC),
    )


__all__ = ["world"]


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> Iterator[SpendLogs]:
    """Serve LiteLLM's spend logs, whose key is where `spend` looks for it."""
    monkeypatch.setenv(LITELLM_VARIABLE, MASTER_KEY)
    with spend_logs() as server:
        yield server


@pytest.fixture
def spend(world: World, litellm: SpendLogs) -> GatewayLog:
    """Register the spend logs as what the gateway tells of its calls."""
    world.budget("key", kind=ScopeKind.KEY, limit="10")
    return register_log(
        actor=None, gateway=world.gus.gateway, kind=LogKind.LITELLM, place=litellm.url,
        admin_credential=f"env:{LITELLM_VARIABLE}",
    )  # fmt: skip


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.GATEWAY_LOG_DIRECTORY = str(tmp_path)
    return tmp_path


@pytest.fixture
def access(world: World, folder: Path) -> GatewayLog:
    world.budget("key", kind=ScopeKind.KEY, limit="10")
    (folder / "usage.log").touch()
    return register_log(
        actor=None, gateway=world.gus.gateway, kind=LogKind.NGINX, place=str(folder / "usage.log")
    )
