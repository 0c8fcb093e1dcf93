"""The demo's prices that people entered: a contract by which the calls since then are charged, and a price
that rose before anybody knew, so that the calls since then wait to be priced again.
"""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

from catalog.importer import Slot
from catalog.models import LlmModel, PriceSource
from catalog.pricing import STANDARD
from catalog.proposals import Override
from catalog.selectors import price_rows
from catalog.services import override_price
from portal.demo.provider import DEARER_BY, DEARER_FOR, DEARER_MODEL
from teams.models import User
from usage.services import propose_repricing

CONTRACT_MODEL, CONTRACT_FOR, CONTRACT_TIMES = "claude-sonnet-5-5", timedelta(days=30), Decimal("0.9")
SCALE = Decimal("1e-15")


def agree_on_contract(*, actor: User, now: datetime) -> None:
    """Let a contract lower the price of a model; what is called from its day on is charged by it."""
    model = LlmModel.objects.get(name=CONTRACT_MODEL)
    since = _midnight(now - CONTRACT_FOR)
    reason = "The yearly contract with Anthropic: a tenth off from its first day."
    _move(model, CONTRACT_TIMES, since, now, source=PriceSource.CONTRACT, actor=actor, reason=reason)


def price_again(*, actor: User, now: datetime) -> None:
    """Enter the price that a provider raised two weeks ago, and propose to book the difference since then."""
    model = LlmModel.objects.get(name=DEARER_MODEL)
    since = _midnight(now - DEARER_FOR)
    reason = "OpenAI charges 8% more since then, as its costs show."
    _move(model, DEARER_BY, since, now, source=PriceSource.MANUAL, actor=actor, reason=reason)
    propose_repricing(actor=actor, model=model, starts_at=since, ends_at=now, reason=reason)


def _move(
    model: LlmModel,
    times: Decimal,
    since: datetime,
    now: datetime,
    *,
    source: PriceSource,
    actor: User,
    reason: str,
) -> None:
    rows = price_rows([model.pk], at=now)[model.pk]
    # Long calls first: a price for all calls would move theirs too much for one person.
    for row in sorted(rows, key=lambda row: -row.tier_start):
        if row.context == STANDARD:
            override = Override(
                slot=Slot(unit=row.unit, context=row.context, tier_start=row.tier_start),
                usd_per_unit=(row.usd_per_unit * times).quantize(SCALE),
                source=source,
                valid_from=since,
                valid_until=None,
            )
            override_price(actor=actor, model=model, override=override, reason=reason)


def _midnight(at: datetime) -> datetime:
    return datetime.combine(at.astimezone(UTC).date(), time.min, tzinfo=UTC)
