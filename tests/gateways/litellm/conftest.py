"""A real LiteLLM Proxy with the plugin, between the real portal and the fake provider, started once a
session.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from anthropic import Anthropic
from django.conf import settings
from openai import OpenAI

from budgets.models import Reservation, ReservationState
from budgets.selectors import unbalanced_balances
from catalog.models import LlmModel, Mode
from gateway.adapters.litellm import ConfigOptions, ModelRoute, render_config
from gateway.litellm_env import ensure_environment, process_environment
from gateway.management.commands.gateway_config import (
    ENVIRONMENT_FILE,
    PLUGIN,
    read_environment,
    write_environment,
    write_plugin,
)
from gateway.models import Gateway
from tests.gateway.conftest import World, build_world, make_model
from tests.gateways.conftest import PROVIDER_KEY
from tests.gateways.servers import Server, eventually, free_port
from usage.models import UsageEvent

# One identity for the session, though every test writes its row anew: the running gateway keeps its secret.
GATEWAY = {"pk": 400_001, "public_id": "gw_LiteLlmOfTheTests0", "name": "litellm", "live_versions": [1, 2]}
ROUTES = [
    ModelRoute(
        name="small", provider="openai", provider_model="gpt-4.1-mini", mode="chat", tier=1, aliases=("tiny",)
    ),
    ModelRoute(name="claude", provider="anthropic", provider_model="claude-sonnet-4-5", mode="chat", tier=1),
    ModelRoute(name="unlucky", provider="openai", provider_model="broken", mode="chat", tier=1),
    ModelRoute(
        name="embed", provider="openai", provider_model="text-embedding-3-small", mode="embedding", tier=1
    ),
    ModelRoute(name="large", provider="openai", provider_model="gpt-4.1", mode="chat", tier=2),
]
# US dollars for a million tokens. "small" and "large" have their input and output prices from build_world.
PRICES: dict[str, dict[str, Decimal]] = {
    "small": {
        "input": Decimal(1),
        "cached": Decimal("0.5"),
        "cache_write": Decimal("1.25"),
        "output": Decimal(2),
    },
    "claude": {
        "input": Decimal(3),
        "cached": Decimal("0.3"),
        "cache_write": Decimal("3.75"),
        "output": Decimal(15),
    },
    "unlucky": {"input": Decimal(1), "output": Decimal(2)},
    "embed": {"input": Decimal("0.02")},
    "large": {
        "input": Decimal(10),
        "cached": Decimal(5),
        "cache_write": Decimal("12.5"),
        "output": Decimal(40),
    },
}
PRICED_BY_WORLD = {("small", "input"), ("small", "output"), ("large", "input"), ("large", "output")}


@dataclass
class Story:
    """What a test through LiteLLM talks about: the organisation, the processes, clients with ada's key."""

    world: World
    gateway: Gateway
    proxy: Server
    portal: Server
    provider: Server
    state: Path
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.proxy.url, timeout=60, trust_env=False)

    def openai(self, key: str | None = None) -> OpenAI:
        """Return a stock OpenAI client."""
        return OpenAI(api_key=key or self.world.token, base_url=f"{self.proxy.url}/v1")

    def anthropic(self) -> Anthropic:
        """Return a stock Anthropic client."""
        return Anthropic(api_key=self.world.token, base_url=self.proxy.url)

    def post(self, path: str, body: Any, *, key: str | None = None, **headers: str) -> httpx.Response:
        """Send one call without a client library, which would retry."""
        authorization = {"Authorization": f"Bearer {key or self.world.token}"}
        return self.http.post(path, json=body, headers=authorization | headers)

    def chat(self, text: str, *, model: str = "small", **more: Any) -> httpx.Response:
        """Send one chat completion."""
        return self.post("/v1/chat/completions", {"model": model, "messages": [user(text)], **more})

    def served(self) -> list[dict[str, Any]]:
        """Return what the provider has billed since the test began."""
        return [entry for entry in self.asked() if entry["status"] == 200]

    def asked(self) -> list[dict[str, Any]]:
        """Return every request that reached the provider since the test began."""
        log: list[dict[str, Any]] = httpx.get(f"{self.provider.url}/_log", trust_env=False).json()
        return log

    def expected(self) -> Decimal:
        """Return what the provider's log costs at the catalogue's prices."""
        return sum((cost(entry) for entry in self.served()), start=Decimal(0))

    def charged(self) -> Decimal:
        """Return what is booked, once every hold is resolved."""
        self.all_resolved()
        return sum(UsageEvent.objects.values_list("cost_usd", flat=True), start=Decimal(0))

    def all_resolved(self) -> None:
        """Wait until no call is open at the portal."""
        open_ones = Reservation.objects.filter(state=ReservationState.OPEN)
        eventually(lambda: not open_ones.exists(), seconds=20, what="every settlement")


