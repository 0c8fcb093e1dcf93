"""LiteLLM's hooks: authentication, the decision before a call, and its settlement after."""

import asyncio
import hmac
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy import proxy_server
from litellm.proxy._types import LitellmUserRoles, ProxyException, UserAPIKeyAuth
from pydantic import PrivateAttr

from . import bodies, failures
from .calls import RESERVATION_FIELD, Call, Exchange, reservation_in
from .edge import SCOPE_KEY, Edge
from .estimates import estimated
from .refusals import (
    UNAVAILABLE,
    Refusal,
    invalid_key,
    invalid_request,
    route_not_allowed,
    unmetered_caller,
)
from .runtime import Runtime
from .usage import finish_of, normalised, served_context, usage_of

log = logging.getLogger("purser")
LOGGED_FIELD = "spend_logs_metadata"


class PurserKey(UserAPIKeyAuth):
    """A client's identity for LiteLLM, which logs and serialises its fields: they hold no key."""

    _exchange: Exchange | None = PrivateAttr(default=None)

    @property
    def exchange(self) -> Exchange | None:
        """The request that this identity was made for."""
        return self._exchange

    @classmethod
    def of(cls, exchange: Exchange, *, api_key: str, role: LitellmUserRoles) -> "PurserKey":
        """Make the identity of one request. `api_key` is a fingerprint or the master key."""
        identity = cls(api_key=api_key, user_role=role)
        identity._exchange = exchange
        return identity


def refuse(exchange: Exchange | None, refusal: Refusal) -> ProxyException:
    """Note a refusal for the edge; return what must be raised, since anything else becomes a bare 500."""
    if exchange is not None:
        exchange.refusal = refusal
    return ProxyException(
        message=refusal.detail,
        type=refusal.code,
        param=None,
        code=refusal.status,
        headers=dict(refusal.headers),
        openai_code=refusal.code,
    )


def install(runtime: Runtime) -> None:
    """Wrap LiteLLM's application, which is built already when plugins are loaded.

    A second call changes nothing.
    """
    app = proxy_server.app
    if not isinstance(proxy_server.proxy_shutdown_event, Ending):
        proxy_server.proxy_shutdown_event = Ending(runtime, proxy_server.proxy_shutdown_event)
    if app.middleware_stack is None:
        app.middleware_stack = app.build_middleware_stack()
    if not isinstance(app.middleware_stack, Edge):
        app.middleware_stack = Edge(app.middleware_stack, runtime)


class Ending:
    """LiteLLM's own shutdown, with the plugin's before it: a signal ends the process right after."""

    def __init__(self, runtime: Runtime, ending: Callable[..., Awaitable[None]]) -> None:
        self._runtime = runtime
        self._ending = ending

    async def __call__(self, *arguments: Any, **named: Any) -> None:
        await self._runtime.stop()
        await self._ending(*arguments, **named)


