"""What the Models page says of a person's own use, and up to four models side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from catalog.ports import OwnUse
from catalog.types import Catalogue, ModelPrices

MOST_COMPARED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A model with what the person's last 30 days would cost on it, None when that is not known."""

    prices: ModelPrices
    monthly_usd: Decimal | None
    is_used: bool
    is_compared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A model beside others; `approver_text` says what it takes to call it."""

    row: ModelRow
    approver_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The models that were chosen, in the order of the page, and how many were too many."""

    models: tuple[Compared, ...]
    left_out: int


def model_row(prices: ModelPrices, own: OwnUse | None, chosen: Sequence[str]) -> ModelRow:
    """Return a model as the page shows it."""
    pk = prices.model.pk
    return ModelRow(
        prices=prices,
        monthly_usd=own.monthly_usd.get(pk) if own and prices.input_usd is not None else None,
        is_used=own is not None and pk in own.used,
        is_compared=prices.name in chosen,
    )


def known_names(catalogue: Catalogue, asked: Sequence[str]) -> list[str]:
    """Return the names that were asked for and that models have, each once, in the order of the page."""
    return [model.name for tier in catalogue.tiers for model in tier.models if model.name in asked]


def comparison(rows: Sequence[Compared]) -> Comparison | None:
    """Return the first four of the models that were chosen; None for fewer than two."""
    chosen = [each for each in rows if each.row.is_compared]
    if len(chosen) <= 1:
        return None
    return Comparison(models=tuple(chosen[:MOST_COMPARED]), left_out=max(len(chosen) - MOST_COMPARED, 0))
