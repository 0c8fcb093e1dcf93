"""Lets the ledger follow a gateway that settles a call after its ordinary log did.

A log's word settles what seems lost, so that a budget knows of it. The settlement that comes after all is the
better source: it is kept as a conflict, and where only a log spoke before, its figures are booked here by a
correction. A second settlement with a third set of figures is a conflict for a person, as ever.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from budgets.models import Reservation
from catalog.models import LlmModel
from catalog.pricing import TokenUsage, charge, rates
from catalog.selectors import price_rows
from core import clock
from core.money import ZERO
from usage.models import Finish, GatewayCall, Quarantine, QuarantineOutcome, QuarantineReason, UsageEvent
from usage.services.conflicts import LOOK_BACK
from usage.tokens import TOKEN_FIELDS

log = structlog.get_logger(__name__)

REASON = "The gateway's settlement came after its log had settled the call."
MOST = 500  # in one run of the job; the next one goes on
PUT_RIGHT_SQL = "SELECT usage_put_right(%s::jsonb, %s, NULL, %s, %s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was counted of one call, the service class it is priced in, and what it cost in US dollars."""

    tokens: Mapping[str, int]
    units: Mapping[str, Decimal]
    context: str
    cost_usd: Decimal


@transaction.atomic
def follow_settlements() -> int:
    """Book what settlements told otherwise than the logs that came before them; return how many calls.

    The row that was set aside is closed with it. May run any number of times: a call follows once.
    """
    rows = Quarantine.objects.select_for_update(no_key=True, skip_locked=True).filter(
        reason=QuarantineReason.CONFLICT,
        resolved_at__isnull=True,
        row__has_key="reservation",
        seen_at__gte=clock.now() - LOOK_BACK,
    )
    return sum(_follow(row) for row in rows.order_by("pk")[:MOST])


def _follow(row: Quarantine) -> bool:
    """Book what one settlement told, if only a log told of its call before."""
    mine = {"source": row.source, "external_id": row.external_id}
    call = Reservation.objects.filter(source=row.source, public_id=row.external_id).first()
    if call is None or not GatewayCall.objects.filter(**mine, settled_by_log=True).exists():
        return False
    events = list(UsageEvent.objects.filter(source=row.source, reservation_id=call.pk, at=call.authorized_at))
    event = next((one for one in events if one.external_id == row.external_id), None)
    if event is None or sum(one.calls for one in events) != 1 or not _is_of_figures_alone(row.row, event):
        return False
    booked = _booked(events, call)
    told = _told(row.row, call, event.model_id, booked.context)
    if (booked.tokens, booked.units, booked.context) == (told.tokens, told.units, told.context):
        _close(row)  # the same settlement again, by another way
        return False
    followed = Quarantine.objects.filter(**mine, outcome=QuarantineOutcome.BOOKED, resolution=REASON)
    if followed.exists():
        return False
    _put_right(row, event, told, booked)
    _close(row)
    return True


def _is_of_figures_alone(told: Mapping[str, Any], event: UsageEvent) -> bool:
    """Whether nothing but figures differs: another model, or an answer of a cache, is for a person to see."""
    name = told.get("served_model") or ""
    served = LlmModel.objects.filter(Q(name=name) | Q(aliases__name=name)).first()
    is_cut_short = told.get("finish") == Finish.CANCELLED and not told["input_tokens"]
    same_model = served is None or served.pk == event.model_id
    return same_model and not event.cache_hit and told.get("cache_hit") is not True and not is_cut_short


def _booked(events: Sequence[UsageEvent], call: Reservation) -> Figures:
    served = [event for event in events if event.context]
    units: dict[str, Decimal] = defaultdict(Decimal)
    for event in events:
        for name, count in event.units.items():
            units[name] += Decimal(str(count))
    return Figures(
        tokens={name: sum(getattr(event, name) for event in events) for name in TOKEN_FIELDS},
        units={name: count for name, count in units.items() if count},
        context=max(served, key=lambda event: event.recorded_at).context or "" if served else call.context,
        cost_usd=sum((event.cost_usd for event in events), ZERO),
    )


def _told(row: Mapping[str, Any], call: Reservation, model_id: int, booked: str) -> Figures:
    """Price what a settlement told as it would have been: at the moment of its decision, in the service class
    that it tells, or the one that is `booked` where it tells none.
    """
    context = row.get("served_context") or booked
    tokens = {name: int(row[name]) for name in TOKEN_FIELDS}
    units = {name: Decimal(str(count)) for name, count in (row.get("units") or {}).items() if count}
    card = rates(
        price_rows([model_id], at=call.authorized_at).get(model_id, []),
        at=call.authorized_at,
        context=context,
        input_tokens=tokens["input_tokens"],
    )
    cost_usd = charge(TokenUsage(**tokens), card, units=units)
    return Figures(tokens=tokens, units=units, context=context, cost_usd=cost_usd)


def _put_right(row: Quarantine, event: UsageEvent, told: Figures, booked: Figures) -> None:
    units = {
        name: float(told.units.get(name, ZERO) - booked.units.get(name, ZERO))
        for name in sorted({*told.units, *booked.units})
    }
    item = {
        "source": row.source,
        "external_id": row.external_id,
        "at": event.at,
        "calls": 0,
        "amount_usd": told.cost_usd - booked.cost_usd,
        **{name: told.tokens[name] - booked.tokens[name] for name in TOKEN_FIELDS},
        "units": units,
        "context": None if told.context == booked.context else told.context,
    }
    with connection.cursor() as cursor:
        document = orjson.dumps(item, default=str).decode()
        cursor.execute(PUT_RIGHT_SQL, [document, f"settled.{row.pk}", REASON, settings.TIME_ZONE])
    log.info("usage.settlement_followed", source=row.source, call=row.external_id, usd=item["amount_usd"])


def _close(row: Quarantine) -> None:
    row.outcome, row.resolution, row.resolved_at = QuarantineOutcome.BOOKED, REASON, clock.now()
    row.save(update_fields=["outcome", "resolution", "resolved_at"])
