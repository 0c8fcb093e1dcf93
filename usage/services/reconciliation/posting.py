"""Books corrections: an entry with its usage, sums and balances for each call or attribution."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import orjson
from django.conf import settings
from django.db import connection

from core import clock
from core.money import ZERO
from teams.models import User
from usage.models import Discrepancy, DiscrepancyClass, LedgerCorrection, ProviderAccount, UsageEvent
from usage.selectors.provider_books import key_groups, names_at
from usage.variance import shares

TOKENS = {
    "input_tokens": "input",
    "cached_tokens": "cached",
    "cache_write_tokens": "cache_write",
    "output_tokens": "output",
    "reasoning_tokens": "reasoning",
}
NOTHING = dict.fromkeys(TOKENS, 0)
ATTRIBUTION = (
    "source", "key_id", "owner_id", "project_id", "team_id", "department_id", "model_id", "tier_id",
)  # fmt: skip
# Whose usage a day's volume was, by what they were charged.
WHOSE_SQL = f"""
    SELECT {", ".join(ATTRIBUTION)}, sum(cost_usd), sum(input_tokens + output_tokens)
    FROM usage_event
    WHERE at >= %(start)s AND at < %(end)s AND source = ANY (%(sources)s) AND model_id = ANY (%(models)s)
      AND NOT cache_hit AND NOT (late AND external_id LIKE 'volume:carried.%%')
    GROUP BY {", ".join(ATTRIBUTION)} HAVING sum(input_tokens + output_tokens) > 0
    ORDER BY {", ".join(ATTRIBUTION)}
"""  # noqa: S608  names of columns
HOW_SQL = "SELECT entry, prior_period FROM usage_put_right(%s::jsonb, %s, %s, %s, %s)"


def post_call(*, actor: User, discrepancy: Discrepancy, reason: str) -> bool:
    """Correct one call as its discrepancy says; False where the ledger has nothing wrong, or no longer holds
    the call by itself.
    """
    mine = {"source": discrepancy.run.source, "external_id": discrepancy.external_id}
    calls = UsageEvent.objects.filter(**mine, calls=1)
    if discrepancy.at is None or not calls.filter(at=discrepancy.at).exists():
        return False
    change = _change_of_call(discrepancy)
    if change is None:
        return False
    item = {
        "source": discrepancy.run.source,
        "external_id": discrepancy.external_id,
        "at": discrepancy.at,
        **change,
    }
    _post(actor, discrepancy, item, reason)
    return True


def post_volume(*, actor: User, discrepancy: Discrepancy, reason: str) -> bool:
    """Charge a day's difference in volume to those who used the model, in proportion to their charges.

    False where nobody used it, so that nobody can be charged.
    """
    whose = _whose(discrepancy)
    if not whose:
        return False
    weights = [row["cost_usd"] for row in whose]
    if sum(weights, ZERO) <= 0:
        weights = [Decimal(row["tokens"]) for row in whose]
    amounts = shares(discrepancy.amount_usd, weights)
    ours, theirs = discrepancy.detail["portal"], discrepancy.detail["provider"]
    tokens = {
        name: whole_shares(theirs[short] - ours[short], weights)
        for name, short in TOKENS.items()
        if short in theirs
    }
    units = {
        name: shares(Decimal(count) - Decimal(ours["units"].get(name, 0)), weights)
        for name, count in theirs.get("units", {}).items()
    }
    calls = whole_shares(
        (theirs["calls"] or 0) - (ours["calls"] or 0) if theirs["calls"] is not None else 0, weights
    )
    noon = datetime.combine(discrepancy.run.day, time(12), tzinfo=UTC)
    for place, row in enumerate(whose):
        item = {
            **{name: row[name] for name in ATTRIBUTION},
            **NOTHING,
            **{name: parts[place] for name, parts in tokens.items()},
            "units": {name: float(parts[place]) for name, parts in units.items()},
            "at": noon,
            "calls": calls[place],
            "amount_usd": amounts[place],
        }
        _post(actor, discrepancy, item, reason)
    return True


def whole_shares(count: int, weights: Sequence[Decimal]) -> list[int]:
    """Cut a whole number in proportion to weights into whole numbers that add up to it."""
    whole = sum(weights, ZERO)
    parts = [int(count * weight / whole) for weight in weights]
    parts[max(range(len(weights)), key=lambda place: weights[place])] += count - sum(parts)
    return parts


def _change_of_call(discrepancy: Discrepancy) -> dict[str, Any] | None:
    ours, theirs = discrepancy.detail["portal"], discrepancy.detail["gateway"]
    amount_usd = discrepancy.amount_usd
    match DiscrepancyClass(discrepancy.kind):
        case DiscrepancyClass.DUPLICATE if amount_usd != 0:
            return {"calls": -1, "amount_usd": amount_usd, **_tokens(ours, sign=-1)}
        case DiscrepancyClass.TOKEN_MISMATCH:
            more = {name: theirs[short] - ours[short] for name, short in TOKENS.items()}
            return {"calls": 0, "amount_usd": amount_usd, **more}
        case DiscrepancyClass.PRICE_MISMATCH | DiscrepancyClass.ZERO_COST if amount_usd != 0:
            return {"calls": 0, "amount_usd": amount_usd, **NOTHING}
        case _:
            return None


def _tokens(counted: Mapping[str, int], *, sign: int) -> dict[str, int]:
    return {name: sign * counted[short] for name, short in TOKENS.items()}


def _whose(discrepancy: Discrepancy) -> list[dict[str, Any]]:
    account = ProviderAccount.objects.get(public_id=discrepancy.run.source)
    start = datetime.combine(discrepancy.run.day, time.min, tzinfo=UTC)
    groups = [group for group in key_groups(account.provider) if group.name == discrepancy.detail["key"]]
    params: dict[str, Any] = {
        "start": start,
        "end": start + timedelta(days=1),
        "sources": [source for group in groups for source in group.sources],
        "models": list(names_at(account.provider).ids.get(discrepancy.model_name, ())),
    }
    with connection.cursor() as cursor:
        cursor.execute(WHOSE_SQL, params)
        return [
            dict(zip((*ATTRIBUTION, "cost_usd", "tokens"), row, strict=True)) for row in cursor.fetchall()
        ]


def _post(actor: User, discrepancy: Discrepancy, item: Mapping[str, Any], reason: str) -> LedgerCorrection:
    """Book one item; the difference and how often it was corrected before name it, so it is booked once."""
    with connection.cursor() as cursor:
        cursor.execute(
            HOW_SQL,
            [
                orjson.dumps(dict(item), default=str).decode(),
                f"{discrepancy.public_id}.{discrepancy.corrections.count() + 1}",
                actor.pk,
                reason,
                settings.TIME_ZONE,
            ],
        )
        entry, prior_period = cursor.fetchone()
    return LedgerCorrection.objects.create(
        discrepancy=discrepancy,
        run=discrepancy.run,
        entry_id=entry,
        amount_usd=item["amount_usd"],
        prior_period=prior_period,
        actor=actor,
        reason=reason,
        posted_at=clock.now(),
    )
