"""Prices by hand: what an administrator does about a model that is refused because nobody priced it."""

from collections.abc import Mapping
from decimal import Decimal

import structlog
from django.db import transaction

from catalog.errors import AlreadyPricedError
from catalog.models import Context, LlmModel, Mode, Price, PriceSource, Unit
from catalog.selectors import is_priced_now
from catalog.services.importing import database_now
from catalog.units import OFFERED, missing_unit
from core import audit
from core.errors import InvalidInputError
from core.reasons import LONGEST, checked_reason
from teams.models import User
from teams.selectors import require_admin

log = structlog.get_logger(__name__)

SCALE = Decimal("1e-15")  # NUMERIC(20,15)
MOST_REASON_CHARACTERS = 240  # of a row; the audit keeps all of it
MOST_USD = Decimal(10_000)  # for one unit: beyond it somebody mistook the unit


@transaction.atomic
def enter_prices(
    *, actor: User, model: LlmModel, usd_per_unit: Mapping[Unit, Decimal], reason: str
) -> list[Price]:
    """Price a model by hand, in force at once, in US dollars for one unit; administrators may.

    A manual price beats an imported list and is beaten by a contract. The row names its author and the
    reason. Raises RoleNeededError, InvalidInputError naming the unit that is missing or impossible,
    and AlreadyPricedError when the model has a price or is free by now.
    """
    require_admin(actor, "enter prices")
    why = checked_reason(reason, most=LONGEST)
    mine = _locked(model)
    _require_units(mine, usd_per_unit)
    at = database_now()
    slots = Price.objects.filter(
        model=mine, source=PriceSource.MANUAL, context=Context.STANDARD, tier_start=0, unit__in=usd_per_unit
    )
    ended = {row.unit: row.usd_per_unit for row in slots.filter(valid_from__lte=at, valid_until__isnull=True)}
    slots.filter(valid_from__lte=at, valid_until__isnull=True).update(valid_until=at)
    planned = {row.unit: row.valid_from for row in slots.filter(valid_from__gt=at).order_by("-valid_from")}
    made = Price.objects.bulk_create(
        Price(
            model=mine,
            unit=unit,
            usd_per_unit=usd,
            valid_from=at,
            valid_until=planned.get(unit),
            source=PriceSource.MANUAL,
            source_version=actor.public_id,
            author=actor,
            reason=why[:MOST_REASON_CHARACTERS],
        )
        for unit, usd in usd_per_unit.items()
    )
    audit.record(
        actor=actor,
        action="prices.entered",
        subject=mine,
        before=ended,
        after={str(unit): usd for unit, usd in usd_per_unit.items()},
        reason=why,
    )
    log.info("catalog.prices_entered", model=mine.public_id, units=sorted(map(str, usd_per_unit)))
    return made


@transaction.atomic
def declare_free(*, actor: User, model: LlmModel, reason: str) -> LlmModel:
    """Let a model without a price be called for nothing; administrators may.

    Raises RoleNeededError, InvalidInputError, and AlreadyPricedError when the model has a price or is free by
    now.
    """
    require_admin(actor, "declare a model free")
    why = checked_reason(reason, most=LONGEST)
    mine = _locked(model)
    mine.declared_free = True
    mine.save(update_fields=["declared_free"])
    audit.record(
        actor=actor,
        action="model.declared_free",
        subject=mine,
        before={"declared_free": False},
        after={"declared_free": True},
        reason=why,
    )
    log.info("catalog.model_declared_free", model=mine.public_id)
    return mine


def _locked(model: LlmModel) -> LlmModel:
    """Lock a model that is still without a price, so that one person prices it."""
    mine = LlmModel.objects.select_for_update(no_key=True).order_by("pk").get(pk=model.pk)
    if mine.retired_at is not None:
        raise AlreadyPricedError(f"{mine} is retired and not called any more. Nothing needs to be done.")
    if mine.declared_free:
        raise AlreadyPricedError(f"{mine} is declared free already. Nothing needs to be done.")
    if is_priced_now(mine):
        raise AlreadyPricedError(f"{mine} has a price by now. Nothing needs to be done.")
    return mine


def _require_units(model: LlmModel, usd_per_unit: Mapping[Unit, Decimal]) -> None:
    mode = Mode(model.mode)
    for unit, usd in usd_per_unit.items():
        if unit not in OFFERED[mode]:
            raise InvalidInputError(f"{mode.label} models have no price by {unit.label.lower()}.", field=unit)
        if not 0 <= usd <= MOST_USD:
            raise InvalidInputError(
                f"Enter a price from 0 to ${MOST_USD:,f} for one {unit.label.lower()}.", field=unit
            )
        if usd != usd.quantize(SCALE):
            raise InvalidInputError("A price has at most fifteen decimals for one unit.", field=unit)
    missing = missing_unit(mode, usd_per_unit)
    if missing is not None:
        raise InvalidInputError(
            f"Enter the price by {missing.label.lower()}: without it no call can be priced.", field=missing
        )
    if not any(usd_per_unit.values()):
        raise InvalidInputError(
            "Prices of 0 make the model free. Declare it free instead, so that everybody can see it.",
            field=OFFERED[mode][0],
        )
