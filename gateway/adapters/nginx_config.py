"""nginx as a gateway, from the portal's side: its configuration, written from the catalogue.

The program that runs inside nginx is in gateway/plugins/nginx; the two meet only over HTTP.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from gateway.adapters.litellm import ModelRoute

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
ADDRESSES = {"openai": "https://api.openai.com"}


class NginxTemplate(Template):
    """A template whose names stand as %{name}: $ belongs to nginx."""

    delimiter = "%"


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxOptions:
    """Where nginx listens, asks, serves from and logs; `out` is the directory of its files."""

    out: Path
    log: Path
    gateway: str
    portal: str
    upstream: str
    listen: str
    call_seconds: int


def render_conf(options: NginxOptions, *, template: str) -> str:
    """Return nginx.conf. A provider that is called by https has to prove who it is."""
    is_secure = urlsplit(options.upstream).scheme == "https"
    verified = f"proxy_ssl_verify on; proxy_ssl_verify_depth 3; proxy_ssl_trusted_certificate {CERTIFICATES};"
    return NginxTemplate(template).substitute(
        out=options.out,
        log=options.log,
        gateway=options.gateway,
        portal=options.portal,
        upstream=options.upstream,
        listen=options.listen,
        call_seconds=options.call_seconds,
        verified=verified if is_secure else "",
    )


def render_models(routes: Sequence[ModelRoute], *, provider: str) -> str:
    """Return the module with the provider's name of each model that nginx serves, by our names of it."""
    names = {
        name: route.provider_model
        for route in routes
        if route.provider == provider and route.mode in {"chat", "embedding"}
        for name in (route.name, *route.aliases)
    }
    return f"export default {json.dumps(names, indent=2, sort_keys=True)};\n"
