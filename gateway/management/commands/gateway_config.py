"""`manage.py gateway_config PRODUCT --out DIR`: all that a gateway needs, written into one directory."""

import os
import secrets
import shutil
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from catalog.selectors import models_with_aliases, unpriced_models
from core.errors import InvalidInputError
from gateway.adapters.litellm import CACHES, ConfigOptions, ModelRoute, render_config
from gateway.adapters.nginx_config import (
    CERTIFICATES,
    UPSTREAMS,
    NginxOptions,
    render_conf,
    render_models,
    standing_in,
)
from gateway.auth import secret_for
from gateway.hot.holds import shortest_hold_seconds
from gateway.models import Gateway, GatewayKind, LogKind
from gateway.services import register_gateway, register_log, rotate_gateway_secret

PLUGINS = Path(settings.BASE_DIR) / "gateway" / "plugins"
PLUGIN, NGINX = PLUGINS / "litellm", PLUGINS / "nginx"
ENVIRONMENT_FILE = "gateway.env"
# A call may not outlive its hold: the portal would charge its bound first and correct it later.
CALL_MARGIN_SECONDS = 30
SERVED_MODES = ("chat", "embedding")


class Command(BaseCommand):
    """Write a gateway's configuration, plugin and environment."""

    help = "Write a gateway's configuration from the catalogue, its plugin and its environment file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("product", choices=[kind.value for kind in GatewayKind])
        parser.add_argument(
            "--out", type=Path, required=True, help="The directory to write; made when missing."
        )
        parser.add_argument("--name", help="The gateway's name in Purser; the product's unless set.")
        parser.add_argument(
            "--base-url", default=settings.GATEWAY_PUBLIC_URL, help="Where Purser reaches the gateway."
        )
        parser.add_argument(
            "--portal-url", default=settings.BASE_URL, help="Where the gateway reaches Purser."
        )
        parser.add_argument("--upstream", help="One address that stands in for all providers, for trials.")
        parser.add_argument(
            "--cache",
            choices=CACHES,
            default="local",
            help="The cache of answers; redis reads GATEWAY_REDIS_URL.",
        )
        parser.add_argument(
            "--ca-file", type=Path, default=CERTIFICATES, help="Whom nginx trusts to vouch for providers."
        )
        parser.add_argument("--listen", default="127.0.0.1:4400", help="Where nginx listens.")
        parser.add_argument("--log", type=Path, help="nginx's log of usage, in GATEWAY_LOG_DIRECTORY.")
        parser.add_argument(
            "--no-fallbacks", action="store_true", help="Never serve a call by another model."
        )
        parser.add_argument(
            "--rotate", action="store_true", help="Make a new secret live; the one before it stays valid."
        )

    def handle(self, *_arguments: Any, **options: Any) -> None:
        kind = GatewayKind(options["product"])
        gateway = register_gateway(
            actor=None,
            name=options["name"] or kind.value,
            kind=kind,
            base_url="" if kind == GatewayKind.NGINX else options["base_url"].rstrip("/"),
        )
        if options["rotate"]:
            gateway = rotate_gateway_secret(actor=None, gateway=gateway)
        out: Path = options["out"].resolve()
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        routes = model_routes()
        WRITERS[kind](out, gateway, routes, options)
        self.stdout.write(
            f"Wrote {len(routes)} models for gateway {gateway.name} ({gateway.public_id}) to {out}."
        )


def write_litellm(
    out: Path, gateway: Gateway, routes: Sequence[ModelRoute], options: Mapping[str, Any]
) -> None:
    """Write LiteLLM's configuration, the plugin and the environment."""
    config = ConfigOptions(
        upstream=options["upstream"],
        cache=options["cache"],
        call_seconds=call_seconds(),
        fallbacks=not options["no_fallbacks"],
    )
    write_plugin(out)
    template = (PLUGIN / "config.yaml.template").read_text()
    (out / "config.yaml").write_text(render_config(routes, config, template=template))
    write_environment(out, gateway, portal_url=options["portal_url"].rstrip("/"))


