"""Reads the catalogue: tiers with their models and prices, and what is planned."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Prefetch, Q, QuerySet, Value

from catalog.models import Alias, LlmModel, Mode, Price, Tier, Unit
from catalog.pricing import STANDARD, TOKENS_PER_PRICE, PriceRow, Rates, is_priced, multiple_against, rates
from catalog.types import Catalogue, ModelPrices, PlannedChange, Reference, TierPrices, UnitPrice
from catalog.units import TOKEN_UNITS, prices_whole_calls
from core import clock
from core.errors import NotFoundError

# What multiples are compared at: a chat's usual mix.
REFERENCE_INPUT_TOKENS, REFERENCE_OUTPUT_TOKENS = 3, 1
REFERENCE_MIX = "three tokens in for each token out"
OTHER_NAMES = ArrayAgg(
    "aliases__name", filter=Q(aliases__isnull=False), order_by="aliases__name", default=Value([])
)


def price_rows(
    models: Collection[int] | None = None,
    *,
    at: datetime | None = None,
    sources: Collection[str] | None = None,
) -> dict[int, list[PriceRow]]:
    """Return price rows by model id: all, of some models, in force at `at`, of some sources. One query."""
    found = Price.objects.order_by("pk")
    if models is not None:
        found = found.filter(model__in=models)
    if sources is not None:
        found = found.filter(source__in=sources)
    if at is not None:
        found = found.filter(valid_from__lte=at).exclude(valid_until__lte=at)
    by_model: dict[int, list[PriceRow]] = {}
    for row in found:
        by_model.setdefault(row.model_id, []).append(_plain(row))
    return by_model


def models_with_prices(*, at: datetime | None = None) -> dict[LlmModel, list[PriceRow]]:
    """Return the models that may be called and have a price now, with their prices in force. One query."""
    moment = at or clock.now()
    found = Price.objects.filter(valid_from__lte=moment, model__retired_at__isnull=True)
    by_model: dict[LlmModel, list[PriceRow]] = {}
    for row in found.exclude(valid_until__lte=moment).select_related("model").order_by("model__name", "pk"):
        by_model.setdefault(row.model, []).append(_plain(row))
    return by_model


def catalogue(*, at: datetime | None = None) -> Catalogue:
    """Return all tiers with their models and prices in the standard class. Three queries."""
    moment = at or clock.now()
    named = LlmModel.objects.filter(retired_at__isnull=True).annotate(other_names=OTHER_NAMES)
    tiers = Tier.objects.prefetch_related(Prefetch("models", queryset=named.order_by("name"))).order_by(
        "number"
    )
    rows = price_rows(at=moment)
    table = {
        model.pk: _rates(rows.get(model.pk, []), model, moment)
        for tier in tiers
        for model in tier.models.all()
    }
    everyday = [model for tier in tiers[:1] for model in tier.models.all() if model.mode == Mode.CHAT]
    reference = _cheapest(everyday, table)
    base_usd = _mixed(table[reference.pk]) if reference else None
    return Catalogue(
        prices_at=moment,
        reference_model=reference.name if reference else None,
        reference_mix=REFERENCE_MIX,
        tiers=tuple(
            TierPrices(
                number=tier.number,
                name=tier.name,
                title=f"Tier {tier.number}: {tier.name}",
                description=tier.description,
                models=_by_cost(
                    _model_prices(model, table[model.pk], base_usd, rows.get(model.pk, []))
                    for model in tier.models.all()
                ),
            )
            for tier in tiers
        ),
    )


def everyday_reference(*, at: datetime) -> Reference | None:
    """Return the cheapest chat model of the lowest tier at `at`, by the reference mix; None without one.

    Models that were retired since count, so that the past keeps its reference. One query: a model without a
    price is no reference.
    """
    chats = LlmModel.objects.filter(mode=Mode.CHAT, created_at__lte=at).exclude(retired_at__lte=at)
    lowest = chats.filter(tier=Tier.objects.order_by("number").values("number")[:1])
    prices = Price.objects.filter(model__in=lowest).select_related("model").order_by("model__name", "pk")
    models: dict[int, LlmModel] = {}
    rows: dict[int, list[PriceRow]] = {}
    for price in prices:
        models[price.model_id] = price.model
        rows.setdefault(price.model_id, []).append(_plain(price))
    table = {pk: _rates(rows[pk], model, at) for pk, model in models.items()}
    cheapest = _cheapest(list(models.values()), table)
    return Reference(name=cheapest.name, prices=tuple(rows[cheapest.pk])) if cheapest else None


def models_with_aliases() -> QuerySet[LlmModel]:
    """Return the models that may be called, with their other names. Two queries when read."""
    return LlmModel.objects.filter(retired_at__isnull=True).prefetch_related("aliases").order_by("name")


def find_model(name: str) -> LlmModel | None:
    """Return the model that callers mean by this name or alias, if it may still be called."""
    found = LlmModel.objects.filter(retired_at__isnull=True)
    return (
        found.filter(name=name).first()
        or found.filter(pk__in=Alias.objects.filter(name=name).values("model_id")).first()
    )


def known_names() -> set[str]:
    """Return every name that means a model, aliases and retired models too. One query."""
    names = LlmModel.objects.order_by().values_list("name")
    return {name for (name,) in names.union(Alias.objects.order_by().values_list("name"))}


def model_names(model_ids: Collection[int]) -> dict[int, str]:
    """Return the names of models by their id, of retired ones too. One query."""
    return dict(LlmModel.objects.filter(pk__in=model_ids).order_by().values_list("pk", "name"))


def unpriced_models(*, at: datetime | None = None) -> list[LlmModel]:
    """Return the models that are refused because no price is in force, with `unpriced` calls. Two queries."""
    rows = price_rows(at=at or clock.now())
    models = LlmModel.objects.filter(retired_at__isnull=True, declared_free=False)
    found = models.select_related("tier", "unpriced").order_by("name")
    return [model for model in found if not _prices_calls(rows.get(model.pk, []), model)]


def is_priced_now(model: LlmModel) -> bool:
    """Whether every call of a model can be priced by the prices in force now. One query."""
    return _prices_calls(price_rows([model.pk], at=clock.now()).get(model.pk, []), model)


def model_by_id(public_id: str) -> LlmModel:
    """Return a model that may be called. One query. Raises NotFoundError."""
    found = LlmModel.objects.filter(public_id=public_id, retired_at__isnull=True)
    model = found.select_related("tier").first()
    if model is None:
        raise NotFoundError("There is no such model, or it is retired.")
    return model


def planned_changes(*, at: datetime | None = None) -> list[PlannedChange]:
    """Return the standard prices that are known to change after `at`, the next first. Two queries."""
    moment = at or clock.now()
    coming = [
        row
        for row in Price.objects.filter(context=STANDARD, tier_start=0, valid_from__gt=moment).select_related(
            "model"
        )
        if row.valid_until is None or row.valid_until > row.valid_from
    ]
    now = price_rows({row.model_id for row in coming}, at=moment)
    changes = [
        PlannedChange(
            model=row.model.name,
            unit=row.unit,
            at=row.valid_from,
            before_usd=_per_million(_of_unit(now.get(row.model_id, []), row.unit)),
            after_usd=row.usd_per_unit * TOKENS_PER_PRICE,
        )
        for row in sorted(coming, key=lambda row: (row.valid_from, row.model.name, row.unit))
    ]
    return [change for change in changes if change.before_usd != change.after_usd]


def _plain(row: Price) -> PriceRow:
    return PriceRow(
        id=row.pk,
        unit=row.unit,
        context=row.context,
        tier_start=row.tier_start,
        usd_per_unit=row.usd_per_unit,
        source=row.source,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )


def _prices_calls(rows: Sequence[PriceRow], model: LlmModel) -> bool:
    """Whether prices in force price every call of the model, by tokens or by another unit."""
    return prices_whole_calls(Mode(model.mode), {row.unit for row in rows if row.tier_start == 0})


def _rates(rows: Sequence[PriceRow], model: LlmModel, at: datetime) -> Rates | None:
    return rates(rows, at=at) if _is_priced(rows, model, at) else None


def _is_priced(rows: Sequence[PriceRow], model: LlmModel, at: datetime) -> bool:
    return is_priced(rows, at=at, has_output=model.mode != Mode.EMBEDDING)


def _mixed(rate: Rates | None) -> Decimal:
    if rate is None:
        return Decimal("Infinity")
    return REFERENCE_INPUT_TOKENS * rate.input_usd + REFERENCE_OUTPUT_TOKENS * rate.output_usd


def _cheapest(models: Iterable[LlmModel], table: dict[int, Rates | None]) -> LlmModel | None:
    priced = [model for model in models if table[model.pk] is not None]
    return min(priced, key=lambda model: (_mixed(table[model.pk]), model.name), default=None)


def _model_prices(
    model: Any, rate: Rates | None, base_usd: Decimal | None, rows: Sequence[PriceRow]
) -> ModelPrices:
    comparable = rate is not None and base_usd is not None and model.mode == Mode.CHAT
    return ModelPrices(
        model=model,
        name=model.name,
        provider=model.get_provider_display(),
        mode=model.mode,
        tier=model.tier_id,
        aliases=tuple(model.other_names),
        context_tokens=model.context_window_tokens,
        max_output_tokens=model.max_output_tokens,
        priced=_prices_calls(rows, model),
        input_usd=_per_million(rate.input_usd if rate else None),
        cached_usd=_per_million(rate.cached_usd if rate else None),
        output_usd=_per_million(rate.output_usd if rate and model.mode != Mode.EMBEDDING else None),
        times_reference=multiple_against(_mixed(rate), base_usd) if comparable and base_usd else None,
        per_unit=_per_unit(rows),
    )


def _per_unit(rows: Iterable[PriceRow]) -> tuple[UnitPrice, ...]:
    """Return the standard prices of units that are no tokens."""
    others = {row.unit for row in rows} - {str(unit) for unit in TOKEN_UNITS}
    priced = ((unit, _of_unit(rows, unit)) for unit in sorted(others))
    return tuple(UnitPrice(unit=Unit(unit).label.lower(), usd=usd) for unit, usd in priced if usd is not None)


def _by_cost(models: Iterable[ModelPrices]) -> tuple[ModelPrices, ...]:
    """Order chat models before the others, the cheapest first, those without a price last."""
    last = Decimal("Infinity")
    return tuple(
        sorted(
            models,
            key=lambda row: (row.mode != Mode.CHAT, row.times_reference or row.input_usd or last, row.name),
        )
    )


def _of_unit(rows: Iterable[PriceRow], unit: str) -> Decimal | None:
    live = [row for row in rows if row.unit == unit and row.context == STANDARD and row.tier_start == 0]
    return live[0].usd_per_unit if live else None


def _per_million(usd: Decimal | None) -> Decimal | None:
    return None if usd is None else usd * TOKENS_PER_PRICE
