"""The FinOps Open Cost and Usage Specification (FOCUS), version 1.0: a row of usage as its columns. Pure.

Source: https://focus.finops.org/focus-specification/v1-0/. One row is what one key used of one model on one
day of the organisation. A price of FOCUS is for a unit of one kind; ours differ by the kind of token, so a
row bears what a million of its own tokens cost on average, and the counts by kind have columns of our own.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.conf import settings

from core.money import ZERO, quantise
from core.spreadsheets import Cell
from usage.selectors.export import ExportRow
from usage.selectors.periods import day_starts_at, this_month

VERSION = "1.0"
TOKENS_A_UNIT = 1_000_000
A_DECIMAL = Decimal("1.0")  # quantities are decimals to the specification, also whole ones
# Without a provider's say there are no discounts and no commitments: list, contracted, effective and billed
# cost are the one that Purser charged.
HEAD = (
    *("BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "BillingCurrency"),
    *("BillingAccountId", "BillingAccountName", "SubAccountId", "SubAccountName"),
    *("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd"),
    *("ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency"),
    *("ProviderName", "PublisherName", "InvoiceIssuerName"),
    *("ServiceCategory", "ServiceName", "SkuId", "SkuPriceId"),
    *("ResourceId", "ResourceName", "ResourceType", "RegionId", "RegionName"),
    *("ConsumedQuantity", "ConsumedUnit", "PricingQuantity", "PricingUnit", "PricingCategory"),
    *("ListUnitPrice", "ContractedUnitPrice"),
    *("CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName"),
    *("CommitmentDiscountStatus", "CommitmentDiscountType", "Tags"),
    *("x_ModelName", "x_TierNumber", "x_Calls", "x_InputTokens", "x_CachedInputTokens"),
    *("x_CacheWriteTokens", "x_OutputTokens", "x_ReasoningTokens"),
)


def rows(found: Iterable[ExportRow]) -> Iterator[tuple[Cell, ...]]:
    """Give the rows of a FOCUS file in the order of `HEAD`."""
    for row in found:
        columns = {**_cost(row), **_place(row), **_time(row.day), **_charge(row), **_own(row)}
        yield tuple(columns.get(name) for name in HEAD)


def _cost(row: ExportRow) -> dict[str, Cell]:
    """Write the cost and its average price; what has no tokens is counted in requests."""
    if row.tokens:
        consumed, unit = row.tokens, "Tokens"
        quantity, pricing_unit = Decimal(row.tokens) / TOKENS_A_UNIT, "1000000 Tokens"
    else:
        consumed, unit = row.calls, "Requests"
        quantity, pricing_unit = Decimal(row.calls).quantize(A_DECIMAL), "Requests"
    price = quantise(row.cost_usd / quantity) if quantity else ZERO
    cost = dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), row.cost_usd)
    return {
        **cost,
        "BillingCurrency": "USD",
        "ConsumedQuantity": Decimal(consumed).quantize(A_DECIMAL),
        "ConsumedUnit": unit,
        "PricingQuantity": quantity,
        "PricingUnit": pricing_unit,
        "PricingCategory": "Standard",
        "ListUnitPrice": price,
        "ContractedUnitPrice": price,
    }


def _place(row: ExportRow) -> dict[str, Cell]:
    tags = {
        "department": row.department_code,
        "team": row.team_code,
        "project": row.project_code,
        "cost_centre": row.cost_centre,
        "owner": row.owner_public_id,
        "tier": str(row.tier_number),
    }
    return {
        "BillingAccountId": settings.ORGANISATION_NAME,
        "BillingAccountName": settings.ORGANISATION_NAME,
        "SubAccountId": row.project_public_id,
        "SubAccountName": row.project_name,
        "ResourceId": row.key_public_id or None,
        "ResourceName": row.key_name or None,
        "ResourceType": "API Key" if row.key_public_id else None,
        "Tags": json.dumps(tags, sort_keys=True),
    }


def _time(day: date) -> dict[str, Cell]:
    month = this_month(day)
    return {
        "BillingPeriodStart": _moment(month.first_day),
        "BillingPeriodEnd": _moment(month.last_day + timedelta(days=1)),
        "ChargePeriodStart": _moment(day),
        "ChargePeriodEnd": _moment(day + timedelta(days=1)),
    }


def _charge(row: ExportRow) -> dict[str, Cell]:
    sku = f"{row.provider.lower()}/{row.model_name}"
    return {
        "ChargeCategory": "Usage",
        "ChargeClass": "Correction" if row.cost_usd < 0 else None,
        "ChargeDescription": f"{row.calls:,} calls of {row.model_name}",
        "ChargeFrequency": "Usage-Based",
        "ProviderName": row.provider,
        "PublisherName": row.provider,
        "InvoiceIssuerName": row.provider,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": f"{row.provider} API",
        "SkuId": sku,
        "SkuPriceId": f"{sku}/average",
    }


def _own(row: ExportRow) -> dict[str, Cell]:
    return {
        "x_ModelName": row.model_name,
        "x_TierNumber": row.tier_number,
        "x_Calls": row.calls,
        "x_InputTokens": row.input_tokens,
        "x_CachedInputTokens": row.cached_tokens,
        "x_CacheWriteTokens": row.cache_write_tokens,
        "x_OutputTokens": row.output_tokens,
        "x_ReasoningTokens": row.reasoning_tokens,
    }


def _moment(day: date) -> str:
    """Return the start of the organisation's day in UTC."""
    start: datetime = day_starts_at(day).astimezone(UTC)
    return f"{start:%Y-%m-%dT%H:%M:%SZ}"