class Hooks(CustomLogger):
    """The callback object.

    `async_pre_call_hook` must be defined on this very class: an inherited one is silently skipped.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime

    async def authenticate(self, request: Request, api_key: str) -> UserAPIKeyAuth:
        """Let a well-formed Purser key through to the pre-call hook, on metered routes only.

        The master key stays administrator. Raises ProxyException.
        """
        exchange = request.scope.get(SCOPE_KEY)
        if not isinstance(exchange, Exchange):
            raise refuse(None, UNAVAILABLE)
        if exchange.key is None and _is_master_key(api_key):
            return PurserKey.of(exchange, api_key=api_key, role=LitellmUserRoles.PROXY_ADMIN)
        if not exchange.well_formed or api_key != exchange.fingerprint:
            raise refuse(exchange, invalid_key(self._runtime.settings.public_url))
        if exchange.method != "POST" or exchange.path not in bodies.ROUTES:
            raise refuse(exchange, route_not_allowed(exchange.path))
        return PurserKey.of(exchange, api_key=api_key, role=LitellmUserRoles.INTERNAL_USER)

    async def async_pre_call_hook(
        self, user_api_key_dict: UserAPIKeyAuth, cache: object, data: dict[str, Any], call_type: str
    ) -> None:
        """Wait for the portal's decision and write it into the request."""
        exchange = _exchange_of(user_api_key_dict)
        if exchange is None or exchange.key is None:
            raise refuse(exchange, unmetered_caller())
        route = bodies.ROUTES[exchange.path]
        if call_type not in route.call_types:
            raise refuse(exchange, route_not_allowed(exchange.path))
        try:
            outcome = await self._runtime.decide(exchange, data)
        except bodies.BadBodyError as error:
            raise refuse(exchange, invalid_request(str(error))) from None
        if isinstance(outcome, Refusal):
            raise refuse(exchange, outcome)
        bodies.set_output_limit(route, data, outcome.max_output_tokens)
        own = _own_metadata(data)
        own[RESERVATION_FIELD] = outcome.reservation
        logged = own.get(
            LOGGED_FIELD
        )  # what a gateway with a database keeps of the metadata in its spend logs
        own[LOGGED_FIELD] = {
            **(logged if isinstance(logged, dict) else {}),
            RESERVATION_FIELD: outcome.reservation,
        }

    async def async_post_call_response_headers_hook(
        self,
        data: dict[str, Any],
        user_api_key_dict: UserAPIKeyAuth,
        response: object,
        request_headers: dict[str, str] | None = None,
    ) -> None:
        """Keep the answer at hand: a stream that breaks, or a call whose log was lost, is counted by it."""
        exchange = _exchange_of(user_api_key_dict)
        if exchange is not None and exchange.call is not None and not exchange.call.closed:
            exchange.call.answer = getattr(response, "inner", response)

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: object, start_time: object, end_time: object
    ) -> None:
        """Settle a call that succeeded.

        A client that hung up arrives here too, with LiteLLM's own count of what it got.
        """
        call = self._call_of(kwargs)
        if call is None:
            return
        log_entry = kwargs.get("standard_logging_object") or {}
        reported = (log_entry.get("metadata") or {}).get("usage_object")
        usage = normalised(reported) or usage_of(response_obj)
        hung_up = _is_disconnected(kwargs)
        self._runtime.settle(
            call,
            usage if usage is not None else await asyncio.to_thread(estimated, call),
            served_model=_served_model(log_entry),
            served_context=served_context(response_obj, log_entry),
            finish="cancelled" if hung_up else finish_of(response_obj),
            estimated=hung_up or usage is None,
            cache_hit=bool(kwargs.get("cache_hit")),
            provider_id=getattr(response_obj, "id", None),
            cost_usd=_cost_of(log_entry),
        )

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: UserAPIKeyAuth,
        traceback_str: str | None = None,
    ) -> None:
        """Close a request that failed for good.

        A failed attempt is not the end: a retry or a fallback may still serve.
        """
        exchange = _exchange_of(user_api_key_dict)
        call = exchange.call if exchange is not None else None
        if call is None or call.closed:
            return
        if failures.nothing_was_done(original_exception, streaming=call.answer is not None):
            self._runtime.release(call, reason=failures.reason_of(original_exception))
            return
        usage = await asyncio.to_thread(estimated, call, request_data.get("combined_usage_object"))
        log_entry = request_data.get("standard_logging_object") or {}
        self._runtime.settle(
            call, usage, served_model=_served_model(log_entry), finish="error", estimated=True
        )

    def _call_of(self, kwargs: dict[str, Any]) -> Call | None:
        params = kwargs.get("litellm_params") or {}
        found = reservation_in(
            params.get("litellm_metadata"),
            params.get("metadata"),
            kwargs.get("litellm_metadata"),
            kwargs.get("metadata"),
        )
        return self._runtime.calls.find(found)


def _exchange_of(identity: UserAPIKeyAuth) -> Exchange | None:
    return identity.exchange if isinstance(identity, PurserKey) else None


def _own_metadata(data: dict[str, Any]) -> dict[str, Any]:
    """LiteLLM's own metadata: `litellm_metadata` on the routes where `metadata` is the provider's."""
    found = data.get("litellm_metadata")
    own: dict[str, Any] = found if isinstance(found, dict) else data.setdefault("metadata", {})
    return own


def _is_master_key(api_key: object) -> bool:
    master_key = proxy_server.master_key
    return (
        bool(master_key)
        and isinstance(api_key, str)
        and hmac.compare_digest(api_key.encode(), str(master_key).encode())
    )


def _is_disconnected(kwargs: dict[str, Any]) -> bool:
    params = kwargs.get("litellm_params") or {}
    sources = (params.get("metadata"), params.get("litellm_metadata"), kwargs.get("metadata"))
    return any(isinstance(source, dict) and source.get("client_disconnected") is True for source in sources)


def _cost_of(log_entry: dict[str, Any]) -> float | None:
    cost = log_entry.get("response_cost")
    return float(cost) if isinstance(cost, int | float) and math.isfinite(cost) else None


def _served_model(log_entry: dict[str, Any]) -> str | None:
    """The catalogue name of what really served: that of the deployment, else of the model group."""
    router, model_id = proxy_server.llm_router, log_entry.get("model_id")
    deployment = (
        router.get_deployment(model_id=model_id) if router is not None and isinstance(model_id, str) else None
    )
    name = deployment.model_name if deployment is not None else log_entry.get("model_group")
    return name if isinstance(name, str) and name else None