def write_nginx(
    out: Path, gateway: Gateway, routes: Sequence[ModelRoute], options: Mapping[str, Any]
) -> None:
    """Write nginx's configuration, its program and its secret, and have its log read.

    Raises CommandError for a log outside of the directory of logs.
    """
    log = options["log"] or Path(settings.GATEWAY_LOG_DIRECTORY) / f"{gateway.name}.log"
    try:
        register_log(actor=None, gateway=gateway, kind=LogKind.NGINX, place=str(log.resolve()))
    except InvalidInputError as error:
        raise CommandError(error.detail) from error
    upstream = options["upstream"]
    conf = NginxOptions(
        out=out,
        log=log.resolve(),
        gateway=gateway.public_id,
        portal=options["portal_url"].rstrip("/"),
        upstreams=standing_in(upstream.rstrip("/")) if upstream else UPSTREAMS,
        certificates=options["ca_file"].resolve(),
        listen=options["listen"],
        call_seconds=call_seconds(),
    )
    write_program(out, conf, routes)
    secret = secret_for(gateway, max(gateway.live_versions))
    write_private(out / ENVIRONMENT_FILE, {"PURSER_GATEWAY_SECRET": secret})


def write_program(out: Path, conf: NginxOptions, routes: Sequence[ModelRoute]) -> None:
    """Write nginx's configuration, its program and what that knows of models."""
    template, place = ((NGINX / f"{name}.conf.template").read_text() for name in ("nginx", "provider"))
    (out / "tmp").mkdir(exist_ok=True)
    (out / "nginx.conf").write_text(render_conf(conf, template=template, provider_template=place))
    (out / "purser_models.js").write_text(render_models(routes, upstreams=conf.upstreams))
    shutil.copy(NGINX / "purser.js", out)


WRITERS = {GatewayKind.LITELLM: write_litellm, GatewayKind.NGINX: write_nginx}


def call_seconds() -> int:
    """Return how long a call may last: less than the shortest hold of what is served."""
    hold = min(shortest_hold_seconds(mode) for mode in SERVED_MODES)
    return max(CALL_MARGIN_SECONDS, int(hold) - CALL_MARGIN_SECONDS)


def model_routes() -> list[ModelRoute]:
    """Return every model that may be called and has a price in force."""
    unpriced = {model.pk for model in unpriced_models()}
    return [
        ModelRoute(
            name=model.name,
            provider=model.provider,
            provider_model=model.provider_model,
            mode=model.mode,
            tier=model.tier_id,
            aliases=tuple(sorted(alias.name for alias in model.aliases.all())),
        )
        for model in models_with_aliases()
        if model.pk not in unpriced
    ]


def write_plugin(out: Path) -> None:
    """Copy the plugin into `out`, in place of an older one."""
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copy(PLUGIN / "purser_litellm.py", out)
    shutil.rmtree(out / "purser_plugin", ignore_errors=True)
    shutil.copytree(
        PLUGIN / "purser_plugin", out / "purser_plugin", ignore=shutil.ignore_patterns("__pycache__")
    )


def write_environment(out: Path, gateway: Gateway, *, portal_url: str) -> None:
    """Write the environment file, readable by its owner only.

    The master key and the switch for leases stay as they are in a file that is there already.
    """
    path = out / ENVIRONMENT_FILE
    before = read_environment(path)
    newest, *older = sorted(gateway.live_versions, reverse=True)
    values = {
        "PURSER_URL": portal_url,
        "PURSER_PUBLIC_URL": settings.BASE_URL,
        "PURSER_GATEWAY_ID": gateway.public_id,
        "PURSER_GATEWAY_SECRET": secret_for(gateway, newest),
        "PURSER_GATEWAY_SECRET_2": secret_for(gateway, older[0]) if older else "",
        "PURSER_STATE_DIR": str(out / "state"),
        # 1: the gateway decides calls of busy keys by itself for a while; docs/gateways/litellm.md says when.
        "PURSER_LEASES": before.get("PURSER_LEASES") or "0",
        "PURSER_LEASE_WANT_USD": before.get("PURSER_LEASE_WANT_USD") or "0.50",
        "LITELLM_MASTER_KEY": before.get("LITELLM_MASTER_KEY") or f"sk-{secrets.token_urlsafe(32)}",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    write_private(path, values)


def write_private(path: Path, values: Mapping[str, str]) -> None:
    """Write an environment file that its owner alone can read, in place of an older one."""
    fresh = path.with_suffix(".fresh")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())
    fresh.replace(path)


def read_environment(path: Path) -> Mapping[str, str]:
    """Return the variables of an environment file; none when it is missing."""
    if not path.exists():
        return {}
    lines = (
        line.partition("=") for line in path.read_text().splitlines() if line and not line.startswith("#")
    )
    return {name: value for name, _, value in lines}
