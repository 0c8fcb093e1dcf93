"""Reads prices as people look at them: what is in force for each model, and the whole history of one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby

from catalog.models import Context, LlmModel, Mode, Price, PriceSource, ProposalState, Unit
from catalog.pricing import IMPORTED, PRECEDENCE, STANDARD, TOKENS_PER_PRICE
from catalog.units import TOKEN_UNITS
from core import clock
from core.errors import NotFoundError

UNITS, CONTEXTS = list(Unit.values), list(Context.values)
MAIN_UNITS = (Unit.INPUT, Unit.CACHED, Unit.OUTPUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a price changes to, and when; amounts as PriceLine has them, None is no price."""

    unit: str
    at: datetime
    before: Decimal | None
    after: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLine:
    """One dated price; `usd` is for a million tokens, or for one of what is no token."""

    price: Price
    unit: str
    per: str
    usd: Decimal
    source: str
    author: str
    is_by_hand: bool
    is_planned: bool
    is_beaten: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLine:
    """What is in force for one model, and what is known to come, the next first.

    The main prices are for a million tokens in the standard class; `others` counts the rest. `since` is the
    start of the newest of them.
    """

    model: LlmModel
    input_usd: Decimal | None
    cached_usd: Decimal | None
    output_usd: Decimal | None
    others: int
    sources: tuple[str, ...]
    authors: tuple[str, ...]
    since: datetime | None
    planned: tuple[Planned, ...]


def model_lines(*, at: datetime | None = None) -> list[ModelLine]:
    """Return every model that may be called with its prices, by tier and name. Two queries."""
    moment = at or clock.now()
    rows = Price.objects.select_related("author", "model").order_by("model_id", "valid_from", "pk")
    found = rows.filter(model__retired_at__isnull=True).exclude(valid_until__lte=moment)
    by_model = {key: list(group) for key, group in groupby(found, key=lambda row: row.model_id)}
    models = LlmModel.objects.filter(retired_at__isnull=True).order_by("tier_id", "name")
    return [_model_line(model, by_model.get(model.pk, []), moment) for model in models]


def price_lines(model: LlmModel, *, at: datetime | None = None) -> list[PriceLine]:
    """Return every price of a model, past, in force and planned; the newest of a unit first. One query."""
    moment = at or clock.now()
    rows = list(
        Price.objects.filter(model=model)
        .select_related("author", "proposal__ended_by")
        .order_by("-valid_from", "-pk")
    )
    rows.sort(key=lambda row: (UNITS.index(row.unit), CONTEXTS.index(row.context), row.tier_start))
    winners = {row.pk for row in _winners(rows, moment)}
    return [_line(row, moment, winners) for row in rows]


def find_model(public_id: str) -> LlmModel:
    """Return a model, a retired one too. One query. Raises NotFoundError."""
    model = LlmModel.objects.select_related("tier").filter(public_id=public_id).first()
    if model is None:
        raise NotFoundError("There is no such model. Go back to the list of prices.")
    return model


def per_text(unit: str) -> str:
    """Return what a price of a unit is for, as pages say it."""
    return "1 million tokens" if unit in TOKEN_UNITS else f"1 {Unit(unit).label.lower()}"


def shown_usd(unit: str, usd_per_unit: Decimal | None) -> Decimal | None:
    """Return a price as pages show it: for a million tokens, or for one of what is no token."""
    if usd_per_unit is None:
        return None
    return usd_per_unit * TOKENS_PER_PRICE if unit in TOKEN_UNITS else usd_per_unit


def is_live(row: Price, at: datetime) -> bool:
    """Whether a price is in force at a moment."""
    return row.valid_from <= at and (row.valid_until is None or row.valid_until > at)


def _winners(rows: Iterable[Price], at: datetime) -> list[Price]:
    """Return the rows that calls pay at a moment: of each slot the best source."""
    best: dict[tuple[str, str, int], Price] = {}
    for row in rows:
        if is_live(row, at):
            slot = (row.unit, row.context, row.tier_start)
            best[slot] = min(best.get(slot, row), row, key=lambda each: PRECEDENCE.get(each.source, IMPORTED))
    return list(best.values())


def _model_line(model: LlmModel, rows: Sequence[Price], at: datetime) -> ModelLine:
    winners = _winners(rows, at)
    main = {
        row.unit: shown_usd(row.unit, row.usd_per_unit)
        for row in winners
        if row.context == STANDARD and row.tier_start == 0 and row.unit in MAIN_UNITS
    }
    named = {row.author.name for row in winners if row.author is not None}
    return ModelLine(
        model=model,
        input_usd=main.get(Unit.INPUT),
        cached_usd=main.get(Unit.CACHED),
        output_usd=main.get(Unit.OUTPUT) if model.mode != Mode.EMBEDDING else None,
        others=len(winners) - len(main),
        sources=tuple(sorted({PriceSource(row.source).label for row in winners})),
        authors=tuple(sorted(named)),
        since=max((row.valid_from for row in winners), default=None),
        planned=tuple(_planned(rows, at)),
    )


def _planned(rows: Sequence[Price], at: datetime) -> list[Planned]:
    """Return how the standard prices of a model will change."""
    standard = [row for row in rows if row.context == STANDARD and row.tier_start == 0]
    edges = sorted(
        {edge for row in standard for edge in (row.valid_from, row.valid_until) if edge and edge > at}
    )
    found, before = [], _by_unit(standard, at)
    for edge in edges:
        after = _by_unit(standard, edge)
        found += [
            Planned(unit=Unit(unit).label, at=edge, before=before.get(unit), after=after.get(unit))
            for unit in sorted({*before, *after})
            if before.get(unit) != after.get(unit)
        ]
        before = after
    return found


def _by_unit(rows: Iterable[Price], at: datetime) -> dict[str, Decimal | None]:
    return {row.unit: shown_usd(row.unit, row.usd_per_unit) for row in _winners(rows, at)}


def _line(row: Price, at: datetime, winners: set[int]) -> PriceLine:
    shown = shown_usd(row.unit, row.usd_per_unit)
    assert shown is not None
    reviewed = row.proposal if row.proposal and row.proposal.state == ProposalState.APPLIED else None
    second = reviewed.ended_by if reviewed and reviewed.needs_second else None
    author = row.author.name if row.author else ""
    return PriceLine(
        price=row,
        unit=row.get_unit_display(),
        per=per_text(row.unit),
        usd=shown,
        source=row.get_source_display(),
        author=f"{author}, approved by {second.name}".removeprefix(", ") if second else author,
        is_by_hand=row.source in PRECEDENCE,
        is_planned=row.valid_from > at,
        is_beaten=is_live(row, at) and row.pk not in winners,
    )
