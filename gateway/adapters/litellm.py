"""LiteLLM Proxy, from the portal's side: its configuration, written from the catalogue, and its usage
journal, read.

The plugin that runs inside LiteLLM is in gateway/plugins/litellm; the two meet only over HTTP.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from string import Template
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from core import clock, outbound
from core.outbound import Answer, UnsafeAddressError
from gateway.auth import credential_of, signed_headers
from gateway.models import Gateway
from usage.ports import SourceUnavailableError, UsagePage

FEED_PATH = "/purser/v1/usage"
MAX_FEED_BYTES = 8 * 1024 * 1024
# LiteLLM's name of a provider, the variable that holds its key, and the path below an address.
PROVIDERS: Mapping[str, tuple[str, str, str]] = {
    "openai": ("openai", "OPENAI_API_KEY", "/v1"),
    "anthropic": ("anthropic", "ANTHROPIC_API_KEY", ""),
    "google": ("gemini", "GEMINI_API_KEY", ""),
}
UPSTREAM_KEY = "UPSTREAM_API_KEY"
REDIS_URL = "GATEWAY_REDIS_URL"
CACHES = ("local", "redis", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRoute:
    """One model of the catalogue as a gateway serves it."""

    name: str
    provider: str
    provider_model: str
    mode: str
    tier: int
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigOptions:
    """How the gateway serves: `upstream` stands in for all providers, `cache` is local, redis or none."""

    upstream: str | None = None
    cache: str = "local"
    cache_ttl_seconds: int = 600
    call_seconds: int = 570
    retries: int = 2
    parallel_calls_per_worker: int = 200
    parallel_calls_per_model: int = 100
    fallbacks: bool = True


def render_config(routes: Sequence[ModelRoute], options: ConfigOptions, *, template: str) -> str:
    """Return LiteLLM's config.yaml.

    Values are written as JSON, which YAML contains, so no name can break out of its place.
    """
    aliases = {alias: route.name for route in routes for alias in route.aliases}
    return Template(template).substitute(
        models="\n".join(f"  - {json.dumps(_deployment(route, options))}" for route in routes) or "  []",
        aliases=json.dumps(aliases),
        fallbacks=json.dumps(fallbacks(routes) if options.fallbacks else []),
        cache=json.dumps(options.cache != "none"),
        cache_params=json.dumps(_cache_params(options)),
        call_seconds=options.call_seconds,
        retries=options.retries,
        parallel_calls_per_worker=options.parallel_calls_per_worker,
        parallel_calls_per_model=options.parallel_calls_per_model,
    )


def fallbacks(routes: Sequence[ModelRoute]) -> list[dict[str, list[str]]]:
    """Return one fallback for each model that has one: the same tier and mode, at another provider.

    A fallback never leaves the tier that the call was authorised for; what served is priced.
    """
    found = []
    for route in sorted(routes, key=lambda one: one.name):
        others = [
            other.name
            for other in sorted(routes, key=lambda one: one.name)
            if (other.tier, other.mode) == (route.tier, route.mode) and other.provider != route.provider
        ]
        if others:
            found.append({route.name: others[:1]})
    return found


class LiteLlmJournal:
    """The usage journal of one LiteLLM gateway, page by page. Implements usage.ports.UsageSource.

    It is called as every address that was entered: guarded by core.outbound, in GATEWAY_ALLOWED_NETWORKS
    besides the public internet.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def name(self) -> str:
        """Return the public id of the gateway."""
        return self._gateway.public_id

    def page(self, cursor: str, *, limit: int) -> UsagePage:
        """Return the journal lines after `cursor`. Raises SourceUnavailableError."""
        document = self._read(f"{FEED_PATH}?{urlencode({'cursor': cursor, 'limit': limit})}")
        rows, next_cursor, has_more = (document.get(name) for name in ("items", "next_cursor", "has_more"))
        if not isinstance(rows, list) or not isinstance(next_cursor, str) or not isinstance(has_more, bool):
            raise SourceUnavailableError(
                "The gateway answered with something that is not a page of its journal."
            )
        return UsagePage(rows=rows, next_cursor=next_cursor, has_more=has_more)

    def _read(self, target: str) -> dict[str, Any]:
        headers = signed_headers(
            credential=credential_of(self._gateway),
            method="GET",
            target=target,
            body=b"",
            now_seconds=clock.now().timestamp(),
        )
        url, networks = self._gateway.base_url.rstrip("/") + target, settings.GATEWAY_ALLOWED_NETWORKS
        try:
            answer = outbound.get(url, headers=headers, networks=networks, most_bytes=MAX_FEED_BYTES)
        except UnsafeAddressError as error:
            raise SourceUnavailableError(
                f"The gateway {self._gateway.name} may not be called: {error} Its network can be named in"
                " GATEWAY_ALLOWED_NETWORKS."
            ) from error
        except (OSError, HTTPException) as error:
            raise SourceUnavailableError(
                f"The gateway {self._gateway.name} cannot be reached: {error}"
            ) from error
        return _document(answer)


def _document(answer: Answer) -> dict[str, Any]:
    if len(answer.body) >= MAX_FEED_BYTES:
        raise SourceUnavailableError(f"The gateway's answer is larger than {MAX_FEED_BYTES // 1024**2} MiB.")
    try:
        document = json.loads(answer.body)
    except ValueError:
        document = None
    if answer.status != HTTPStatus.OK or not isinstance(document, dict):
        code = document.get("code", "") if isinstance(document, dict) else ""
        raise SourceUnavailableError(f"The gateway answered {answer.status} {code}".strip() + ".")
    return document


def _deployment(route: ModelRoute, options: ConfigOptions) -> dict[str, Any]:
    """One entry of model_list.

    Its id is the catalogue's name, which tells a settlement what really served.
    """
    prefix, key_variable, path = PROVIDERS[route.provider]
    params: dict[str, Any] = {
        "model": f"{prefix}/{route.provider_model}",
        "api_key": f"os.environ/{key_variable}",
    }
    if options.upstream is not None:
        if prefix == "gemini":  # the stand-in speaks OpenAI and Anthropic only
            prefix, path = "openai", "/v1"
        params = {
            "model": f"{prefix}/{route.provider_model}",
            "api_key": f"os.environ/{UPSTREAM_KEY}",
            "api_base": options.upstream.rstrip("/") + path,
        }
    params["max_retries"] = (
        0  # the router retries; a client library that retries as well would multiply the attempts
    )
    return {
        "model_name": route.name,
        "litellm_params": params,
        "model_info": {"id": route.name, "mode": route.mode},
    }


def _cache_params(options: ConfigOptions) -> dict[str, Any]:
    if options.cache == "none":
        return {}
    calls = ["acompletion", "atext_completion", "aembedding"]
    common = {"ttl": options.cache_ttl_seconds, "supported_call_types": calls}
    if options.cache == "local":
        return {"type": "local", **common}
    return {"type": "redis", "url": f"os.environ/{REDIS_URL}", "namespace": "purser-gateway", **common}