def user(text: str) -> Any:
    """Return a user's message, as every client takes it."""
    return {"role": "user", "content": text}


def cost(entry: dict[str, Any]) -> Decimal:
    """Return the price of one request as the provider billed it: parts at their own rate, the rest at the
    plain one.
    """
    name = next(route.name for route in ROUTES if route.provider_model == entry["model"])
    rate = {unit: usd / 1_000_000 for unit, usd in PRICES[name].items()}
    fresh = entry["input_tokens"] - entry["cached_tokens"] - entry["cache_write_tokens"]
    total: Decimal = (
        fresh * rate["input"]
        + entry["cached_tokens"] * rate.get("cached", rate["input"])
        + entry["cache_write_tokens"] * rate.get("cache_write", rate["input"])
        + entry["output_tokens"] * rate.get("output", Decimal(0))
    )
    return total


@pytest.fixture(scope="session")
def programs() -> Path:
    """Return LiteLLM's own environment, installed when it is missing; without it nothing is shown."""
    return ensure_environment(Path(settings.BASE_DIR) / ".local" / "gateway" / "venv", say=print)


@pytest.fixture(scope="session")
def proxy(
    live_portal: Server, fake_provider: Server, programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Return LiteLLM, configured by the adapter like an installation."""
    server = litellm_server(live_portal, fake_provider, programs, tmp_path_factory.mktemp("litellm"))
    server.start()
    yield server
    server.stop()


def litellm_server(
    portal: Server, provider: Server, programs: Path, out: Path, *, workers: int = 1, **settings: str
) -> Server:
    """Write the files of a gateway into `out` and return its process, not started yet."""
    port = free_port()
    options = ConfigOptions(upstream=provider.url, retries=1, call_seconds=60)
    write_plugin(out)
    template = (PLUGIN / "config.yaml.template").read_text()
    (out / "config.yaml").write_text(render_config(ROUTES, options, template=template))
    write_environment(out, Gateway(**GATEWAY), portal_url=portal.url)
    own = {
        **read_environment(out / ENVIRONMENT_FILE),
        "UPSTREAM_API_KEY": PROVIDER_KEY,
        "PURSER_PUBLIC_URL": portal.url,
        "PURSER_SETTLE_GRACE_SECONDS": "3",
        **settings,
    }
    environment = process_environment(own)
    command: list[str | Path] = [
        programs / "litellm",
        "--config",
        out / "config.yaml",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--num_workers",
        str(workers),
    ]
    if workers > 1:  # a worker that is still importing after 5 s would be started anew, for ever
        command += ["--timeout_worker_healthcheck", "60"]
    log = out / "output.log"
    return Server(command, port=port, health="/health/liveliness", environment=environment, log=log)


@pytest.fixture
def story(
    transactional_db: None, live_portal: Server, fake_provider: Server, proxy: Server
) -> Iterator[Story]:
    """Return a fresh organisation behind running processes; a ledger that does not add up fails the test."""
    with story_of(live_portal, fake_provider, proxy) as told:
        yield told


@contextmanager
def story_of(portal: Server, provider: Server, proxy: Server) -> Iterator[Story]:
    """Write a fresh organisation for these processes; at its end all is resolved and the ledger adds up."""
    world = build_world()
    gateway = Gateway.objects.create(**GATEWAY, base_url=proxy.url)
    for route in ROUTES:
        _catalogued(world, route)
    httpx.delete(f"{provider.url}/_log", trust_env=False)
    state = Path(proxy.environment["PURSER_STATE_DIR"])
    told = Story(world=world, gateway=gateway, proxy=proxy, portal=portal, provider=provider, state=state)
    yield told
    told.http.close()
    told.all_resolved()
    assert unbalanced_balances() == []


def _catalogued(world: World, route: ModelRoute) -> None:
    """Have the catalogue know a model as the gateway does, with its prices."""
    chat: dict[str, Any] = {"provider": route.provider, "provider_model": route.provider_model}
    embedding = {**chat, "mode": Mode.EMBEDDING, "max_output_tokens": None}
    found = LlmModel.objects.filter(name=route.name).first()
    model = found or make_model(
        route.name, tier=route.tier, **(embedding if route.mode == "embedding" else chat)
    )
    for alias in route.aliases:
        model.aliases.create(name=alias)
    for unit, usd in PRICES[route.name].items():
        if (route.name, unit) not in PRICED_BY_WORLD:
            world.price(model, unit, str(usd / 1_000_000))
