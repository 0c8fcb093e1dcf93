"""Authorise by Django REST framework, the ORM and row locks: the same tables, the same checks at the breadth
of the measurement, written as well as that can be.

The naive twin does all of it without transaction and locks: it reads the balances, checks, and adds.
"""

import hashlib
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import DateTimeField, F, Max, Q, QuerySet, Value
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.expressions import LimitAt
from budgets.models import Balance, Budget, Mode, RateLimit, Reservation, ScopeKind
from budgets.windows import Period, window_at
from catalog.models import LlmModel, Price
from core import clock
from gateway.auth import Credential, SignedRequest, credential_of, verify
from gateway.models import Gateway, UsedNonce
from keys import secrets
from keys.models import ApiKey, Grant

KEPT_SECONDS = 1.0
MINUTE = timedelta(minutes=1)
CENT_OF_A_CENT = Decimal(1).scaleb(-12)
_credentials: dict[str, tuple[float, Credential]] = {}


class AuthorizeIn(serializers.Serializer[dict[str, Any]]):
    """What is asked."""

    request_id = serializers.RegexField(r"^[\x21-\x7e]{8,64}$")
    key = serializers.CharField(max_length=200)
    model = serializers.CharField(max_length=100)
    route = serializers.ChoiceField(["/v1/chat/completions"])
    input_bytes = serializers.IntegerField(min_value=0)
    max_output_tokens = serializers.IntegerField(min_value=1, allow_null=True)


class Refused(Exception):  # noqa: N818  an answer, not an error
    """Ends the transaction with an answer."""

    def __init__(self, status: HTTPStatus, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a call may cost: the input for certain, then so much a token."""

    input_usd: Decimal
    output_token_usd: Decimal

    def of(self, output_tokens: int) -> Decimal:
        return (self.input_usd + output_tokens * self.output_token_usd).quantize(CENT_OF_A_CENT)


class Authorize(APIView):
    """Decides one call and holds its worst case."""

    locks = True

    def post(self, request: Request) -> Response:
        """Answer the question, in one transaction."""
        body = request._request.body  # noqa: SLF001  DRF has no name for the bytes that were signed
        try:
            credential, nonce = _verified(request, body)
            question = AuthorizeIn(data=request.data)
            question.is_valid(raise_exception=True)
            with transaction.atomic() if self.locks else nullcontext():
                _use_nonce(credential, nonce)
                made = self._decide(credential, question.validated_data, hashlib.sha256(body).digest())
        except Refused as refused:
            return Response({"code": refused.code}, status=refused.status)
        return Response(
            {
                "decision": "allow",
                "reservation": made.public_id,
                "expires_at": made.expires_at,
                "held_usd": str(made.held_usd),
                "max_output_tokens": made.max_output_tokens,
                "tier": made.tier_id,
                "warnings": made.warnings,
            }
        )

    def _decide(self, credential: Credential, asked: dict[str, Any], body_hash: bytes) -> Reservation:
        known = Reservation.objects.filter(
            source=credential.public_id, request_id=asked["request_id"]
        ).first()
        if known:
            if bytes(known.request_hash) != body_hash:
                raise Refused(HTTPStatus.CONFLICT, "request_id_reused")
            return known
        now = clock.now()
        key = _live_key(asked["key"], now)
        model, cost = _priced_model(asked, now)
        if model.tier_id > 1 and not _may_call(key, model, now):
            raise Refused(HTTPStatus.FORBIDDEN, "tier_not_granted")
        self._count_rate(key, now)
        path = _path(key, model, now)
        balances = self._balances(path)
        wanted = min(
            asked["max_output_tokens"] or model.tier.default_max_output_tokens, model.max_output_tokens or 0
        )
        free = min(
            budget.limit_usd - balance.spent_usd - balance.reserved_usd
            for (budget, _), balance in zip(path, balances, strict=True)
        )
        output, held = _clamped(cost, wanted=wanted, free=free, floor=model.tier.floor_max_output_tokens)
        Balance.objects.filter(pk__in=[balance.pk for balance in balances]).update(
            reserved_usd=F("reserved_usd") + held
        )
        return Reservation.objects.create(
            source=credential.public_id,
            request_id=asked["request_id"],
            request_hash=body_hash,
            key_id=key.pk,
            owner_id=key.owner_id,
            project_id=key.project_id,
            team_id=key.project.team_id,
            department_id=key.project.team.department_id,
            model_id=model.pk,
            tier_id=model.tier_id,
            context="standard",
            route=asked["route"],
            input_bound_tokens=asked["input_bytes"],
            max_output_tokens=output,
            held_usd=held,
            input_floor_usd=cost.input_usd,
            budget_ids=[balance.budget_id for balance in balances],
            window_starts=[balance.window_start for balance in balances],
            authorized_at=now,
            expires_at=now + timedelta(seconds=settings.HOLD_SECONDS),
        )

    def _locked(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.select_for_update(no_key=True, of=("self",)) if self.locks else rows.all()

    def _count_rate(self, key: ApiKey, now: datetime) -> None:
        """Let the call into the token bucket of each rate limit on its path, by GCRA."""
        on_path = RateLimit.objects.filter(_on_path(key)).order_by("pk")
        for rate in self._locked(on_path):
            if rate.requests_per_minute is None:
                continue
            arrival = max(rate.requests_tat or now, now) + MINUTE / rate.requests_per_minute
            if arrival > now + MINUTE:
                raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "rate_limited")
            RateLimit.objects.filter(pk=rate.pk).update(requests_tat=arrival)

    def _balances(self, path: Sequence[tuple[Budget, Period]]) -> list[Balance]:
        """Return the balance of each budget's window, locked in one order; missing ones are made first."""
        places = [(budget.pk, window.starts_at) for budget, window in path]
        rows = Balance.objects.filter(pk__in=places).order_by("budget_id", "window_start")
        found = list(self._locked(rows))
        if len(found) < len(places):
            Balance.objects.bulk_create(
                (
                    Balance(budget=budget, window_start=window.starts_at, window_end=window.ends_at)
                    for budget, window in path
                ),
                ignore_conflicts=True,
            )
            found = list(self._locked(rows))
        return found


class NaiveAuthorize(Authorize):
    """Reads, checks, adds, each by itself."""

    locks = False


def _verified(request: Request, body: bytes) -> tuple[Credential, str]:
    """Check the signature by a credential that is kept for a second, as the portal does."""
    public_id = request.headers.get("Purser-Gateway", "")
    kept = _credentials.get(public_id)
    if kept is None or time.monotonic() - kept[0] > KEPT_SECONDS:
        gateway = Gateway.objects.filter(public_id=public_id, disabled_at__isnull=True).first()
        if gateway is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "gateway_unknown")
        kept = _credentials[public_id] = (time.monotonic(), credential_of(gateway))
    signed = SignedRequest(
        method="POST",
        target=request.path,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
    )
    return kept[1], verify(signed, credential=kept[1], now_seconds=clock.now().timestamp())


