"""Models and prices from the price list."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import structlog
from django.db import connection, transaction

from catalog.errors import PriceMovesError
from catalog.importer import Listing, Published, Slot, list_version, listings, published_prices
from catalog.models import Alias, LlmModel, Price, PriceSource, Tier
from catalog.price_diff import SlotChange, slot_changes
from catalog.selectors import price_rows, unpriced_models
from core import audit

log = structlog.get_logger(__name__)

PublishedPrices = Callable[[str, str], Sequence[Published]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChange:
    """What an import does to the prices of one model."""

    model: LlmModel
    slots: tuple[SlotChange, ...]

    @property
    def needs_acceptance(self) -> bool:
        """Whether a person must agree first."""
        return any(change.needs_acceptance for change in self.slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did, or would do."""

    version: str
    added_models: tuple[str, ...]
    changes: tuple[ModelChange, ...]
    unpriced: tuple[str, ...]

    @property
    def needs_acceptance(self) -> bool:
        """Whether a person must agree first."""
        return any(change.needs_acceptance for change in self.changes)


@transaction.atomic
def import_prices(
    *,
    actor: audit.Actor | None,
    accept_moves: bool = False,
    dry_run: bool = False,
    offered: Sequence[Listing] | None = None,
    published: PublishedPrices | None = None,
) -> ImportReport:
    """Bring models and prices up to the price list and return what changed. Running it again changes nothing.

    A model that exists keeps its tier and limits: they may have been changed on purpose. A price row is never
    edited: it ends now, or when the planned change comes, and another starts. `dry_run` writes nothing.

    Raises PriceMovesError, having written nothing, when a price moves by more than 20 % or goes away and
    `accept_moves` is not set.
    """
    list(Tier.objects.select_for_update(no_key=True).order_by("pk"))  # one import at a time
    at = database_now()
    version = list_version()
    added = _add_models(listings() if offered is None else offered, actor=actor, version=version)
    changes = _changes(published or published_prices, at)
    if any(change.needs_acceptance for change in changes) and not (accept_moves or dry_run):
        raise PriceMovesError(
            "A price moves by more than 20 % or goes away, so nothing was imported. Look at the difference"
            " with `manage.py import_prices --dry-run`, then agree to it with `--accept-moves`.",
            models=[change.model.name for change in changes if change.needs_acceptance],
        )
    for change in changes:
        _apply(change, actor=actor, version=version)
    report = ImportReport(
        version=version,
        added_models=tuple(model.name for model in added),
        changes=tuple(changes),
        unpriced=tuple(model.name for model in unpriced_models(at=at)),
    )
    if dry_run:
        transaction.set_rollback(True)
    else:
        log.info(
            "catalog.prices_imported", version=version, models_added=len(added), models_changed=len(changes)
        )
    return report


def database_now() -> datetime:
    """Return the database's clock, which decides what is in force."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        at: datetime = cursor.fetchone()[0]
    return at


def _add_models(offered: Sequence[Listing], *, actor: audit.Actor | None, version: str) -> list[LlmModel]:
    known = set(LlmModel.objects.values_list("name", flat=True)) | set(
        Alias.objects.values_list("name", flat=True)
    )
    return [
        _add_model(listing, known, actor=actor, version=version)
        for listing in offered
        if listing.name not in known
    ]


def _add_model(listing: Listing, known: set[str], *, actor: audit.Actor | None, version: str) -> LlmModel:
    model = LlmModel.objects.create(
        name=listing.name,
        provider=listing.provider,
        provider_model=listing.name,
        mode=listing.mode,
        tier_id=listing.tier,
        context_window_tokens=listing.context_window_tokens,
        max_output_tokens=listing.max_output_tokens,
    )
    aliases = [name for name in listing.aliases if name not in known]
    Alias.objects.bulk_create(Alias(name=name, model=model) for name in aliases)
    known.update((listing.name, *aliases))
    after = {"tier": listing.tier, "provider": listing.provider, "aliases": aliases}
    audit.record(
        actor=actor, action="model.added", subject=model, after=after, reason=f"price list {version}"
    )
    return model


def _changes(published: PublishedPrices, at: datetime) -> list[ModelChange]:
    models = list(LlmModel.objects.all())
    rows = price_rows(sources=[PriceSource.GENAI_PRICES])
    found = (
        ModelChange(
            model=model,
            slots=tuple(
                slot_changes(rows.get(model.pk, []), published(model.provider, model.provider_model), at=at)
            ),
        )
        for model in models
    )
    return [change for change in found if change.slots]


def _apply(change: ModelChange, *, actor: audit.Actor | None, version: str) -> None:
    for slot in change.slots:
        for row_id, ends_at in slot.ends:
            Price.objects.filter(pk=row_id).update(valid_until=ends_at)
    Price.objects.bulk_create(
        Price(
            model=change.model,
            unit=price.slot.unit,
            context=price.slot.context,
            tier_start=price.slot.tier_start,
            usd_per_unit=price.usd_per_unit,
            valid_from=price.valid_from,
            valid_until=price.valid_until,
            source=PriceSource.GENAI_PRICES,
            source_version=version,
        )
        for slot in change.slots
        for price in slot.adds
    )
    audit.record(
        actor=actor,
        action="prices.imported",
        subject=change.model,
        before=_by_slot({slot.slot: slot.before_usd for slot in change.slots}),
        after=_by_slot({slot.slot: slot.after_usd for slot in change.slots}),
        reason=f"price list {version}",
    )


def _by_slot(amounts: Mapping[Slot, Decimal | None]) -> dict[str, Decimal | None]:
    return {f"{slot.context} {slot.unit} from {slot.tier_start}": usd for slot, usd in amounts.items()}
