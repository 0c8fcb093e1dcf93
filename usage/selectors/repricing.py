"""What the same use would cost on other models."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import F, Sum

from catalog.models import LlmModel, Mode
from catalog.pricing import PriceRow, TokenUsage, Use, is_priced, monthly_estimate, multiple_against
from catalog.selectors import REFERENCE_INPUT_TOKENS, REFERENCE_OUTPUT_TOKENS, price_rows
from core import clock
from teams.models import Project
from usage.selectors.periods import organisation_today
from usage.selectors.rollup import TOKENS, days_in
from usage.selectors.scopes import project_scope
from usage.types import Alternative, ModelUse, Period

DAYS = 30
# A chat's usual call, where a project has no use of its own yet.
USUAL_USE = Use(
    calls=1_000,
    tokens=TokenUsage(
        input_tokens=1_000_000 * REFERENCE_INPUT_TOKENS, output_tokens=1_000_000 * REFERENCE_OUTPUT_TOKENS
    ),
)


def project_usage_last_30_days(project: Project, *, at: datetime | None = None) -> list[ModelUse]:
    """Return what a project consumed of each model in the 30 days that end with today. One query."""
    today = organisation_today(at)
    period = Period(first_day=today - timedelta(days=DAYS - 1), last_day=today, label="last 30 days")
    rows = (
        days_in(project_scope(project), period)
        .values("model_id")
        .annotate(
            name=F("model__name"),
            mode=F("model__mode"),
            all_calls=Sum("calls"),
            usd=Sum("cost_usd"),
            **{f"all_{name}": Sum(name) for name in TOKENS},
        )
        .order_by("-usd", "model_id")
    )
    return [
        ModelUse(
            model_id=row["model_id"],
            name=row["name"] or "",
            mode=row["mode"] or Mode.CHAT,
            use=_use(row),
            cost_usd=row["usd"],
        )
        for row in rows
    ]


def total_use(usage: Iterable[ModelUse]) -> Use | None:
    """Return the chat use of all models together; None when there is none."""
    chats = [row.use for row in usage if row.mode == Mode.CHAT and row.use.tokens.input_tokens > 0]
    if not chats:
        return None
    sums = {name: sum(getattr(use.tokens, name) for use in chats) for name in TOKENS}
    return Use(calls=sum(use.calls for use in chats), tokens=TokenUsage(**sums))


def reprice(
    usage: Iterable[ModelUse],
    models: Sequence[LlmModel],
    *,
    asked: Collection[int] = (),
    expected_usd: Decimal | None = None,
    prices: Mapping[int, Sequence[PriceRow]] | None = None,
    at: datetime | None = None,
) -> list[Alternative]:
    """Return what 30 days of this use would cost on each of these chat models, the dearest first. One query.

    `asked` are the ids of the models that somebody asks for; `times_cheaper` compares with the cheapest of
    them. With `expected_usd` everything is scaled so that the dearest of them costs as much, for what is
    expected is a cap on all of them. Where nothing was used yet, a chat's usual mix of tokens stands in.
    Prices by model id save the query.
    """
    use = total_use(usage) or USUAL_USE
    return reprice_use(use, models, asked=asked, expected_usd=expected_usd, prices=prices, at=at)


def reprice_use(
    use: Use,
    models: Sequence[LlmModel],
    *,
    asked: Collection[int] = (),
    expected_usd: Decimal | None = None,
    prices: Mapping[int, Sequence[PriceRow]] | None = None,
    at: datetime | None = None,
) -> list[Alternative]:
    """Return what this use would cost a month on each of these chat models, as `reprice` says. One query."""
    moment = at or clock.now()
    chats = [model for model in models if model.mode == Mode.CHAT]
    rows = price_rows([model.pk for model in chats], at=moment) if prices is None else prices
    costs = {
        model.pk: monthly_estimate(use, rows[model.pk], at=moment, days=DAYS)
        for model in chats
        if is_priced(rows.get(model.pk, ()), at=moment, has_output=True)
    }
    asked_costs = [costs[pk] for pk in asked if pk in costs]
    reference, dearest = min(asked_costs, default=None), max(asked_costs, default=None)
    scale = expected_usd / dearest if expected_usd is not None and dearest else Decimal(1)
    found = [_alternative(model, costs.get(model.pk), reference, scale, asked) for model in chats]
    return sorted(found, key=lambda row: (row.monthly_usd is None, -(row.monthly_usd or 0), row.name))


def _use(row: Mapping[str, Any]) -> Use:
    tokens = {name: row[f"all_{name}"] for name in TOKENS}
    return Use(calls=row["all_calls"], tokens=TokenUsage(**tokens))


def _alternative(
    model: LlmModel,
    cost_usd: Decimal | None,
    reference: Decimal | None,
    scale: Decimal,
    asked: Collection[int],
) -> Alternative:
    comparable = cost_usd is not None and reference is not None
    return Alternative(
        model_id=model.pk,
        name=model.name,
        tier_number=model.tier_id,
        tier=f"Tier {model.tier_id}",
        monthly_usd=None if cost_usd is None else cost_usd * scale,
        times_cheaper=multiple_against(reference, cost_usd)
        if comparable and cost_usd and reference
        else None,
        asked=model.pk in asked,
    )
