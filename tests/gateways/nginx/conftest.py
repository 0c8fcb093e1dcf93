"""A real nginx with njs, between the real portal and the fake provider, started once a session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from budgets.selectors import unbalanced_balances
from gateway.adapters.litellm import ModelRoute
from gateway.adapters.nginx_config import CHAT, OPENAI_ROUTES, NginxOptions, Upstream
from gateway.auth import secret_for
from gateway.management.commands.gateway_config import write_program
from gateway.models import Gateway, GatewayKind, GatewayLog, LogKind
from tests.gateway.conftest import World, build_world, make_model
from tests.gateways.conftest import PROVIDER_KEY
from tests.gateways.nginx.secure import SecureProvider
from tests.gateways.servers import Server, free_port

# Debian's, unpacked by `make nginx`, or installed.
PLACES = (Path(__file__).parents[3] / ".local" / "nginx", Path("/"))
MODULE = "usr/lib/nginx/modules/ngx_http_js_module.so"
NGINX_ROOT = next((place for place in PLACES if (place / MODULE).exists()), None)
HAS_NGINX = NGINX_ROOT is not None and shutil.which("openssl") is not None
SECURE_KEY = "sk-ant-of-the-tests"
# One identity for the session, though every test writes its row anew: the running gateway keeps its secret.
IDENTITY = {"pk": 400_002, "public_id": "gw_NginxOfTheTests001", "name": "nginx", "live_versions": [1]}
ROUTES = [
    ModelRoute(
        name="small", provider="openai", provider_model="gpt-4.1-mini", mode="chat", tier=1, aliases=("tiny",)
    ),
    ModelRoute(name="large", provider="openai", provider_model="gpt-4.1", mode="chat", tier=2),
    ModelRoute(name="other", provider="anthropic", provider_model="claude-1", mode="chat", tier=1),
    ModelRoute(name="forged", provider="google", provider_model="gemini-1", mode="chat", tier=1),
    ModelRoute(name="embed", provider="openai", provider_model="embedding-3", mode="embedding", tier=1),
]


@dataclass
class Edge:
    """What a test through nginx talks about: the organisation, the processes, and nginx's log."""

    world: World
    nginx: Server
    portal: Server
    provider: Server
    log: GatewayLog
    secure: SecureProvider
    forged: SecureProvider
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.nginx.url, timeout=30, trust_env=False)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Send a call with ada's key."""
        authorization = {"authorization": f"Bearer {self.world.token}"}
        return self.http.post(path, json=body, headers=authorization | headers)

    def chat(self, text: str = "hello there", *, model: str = "small", **more: Any) -> httpx.Response:
        """Send a chat completion."""
        messages = [{"role": "user", "content": text}]
        return self.post("/v1/chat/completions", {"model": model, "messages": messages, **more})

    def asked(self) -> list[dict[str, Any]]:
        """Return every request that reached the provider since the test began."""
        found: list[dict[str, Any]] = httpx.get(f"{self.provider.url}/_log", trust_env=False).json()
        return found


@pytest.fixture(scope="session")
def secure_providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SecureProvider]]:
    """Return two providers behind TLS; nginx is told to trust the certificate of the first."""
    if not HAS_NGINX:
        pytest.skip(
            "nginx, its njs module or openssl is missing: make nginx as root on Debian, or "
            "apt-get install nginx-light libnginx-mod-http-js openssl"
        )
    directory = tmp_path_factory.mktemp("secure")
    providers = [SecureProvider(directory / name) for name in ("trusted", "forged")]
    yield providers
    for each in providers:
        each.stop()


@pytest.fixture(scope="session")
def nginx(
    live_portal: Server,
    fake_provider: Server,
    secure_providers: list[SecureProvider],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """Return nginx, configured by the adapter like an installation."""
    out = tmp_path_factory.mktemp("nginx")
    server = nginx_server(live_portal, fake_provider, secure_providers, out)
    server.start()
    yield server
    server.stop()


def nginx_server(portal: Server, provider: Server, secure: list[SecureProvider], out: Path) -> Server:
    """Write the files of a gateway into `out` and return its process, not started yet."""
    port = free_port()
    trusted, forged = secure
    upstreams = (
        Upstream(provider="openai", address=provider.url, key="OPENAI_API_KEY", routes=OPENAI_ROUTES),
        Upstream(provider="anthropic", address=trusted.url, key="ANTHROPIC_API_KEY", routes=(CHAT,)),
        Upstream(provider="google", address=forged.url, key="ANTHROPIC_API_KEY", routes=(CHAT,)),
    )
    options = NginxOptions(
        out=out, log=out / "usage.log", gateway=str(IDENTITY["public_id"]), portal=portal.url,
        upstreams=upstreams, certificates=trusted.certificate, listen=f"127.0.0.1:{port}", call_seconds=30,
    )  # fmt: skip
    write_program(out, options, ROUTES)
    secret = secret_for(Gateway(**IDENTITY), 1)
    keys = {"OPENAI_API_KEY": PROVIDER_KEY, "ANTHROPIC_API_KEY": SECURE_KEY}
    environment = {**os.environ, "PURSER_GATEWAY_SECRET": secret, **keys}
    assert NGINX_ROOT is not None
    command: list[str | Path] = [
        *(NGINX_ROOT / "usr/sbin/nginx", "-e", str(out / "error.log"), "-c", str(out / "nginx.conf")),
        *("-p", NGINX_ROOT / "usr/share/nginx", "-g", "daemon off;"),
    ]
    log = out / "error.log"
    return Server(command, port=port, health="/healthz", environment=environment, log=log)


@pytest.fixture
def edge(  # noqa: PLR0917  fixtures have names, and no order
    transactional_db: None,
    nginx: Server,
    live_portal: Server,
    fake_provider: Server,
    secure_providers: list[SecureProvider],
    settings: Any,
) -> Iterator[Edge]:
    """Return the story of one test; at its end the books are right."""
    world = build_world()
    gateway = Gateway.objects.create(**IDENTITY, kind=GatewayKind.NGINX)
    embed = make_model("embed", tier=1, mode="embedding", max_output_tokens=None)
    world.price(embed, "input", str(Decimal("0.02") / 1_000_000))
    for name in ("other", "forged"):
        model = make_model(name, tier=1)
        world.price(model, "input", str(Decimal(1) / 1_000_000))
        world.price(model, "output", str(Decimal(2) / 1_000_000))
    world.small.aliases.create(name="tiny")
    for each in secure_providers:
        each.asked.clear()
    httpx.delete(f"{fake_provider.url}/_log", trust_env=False)
    usage_log = nginx.log.parent / "usage.log"
    usage_log.write_text("")
    settings.GATEWAY_LOG_DIRECTORY = str(usage_log.parent)
    log = GatewayLog.objects.create(gateway=gateway, kind=LogKind.NGINX, place=str(usage_log))
    story = Edge(world, nginx, live_portal, fake_provider, log, *secure_providers)
    yield story
    story.http.close()
    assert unbalanced_balances() == []
