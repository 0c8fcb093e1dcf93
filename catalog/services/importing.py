"""Models and prices from the price list."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import structlog
from django.db import connection, transaction

from catalog.importer import Listing, Published, Slot, list_version, listings, published_prices
from catalog.models import (
    Alias,
    LlmModel,
    Price,
    PriceProposal,
    PriceSource,
    ProposalKind,
    ProposalState,
    Tier,
)
from catalog.price_diff import SlotChange, slot_changes
from catalog.proposals import Move, moves_of, moves_of_list, published_as_json
from catalog.selectors import price_rows, unpriced_models
from catalog.services.telling import tell_of_proposal
from core import audit, clock
from teams.models import User
from teams.selectors import require_admin

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
    """What an import did, or would do.

    `waiting` is the proposal of what somebody else must approve first; None after a dry run.
    """

    version: str
    added_models: tuple[str, ...]
    changes: tuple[ModelChange, ...]
    unpriced: tuple[str, ...]
    waiting: PriceProposal | None = None

    @property
    def needs_acceptance(self) -> bool:
        """Whether a person must agree first."""
        return any(change.needs_acceptance for change in self.changes)

    @property
    def moves_at_once(self) -> list[Move]:
        """Return what comes into force with the import itself."""
        return self._moves(loud=False)

    @property
    def moves_to_approve(self) -> list[Move]:
        """Return what waits for another administrator: all of a model of which one price moves far."""
        return self._moves(loud=True)

    def _moves(self, *, loud: bool) -> list[Move]:
        chosen = (change for change in self.changes if change.needs_acceptance is loud)
        return [move for change in chosen for move in moves_of_list(change.model.name, change.slots)]


@transaction.atomic
def import_prices(
    *,
    actor: User | None,
    dry_run: bool = False,
    offered: Sequence[Listing] | None = None,
    published: PublishedPrices | None = None,
) -> ImportReport:
    """Follow the price list and return what changes. Running it again changes nothing.

    Models whose prices move by at most 20 % follow at once. A model that moves further, or loses a price,
    waits as a proposal for an administrator other than `actor`; it takes the place of one that waits already.
    A model that exists keeps its tier and limits: they may have been changed on purpose. A price row is never
    edited: it ends now, or when the planned change comes, and another starts. `dry_run` writes nothing.
    Raises RoleNeededError for a person who is no administrator.
    """
    if actor is not None:
        require_admin(actor, "import prices")
    lock_prices()
    at = database_now()
    version = list_version()
    added = _add_models(listings() if offered is None else offered, actor=actor, version=version)
    prices = published or published_prices
    changes = _changes(prices, at)
    quiet = [change for change in changes if not change.needs_acceptance]
    loud = [change for change in changes if change.needs_acceptance]
    if quiet:
        proposal = _keep(quiet, prices, actor=actor, version=version, state=ProposalState.APPLIED)
        for change in quiet:
            apply_change(change, actor=actor, proposal=proposal)
    waiting = _wait(loud, prices, actor=actor, version=version)
    report = ImportReport(
        version=version,
        added_models=tuple(model.name for model in added),
        changes=tuple(changes),
        unpriced=tuple(model.name for model in unpriced_models(at=at)),
        waiting=None if dry_run else waiting,
    )
    if dry_run:
        transaction.set_rollback(True)
    else:
        log.info(
            "catalog.prices_imported", version=version, models_added=len(added), models_changed=len(quiet),
            models_waiting=len(loud),
        )  # fmt: skip
    return report


def lock_prices() -> None:
    """Let one change of prices happen at a time, until the transaction ends."""
    list(Tier.objects.select_for_update(no_key=True).order_by("pk"))


def database_now() -> datetime:
    """Return the database's clock, which decides what is in force."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        at: datetime = cursor.fetchone()[0]
    return at


def _add_models(offered: Sequence[Listing], *, actor: User | None, version: str) -> list[LlmModel]:
    known = set(LlmModel.objects.values_list("name", flat=True)) | set(
        Alias.objects.values_list("name", flat=True)
    )
    return [
        _add_model(listing, known, actor=actor, version=version)
        for listing in offered
        if listing.name not in known
    ]


def _add_model(listing: Listing, known: set[str], *, actor: User | None, version: str) -> LlmModel:
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


def apply_change(change: ModelChange, *, actor: User | None, proposal: PriceProposal) -> None:
    """Put the changed prices of one model in force, under the lock of lock_prices."""
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
            source_version=proposal.source_version,
            reason=proposal.reason,
            proposal=proposal,
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
        reason=proposal.reason,
    )


def _wait(
    loud: Sequence[ModelChange], prices: PublishedPrices, *, actor: User | None, version: str
) -> PriceProposal | None:
    """Keep what somebody must approve: the same difference once, another one in its place."""
    wanted = {move.what for change in loud for move in moves_of_list(change.model.name, change.slots)}
    before = PriceProposal.objects.filter(kind=ProposalKind.IMPORT, state=ProposalState.WAITING)
    for waiting in before.select_for_update(no_key=True).order_by("pk"):
        if {move.what for move in moves_of(waiting.difference)} == wanted:
            return waiting
        waiting.state, waiting.ended_by, waiting.ended_at = ProposalState.REPLACED, actor, clock.now()
        waiting.save(update_fields=["state", "ended_by", "ended_at"])
    if not loud:
        return None
    proposal = _keep(loud, prices, actor=actor, version=version, state=ProposalState.WAITING)
    audit.record(
        actor=actor,
        action="prices.proposed",
        subject=proposal,
        after={"models": [change.model.name for change in loud], "state": proposal.state},
        reason=proposal.reason,
    )
    tell_of_proposal(proposal)
    return proposal


def _keep(
    changes: Sequence[ModelChange],
    prices: PublishedPrices,
    *,
    actor: User | None,
    version: str,
    state: ProposalState,
) -> PriceProposal:
    """Write the difference down as a proposal: one that waits, or one that is in force at once."""
    waits = state is ProposalState.WAITING
    names = [change.model.name for change in changes]
    moves = [move for change in changes for move in moves_of_list(change.model.name, change.slots)]
    return PriceProposal.objects.create(
        kind=ProposalKind.IMPORT,
        title=f"Price list {version}: {names[0]}" + (f" and {len(names) - 1} more" if names[1:] else ""),
        difference={
            "moves": [move.as_json() for move in moves],
            "models": {
                change.model.public_id: published_as_json(
                    prices(change.model.provider, change.model.provider_model)
                )
                for change in changes
            },
        },
        source_version=version,
        reason=f"price list {version}",
        needs_second=waits,
        state=state,
        proposed_by=actor,
        ended_by=None if waits else actor,
        ended_at=None if waits else clock.now(),
    )


def _by_slot(amounts: Mapping[Slot, Decimal | None]) -> dict[str, Decimal | None]:
    return {f"{slot.context} {slot.unit} from {slot.tier_start}": usd for slot, usd in amounts.items()}
