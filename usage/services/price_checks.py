"""The nightly look at prices: against the list, at calls that cost nothing, at classes that nobody knows.

What it finds stands on the Prices page until it is done; administrators are told once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from django.db import connection, transaction

from catalog.importer import Published, published_prices
from catalog.models import LlmModel, NoticeKind, PriceNotice
from catalog.pricing import IMPORTED, OPEN_UNITS, PRECEDENCE, PriceRow, price_of
from catalog.selectors import price_rows
from catalog.services.importing import PublishedPrices
from catalog.services.telling import tell_of_notice
from core import clock

log = structlog.get_logger(__name__)

LARGEST_QUIET_DIFFERENCE = Decimal("0.005")
LOOK_BACK = timedelta(days=2)
SHOWN = 3
WITHOUT_PRICE = "Calls with tokens were charged nothing. Enter the missing price, or declare it free."
WITHOUT_UNIT = (
    "Calls did not tell the unit that the model is priced by (seconds, characters, images, pages, searches),"
    " and were charged nothing. Let the gateway tell it in `units`, or price the model by request."
)
# Tokens that cost nothing although somebody has to be paid for them; and answers without tokens of a model
# that is priced by another unit, of which they told none: a transcription without its seconds.
FREE_SQL = """
    SELECT u.model_id, count(*), max(u.at), count(*) FILTER (WHERE u.input_tokens + u.output_tokens = 0)
    FROM usage_event u JOIN catalog_llmmodel m ON m.id = u.model_id
    WHERE u.at >= %(since)s AND u.calls = 1 AND u.cost_usd = 0 AND NOT u.cache_hit AND NOT m.declared_free
      AND (u.input_tokens + u.output_tokens > 0
        OR u.finish NOT IN ('error', 'cancelled')
        AND EXISTS (SELECT FROM catalog_price p WHERE p.model_id = u.model_id AND p.unit = ANY (%(open)s)
                    AND NOT jsonb_exists(u.units, p.unit) AND p.usd_per_unit > 0 AND p.valid_from <= u.at
                    AND (p.valid_until IS NULL OR p.valid_until > u.at)))
    GROUP BY u.model_id
"""
# Calls in a service class in which their model had no price: the dearest was charged. What was asked for
# counts as long as nobody tells what was served.
STRANGE_SQL = """
    SELECT c.model_id, count(*), max(c.at), left(string_agg(DISTINCT c.context, ', '), 80)
    FROM (SELECT r.model_id, r.authorized_at AS at, r.context FROM budgets_reservation r
          WHERE r.authorized_at >= %(since)s AND r.context <> 'standard'
            AND NOT EXISTS (SELECT FROM usage_call u WHERE u.at >= %(since)s
                            AND u.reservation_id = r.id AND u.context IS NOT NULL)
          UNION ALL
          SELECT model_id, at, context FROM usage_event
          WHERE at >= %(since)s AND context IS NOT NULL AND calls IN (0, 1)) c
      JOIN catalog_llmmodel m ON m.id = c.model_id
    WHERE NOT m.declared_free
      AND NOT EXISTS (SELECT FROM catalog_price p WHERE p.model_id = c.model_id AND p.context = c.context
                      AND p.valid_from <= c.at AND (p.valid_until IS NULL OR p.valid_until > c.at))
    GROUP BY c.model_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is wrong with one model's price."""

    model_id: int
    detail: str
    calls: int = 0
    last_at: datetime | None = None


@transaction.atomic
def check_prices(*, published: PublishedPrices | None = None, at: datetime | None = None) -> dict[str, int]:
    """Compare prices and calls with what they should be, and return how many models need a look, by kind.

    A notice that does not hold any more is closed; one that still holds keeps its first moment. A price that
    somebody entered may differ from the list: that was reviewed. May run twice.
    """
    now = at or clock.now()
    since = now - LOOK_BACK
    found: Mapping[NoticeKind, Sequence[Found]] = {
        NoticeKind.DIFFERS: _against_the_list(published or published_prices, now),
        NoticeKind.ZERO_COST: [
            Found(
                model_id=model,
                calls=calls,
                last_at=last,
                detail=WITHOUT_UNIT if without_tokens else WITHOUT_PRICE,
            )
            for model, calls, last, without_tokens in _read(FREE_SQL, since)
        ],
        NoticeKind.UNKNOWN_CONTEXT: [
            Found(
                model_id=model,
                calls=calls,
                last_at=last,
                detail=f"Charged at the dearest class, as no price is for: {contexts}. Enter prices.",
            )
            for model, calls, last, contexts in _read(STRANGE_SQL, since)
        ],
    }
    for kind, every in found.items():
        _keep(kind, every, now)
    counts = {str(kind): len(every) for kind, every in found.items()}
    log.info("usage.prices_checked", **counts)
    return counts


def _against_the_list(published: PublishedPrices, now: datetime) -> list[Found]:
    rows = price_rows(at=now)
    models = LlmModel.objects.filter(retired_at__isnull=True).order_by("pk")
    found = []
    for model in models:
        listed = published(model.provider, model.provider_model)
        differing = list(_differing(rows.get(model.pk, []), listed, now))
        if differing:
            more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
            text = f"{'; '.join(differing[:SHOWN])}{more}. Follow the list, or enter a price."
            found.append(Found(model_id=model.pk, detail=text))
    return found


def _differing(rows: Sequence[PriceRow], listed: Iterable[Published], now: datetime) -> Iterable[str]:
    """Give in words where the list has another price than calls pay, unless a person entered that one."""
    for price in listed:
        if price.valid_from > now or (price.valid_until is not None and price.valid_until <= now):
            continue
        slot = price.slot
        here = [
            row
            for row in rows
            if (row.unit, row.context, row.tier_start) == (slot.unit, slot.context, slot.tier_start)
        ]
        if any(PRECEDENCE.get(row.source, IMPORTED) < IMPORTED for row in here):
            continue
        ours = price_of(here, unit=slot.unit, context=slot.context, tier_start=slot.tier_start, at=now)
        if ours is None or abs(ours - price.usd_per_unit) > LARGEST_QUIET_DIFFERENCE * price.usd_per_unit:
            charged = "nothing of its own" if ours is None else f"${ours.normalize():f}"
            the_list = f"${price.usd_per_unit.normalize():f}"
            yield f"{slot.context} {slot.unit}: the list has {the_list}, calls pay {charged}"


def _read(sql: str, since: datetime) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {"since": since, "open": list(OPEN_UNITS)})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _keep(kind: NoticeKind, found: Sequence[Found], now: datetime) -> None:
    known = {
        notice.model_id: notice
        for notice in PriceNotice.objects.filter(kind=kind, closed_at__isnull=True)
        .select_for_update(no_key=True)
        .order_by("pk")
    }
    for each in found:
        notice = known.pop(each.model_id, None)
        if notice is None:
            made = PriceNotice.objects.create(
                kind=kind,
                model_id=each.model_id,
                detail=each.detail[:400],
                calls=each.calls,
                opened_at=now,
                last_at=each.last_at or now,
            )
            tell_of_notice(made)
        else:
            notice.detail, notice.calls, notice.last_at = each.detail[:400], each.calls, each.last_at or now
            notice.save(update_fields=["detail", "calls", "last_at"])
    PriceNotice.objects.filter(pk__in=[notice.pk for notice in known.values()]).update(closed_at=now)