def _use_nonce(credential: Credential, nonce: str) -> None:
    try:
        UsedNonce.objects.create(gateway_id=credential.gateway_id, nonce=nonce, used_at=clock.now())
    except IntegrityError as error:
        raise Refused(HTTPStatus.UNAUTHORIZED, "gateway_signature_replayed") from error


def _live_key(token: str, now: datetime) -> ApiKey:
    if not secrets.is_wellformed(token):
        raise Refused(HTTPStatus.UNAUTHORIZED, "invalid_api_key")
    key = (
        ApiKey.objects.select_related("owner", "project__team")
        .filter(secret_hmac__in=secrets.digests(token))
        .first()
    )
    if (
        key is None
        or key.revoked_at
        or key.expires_at <= now
        or not key.owner.is_active
        or key.project.archived_at
    ):
        raise Refused(HTTPStatus.UNAUTHORIZED, "invalid_api_key")
    if key.suspended_at:
        raise Refused(HTTPStatus.FORBIDDEN, "key_suspended")
    return key


def _priced_model(asked: dict[str, Any], now: datetime) -> tuple[LlmModel, Cost]:
    named = Q(name=asked["model"]) | Q(aliases__name=asked["model"])
    model = LlmModel.objects.select_related("tier").filter(named, retired_at__isnull=True).first()
    if model is None:
        raise Refused(HTTPStatus.NOT_FOUND, "model_unknown")
    input_tokens = min(asked["input_bytes"], model.context_window_tokens)
    dearest = Price.objects.filter(
        Q(valid_until__isnull=True) | Q(valid_until__gt=now),
        model=model,
        context="standard",
        valid_from__lte=now,
        tier_start__lte=input_tokens,
    ).aggregate(
        input=Max("usd_per_unit", filter=Q(unit__in=("input", "cached", "cache_write"))),
        output=Max("usd_per_unit", filter=Q(unit__in=("output", "reasoning"))),
    )
    if dearest["input"] is None or dearest["output"] is None:
        raise Refused(HTTPStatus.FORBIDDEN, "model_unpriced")
    return model, Cost(input_usd=input_tokens * dearest["input"], output_token_usd=dearest["output"])


def _may_call(key: ApiKey, model: LlmModel, now: datetime) -> bool:
    return (
        Grant.objects.filter(
            Q(model_ids=[]) | Q(model_ids__contains=[model.pk]),
            key=key,
            tier=model.tier_id,
            revoked_at__isnull=True,
            starts_at__lte=now,
            expires_at__gt=now,
        )
    ).exists()


def _on_path(key: ApiKey) -> Q:
    """Match the rows of the scopes that the key is part of."""
    team = key.project.team
    return (
        Q(scope_kind=ScopeKind.KEY, scope_id=key.pk)
        | Q(scope_kind=ScopeKind.PROJECT, scope_id=key.project_id)
        | Q(scope_kind=ScopeKind.TEAM, scope_id=team.pk)
        | Q(scope_kind=ScopeKind.DEPARTMENT, scope_id=team.department_id)
        | Q(scope_kind=ScopeKind.ORGANISATION)
    )


def _path(key: ApiKey, model: LlmModel, now: datetime) -> list[tuple[Any, Period]]:
    """Return the hard budgets that a call must fit, with limit and window, in the order of their locks."""
    budgets = (
        Budget.objects.filter(
            _on_path(key),
            Q(only_tier__isnull=True) | Q(only_tier=model.tier_id),
            Q(only_model__isnull=True) | Q(only_model=model.pk),
            closed_at__isnull=True,
            mode=Mode.HARD,
        )
        .annotate(limit_usd=LimitAt(F("pk"), Value(now, output_field=DateTimeField())))
        .order_by("pk")
    )
    return [
        (budget, window_at(budget.window, now, time_zone=budget.time_zone, anchor=budget.window_anchor))
        for budget in budgets
    ]


def _clamped(cost: Cost, *, wanted: int, free: Decimal, floor: int) -> tuple[int, Decimal]:
    """Return how many output tokens fit, and what they hold. Raises Refused when too few do."""
    output = wanted
    if cost.of(output) > free:
        output = max(min(wanted, int((free - cost.input_usd) / cost.output_token_usd)), min(wanted, floor))
    held = cost.of(output)
    if held > free:
        raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "budget_exhausted")
    return output, held
