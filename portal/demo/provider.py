"""What the demo's providers say of a history that is booked: the same, but for what reconciliation finds.

A key that nobody registered, a registered key that is used beside the gateway, and a rate that rose.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from catalog.models import Provider
from core.money import ZERO
from gateway.models import Gateway
from teams.models import User
from usage.models import (
    ImportCursor,
    ProviderAccount,
    ProviderCost,
    ProviderUsage,
    SourceKind,
    UpstreamCredential,
)
from usage.services import reconcile_costs, reconcile_volumes
from usage.services.reports import source_name
from usage.tokens import TOKEN_FIELDS

ACCOUNTS = {
    Provider.OPENAI: "org-northwind",
    Provider.ANTHROPIC: "northwind-prod",
    Provider.GOOGLE: "northwind-ai",
}
# What an administrator would have given; Google has no reports that are read.
CREDENTIALS = {
    Provider.OPENAI: "env:NORTHWIND_OPENAI_ADMIN_KEY",
    Provider.ANTHROPIC: "env:NORTHWIND_ANTHROPIC_ADMIN_KEY",
}
ASKED_AFTER = timedelta(days=30)
COMPARED_DAYS = 3  # the worker compares the others, when there is one
STRANGER, STRANGER_FOR, STRANGER_SHARE = "key-made-on-a-laptop", timedelta(days=9), Decimal("0.02")
SHARED, SHARED_FOR, SHARED_SHARE = Provider.ANTHROPIC, timedelta(days=5), Decimal("0.12")
DEARER_MODEL, DEARER_FOR, DEARER_BY = "gpt-6.1-sol", timedelta(days=14), Decimal("1.08")
USAGE_IS_FINAL, COST_IS_FINAL = timedelta(days=1), timedelta(days=3)
CENT_FRACTION = Decimal("0.000001")
BY_DAY = """
    SELECT (e.at AT TIME ZONE 'UTC')::date AS day, m.provider, m.name, count(*) AS requests,
      sum(e.cost_usd) AS cost_usd, sum(e.input_tokens)::bigint, sum(e.cached_tokens)::bigint,
      sum(e.cache_write_tokens)::bigint, sum(e.output_tokens)::bigint, sum(e.reasoning_tokens)::bigint
    FROM usage_event e JOIN catalog_llmmodel m ON m.id = e.model_id
    WHERE e.source = %s AND NOT e.cache_hit GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
COUNTED = ("requests", *TOKEN_FIELDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What the books hold of one UTC day and model, gateway caches left out."""

    day: date
    provider: Provider
    model: str
    cost_usd: Decimal
    counts: Mapping[str, int]

    def times(self, share: Decimal) -> dict[str, int]:
        """Return the counts, so many times."""
        return {name: int(count * share) for name, count in self.counts.items()}


def tell_figures(*, actor: User, gateway: Gateway, now: datetime) -> None:
    """Write accounts, our keys there, and every day's figures as read a moment ago; compare the last days."""
    accounts = {
        provider: ProviderAccount.objects.create(
            provider=provider, name=name, admin_credential=CREDENTIALS.get(provider, "")
        )
        for provider, name in ACCOUNTS.items()
    }
    keys = {
        provider: UpstreamCredential.objects.create(
            account=account,
            external_id=f"key-{provider}-gateway",
            label=f"Gateway {gateway.name}",
            held_by=gateway.public_id,
            registered_by=actor,
        )
        for provider, account in accounts.items()
    }
    today = now.astimezone(UTC).date()
    sums = [each for each in _sums(gateway) if each.day < today]
    usage = (row for each in sums for row in _usage(each, keys[each.provider], today))
    ProviderUsage.objects.bulk_create(
        (
            ProviderUsage(
                account=accounts[each.provider],
                day=each.day,
                model_name=each.model,
                read_at=now,
                data_refreshed_at=_end_of(today - timedelta(days=1)),
                final=today - each.day > USAGE_IS_FINAL,
                **fields,
            )
            for each, fields in usage
        ),
        batch_size=1_000,
    )
    ProviderCost.objects.bulk_create(
        (
            ProviderCost(
                account=accounts[each.provider],
                day=each.day,
                line_item=each.model,
                model_name=each.model,
                upstream_key=key,
                amount_usd=amount,
                read_at=now,
                data_refreshed_at=_end_of(today - timedelta(days=1)),
                final=today - each.day > COST_IS_FINAL,
            )
            for each in sums
            for key, amount in _costs(each, keys[each.provider], today)
        ),
        batch_size=1_000,
    )
    _note_reading(accounts, days=len({each.day for each in sums}), now=now)
    for account in accounts.values():
        for back in range(COMPARED_DAYS, 0, -1):
            reconcile_volumes(account=account, day=today - timedelta(days=back))
            reconcile_costs(account=account, day=today - timedelta(days=back))


def _note_reading(accounts: Mapping[Provider, ProviderAccount], *, days: int, now: datetime) -> None:
    """Write down that the reports were read a moment ago.

    Nobody stands behind the demo's accounts, so none of them is asked for long.
    """
    ImportCursor.objects.bulk_create(
        ImportCursor(
            source=source_name(accounts[provider], kind),
            kind=kind,
            last_success_at=now,
            last_row_at=_end_of(now.astimezone(UTC).date() - timedelta(days=1)),
            rows_read=days,
            next_attempt_at=now + ASKED_AFTER,
        )
        for provider in CREDENTIALS
        for kind in (SourceKind.USAGE, SourceKind.COST)
    )


def _sums(gateway: Gateway) -> Iterator[Sums]:
    with connection.cursor() as cursor:
        cursor.execute(BY_DAY, [gateway.public_id])
        for day, provider, model, requests, cost_usd, *tokens in cursor.fetchall():
            counts = dict(zip(COUNTED, (requests, *tokens), strict=True))
            yield Sums(day=day, provider=Provider(provider), model=model, cost_usd=cost_usd, counts=counts)


def _usage(each: Sums, key: UpstreamCredential, today: date) -> Iterator[tuple[Sums, dict[str, Any]]]:
    """Give a day's figures by key: ours, with what somebody used beside the gateway, and a stranger's."""
    yield each, {"upstream_key": key.external_id, **each.times(1 + _shared(each, today))}
    if _is_stranger(each, today):
        yield each, {"upstream_key": STRANGER, **each.times(STRANGER_SHARE)}


def _costs(each: Sums, key: UpstreamCredential, today: date) -> Iterator[tuple[str, Decimal]]:
    is_dearer = each.model == DEARER_MODEL and today - each.day <= DEARER_FOR
    rate = DEARER_BY if is_dearer else Decimal(1)
    amount = each.cost_usd * rate * (1 + _shared(each, today))
    yield key.external_id, amount.quantize(CENT_FRACTION)
    if _is_stranger(each, today):
        yield STRANGER, (each.cost_usd * rate * STRANGER_SHARE).quantize(CENT_FRACTION)


def _shared(each: Sums, today: date) -> Decimal:
    return SHARED_SHARE if each.provider is SHARED and today - each.day <= SHARED_FOR else ZERO


def _is_stranger(each: Sums, today: date) -> bool:
    return each.provider is Provider.OPENAI and today - each.day <= STRANGER_FOR


def _end_of(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time.min, tzinfo=UTC)
