"""nginx as a gateway, from the portal's side: its configuration, written from the catalogue.

The program that runs inside nginx is in gateway/plugins/nginx; the two meet only over HTTP.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from gateway.adapters.litellm import ModelRoute

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
CHAT = "/v1/chat/completions"
OPENAI_ROUTES = (CHAT, "/v1/completions", "/v1/embeddings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A provider that speaks as OpenAI does: where, at which routes, and the variable that holds its key."""

    provider: str
    address: str
    key: str
    routes: tuple[str, ...]


UPSTREAMS = (
    Upstream(provider="openai", address="https://api.openai.com", key="OPENAI_API_KEY", routes=OPENAI_ROUTES),
    Upstream(
        provider="anthropic", address="https://api.anthropic.com", key="ANTHROPIC_API_KEY", routes=(CHAT,)
    ),
)
STAND_IN_KEY = "UPSTREAM_API_KEY"


class NginxTemplate(Template):
    """A template whose names stand as %{name}: $ belongs to nginx."""

    delimiter = "%"


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxOptions:
    """Where nginx listens, asks, serves from and logs; `out` is the directory of its files, `certificates`
    the file of the authorities that providers are verified by.
    """

    out: Path
    log: Path
    gateway: str
    portal: str
    listen: str
    call_seconds: int
    upstreams: Sequence[Upstream] = UPSTREAMS
    certificates: Path = CERTIFICATES


def standing_in(address: str) -> tuple[Upstream, ...]:
    """Return the providers when one address stands in for all of them."""
    return tuple(replace(each, address=address, key=STAND_IN_KEY) for each in UPSTREAMS)


def render_conf(options: NginxOptions, *, template: str, provider_template: str) -> str:
    """Return nginx.conf, with a place for each provider."""
    keys = dict.fromkeys(each.key for each in options.upstreams)
    return NginxTemplate(template).substitute(
        out=options.out,
        log=options.log,
        gateway=options.gateway,
        portal=options.portal,
        listen=options.listen,
        keys="\n".join(f"env {key};" for key in keys),
        providers="\n".join(_place(each, options, provider_template) for each in options.upstreams).rstrip(),
    )


def render_models(routes: Sequence[ModelRoute], *, upstreams: Sequence[Upstream]) -> str:
    """Return the module that says of each model that nginx serves, by our names of it, whose it is, what its
    provider calls it, at which routes it is, and which variable holds the key.
    """
    providers = {each.provider: each for each in upstreams}
    models = {
        name: {
            "at": f"@{at.provider}",
            "name": route.provider_model,
            "routes": list(at.routes),
            "key": at.key,
        }
        for route in routes
        if (at := providers.get(route.provider)) and route.mode in {"chat", "embedding"}
        for name in (route.name, *route.aliases)
    }
    return f"export default {json.dumps(models, indent=2, sort_keys=True)};\n"


def _place(upstream: Upstream, options: NginxOptions, template: str) -> str:
    """Return the place of a provider. One that is called by https has to prove who it is."""
    is_secure = urlsplit(upstream.address).scheme == "https"
    verified = (
        "proxy_ssl_verify on; proxy_ssl_verify_depth 3;"
        f" proxy_ssl_trusted_certificate {options.certificates};"
    )
    return NginxTemplate(template).substitute(
        provider=upstream.provider,
        address=upstream.address,
        call_seconds=options.call_seconds,
        verified=verified if is_secure else "",
    )
