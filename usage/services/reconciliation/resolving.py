"""What people do about a difference: take it on, explain it, accept it, or let the ledger follow."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import structlog
from django.db import transaction

from catalog.importer import Slot
from catalog.models import Context, LlmModel, PriceSource
from catalog.pricing import price_of
from catalog.proposals import Override
from catalog.selectors import price_rows
from catalog.services import override_price
from core import audit, clock
from core.errors import AlreadyDoneError, InvalidInputError
from core.locks import lock_first
from core.reasons import checked_reason
from teams.errors import RoleNeededError
from teams.models import Role, User
from teams.selectors import names_of, require_admin, role_holders, roles_of
from usage.models import Discrepancy, DiscrepancyClass, DiscrepancyState, Level
from usage.services.reconciliation.calls import book_late
from usage.services.reconciliation.posting import post_call, post_volume

log = structlog.get_logger(__name__)

KEEPERS = (Role.FINANCE, Role.ADMIN)


@transaction.atomic
def assign(*, actor: User, discrepancy: Discrepancy, owner: User | None) -> Discrepancy:
    """Say who looks after a difference, or nobody; finance and administrators may.

    Raises RoleNeededError, and InvalidInputError for somebody who does not answer for the books.
    """
    require_keeper(actor, "assign differences")
    mine = _locked(discrepancy)
    if owner is not None and not set(KEEPERS) & roles_of(owner).organisation_wide:
        raise InvalidInputError(f"{owner.name} is neither of finance nor an administrator.", field="owner")
    before, mine.owner = mine.owner, owner
    mine.save(update_fields=["owner"])
    _record(actor, "discrepancy.assigned", mine, before={"owner": before}, after={"owner": owner})
    return mine


def explain(*, actor: User, discrepancy: Discrepancy, reason: str) -> Discrepancy:
    """Close a difference because its cause is known and needs nothing else; finance and administrators may.

    Raises RoleNeededError, InvalidInputError without a reason, AlreadyDoneError when it is closed.
    """
    return _close(actor, discrepancy, DiscrepancyState.EXPLAINED, "discrepancy.explained", reason)


def accept(*, actor: User, discrepancy: Discrepancy, reason: str) -> Discrepancy:
    """Close a difference that the organisation bears, as `explain` closes one."""
    return _close(actor, discrepancy, DiscrepancyState.ACCEPTED, "discrepancy.accepted", reason)


@transaction.atomic
def confirm_price(*, actor: User, discrepancy: Discrepancy, reason: str) -> Discrepancy:
    """Enter the prices that a provider was found to charge, from the day on which it began, and close the
    difference; administrators may.

    They are entered in the service class and from the step of input that the proposal names, and change
    nothing else. A contract that holds on that day ends there, and one that was entered for a later day
    stays. A price that moves by more than 20 % then waits for a second administrator, as any other does.
    Calls that were made keep their charge until they are priced again. Raises RoleNeededError,
    InvalidInputError where nothing is proposed, AlreadyDoneError when the difference is closed.
    """
    require_admin(actor, "confirm a price")
    text = _reason(reason)
    mine = _locked_open(discrepancy)
    if not mine.proposal:
        raise InvalidInputError("No price is proposed here.")
    model = LlmModel.objects.filter(name=mine.model_name).first()
    if model is None and mine.proposal["prices"]:
        raise InvalidInputError(f"There is no model {mine.model_name}. Add it before its price.")
    if model is not None:
        _enter(actor, model, mine.proposal, text)
    return _close(actor, mine, DiscrepancyState.ACCEPTED, "discrepancy.price_confirmed", text)


def _enter(actor: User, model: LlmModel, proposal: Mapping[str, Any], reason: str) -> None:
    """Enter proposed prices where the proposal says. Steps above keep what they cost: a contract at a lower
    step would come before the list's price of theirs.
    """
    starts_at = datetime.combine(date.fromisoformat(proposal["from"]), datetime.min.time(), tzinfo=UTC)
    context, step = proposal.get("context", Context.STANDARD), proposal.get("tier_start", 0)
    rows = price_rows([model.pk], at=starts_at).get(model.pk, [])
    for unit, price in proposal["prices"].items():
        own = {
            row.tier_start: row.source
            for row in sorted(rows, key=lambda row: row.source == PriceSource.CONTRACT)
            if (row.unit, row.context) == (unit, context) and row.tier_start > step
        }
        kept = {
            above: price_of(rows, unit=unit, context=context, tier_start=above, at=starts_at)
            for above, source in own.items()
            if source != PriceSource.CONTRACT
        }
        for tier_start, usd in {**kept, step: Decimal(price["after"])}.items():
            if usd is None:
                continue
            override = Override(
                slot=Slot(unit=unit, context=context, tier_start=tier_start),
                usd_per_unit=usd,
                source=PriceSource.CONTRACT,
                valid_from=starts_at,
                valid_until=None,
                supersedes=True,
            )
            override_price(actor=actor, model=model, override=override, reason=reason)


@transaction.atomic
def correct(*, actor: User, discrepancy: Discrepancy, reason: str) -> Discrepancy:
    """Let the ledger follow the other side, by entries of their own; finance and administrators may.

    Entries, usage, its sums and the balances move together. What is about a closed month is booked in the
    open one. Raises RoleNeededError, InvalidInputError without a reason or where nothing can follow, and
    AlreadyDoneError when the difference is closed.
    """
    require_keeper(actor, "correct the ledger")
    text = _reason(reason)
    mine = _locked_open(discrepancy)
    if not _post(actor, mine, text):
        raise InvalidInputError(_why_not(mine))
    mine.refresh_from_db()
    mine.state, mine.closed_at, mine.closed_by, mine.note = (
        DiscrepancyState.CORRECTED, clock.now(), actor, text,
    )  # fmt: skip
    mine.save(update_fields=["state", "closed_at", "closed_by", "note"])
    _record(
        actor,
        "discrepancy.corrected",
        mine,
        before={"state": DiscrepancyState.OPEN},
        after={"state": mine.state, "amount_usd": mine.amount_usd},
        reason=text,
    )
    log.info("usage.discrepancy_corrected", discrepancy=mine.public_id, amount=mine.amount_usd)
    return mine


def require_keeper(user: User, act: str) -> None:
    """Raise RoleNeededError that names who may, unless the user is of finance or an administrator."""
    if set(KEEPERS) & roles_of(user).organisation_wide:
        return
    holders = role_holders()
    people = {person for role in KEEPERS for person in holders.organisation_wide.get(role.value, ())}
    names = names_of(sorted(holders.names[person] for person in people))
    raise RoleNeededError(f"Only finance and administrators may {act}. Ask {names}.")


def _post(actor: User, mine: Discrepancy, reason: str) -> bool:
    """Book what the difference is about; say whether anything could be."""
    match DiscrepancyClass(mine.kind), Level(mine.run.level):
        case DiscrepancyClass.MISSING_AT_PORTAL, _:
            return book_late(mine.run, only=mine) == 1
        case DiscrepancyClass.TOKEN_MISMATCH, Level.VOLUMES:
            return post_volume(actor=actor, discrepancy=mine, reason=reason)
        case kind, Level.CALLS if kind is not DiscrepancyClass.MISSING_AT_GATEWAY:
            return post_call(actor=actor, discrepancy=mine, reason=reason)
        case _:
            return False


def _why_not(mine: Discrepancy) -> str:
    match DiscrepancyClass(mine.kind):
        case DiscrepancyClass.MISSING_AT_PORTAL:
            return (
                "The portal did not authorise this call, or its month is closed: nobody can be charged."
                " Explain or accept it."
            )
        case DiscrepancyClass.MISSING_AT_GATEWAY:
            return "What was booked stays booked. Explain or accept the difference."
        case DiscrepancyClass.PRICE_CHANGE:
            return "Enter the price under Prices, then re-price the past there."
        case kind if kind in {DiscrepancyClass.BYPASS_SHARED_KEY, DiscrepancyClass.BYPASS_UNKNOWN_KEY}:
            return "Nobody here made these calls, so nobody can be charged. Explain or accept the difference."
        case _:
            return "The ledger has nothing that could follow. Explain or accept the difference."


@transaction.atomic
def _close(
    actor: User, discrepancy: Discrepancy, state: DiscrepancyState, action: str, reason: str
) -> Discrepancy:
    require_keeper(actor, "close differences")
    text = _reason(reason)
    mine = _locked_open(discrepancy)
    mine.state, mine.closed_at, mine.closed_by, mine.note = state, clock.now(), actor, text
    mine.save(update_fields=["state", "closed_at", "closed_by", "note"])
    _record(actor, action, mine, before={"state": DiscrepancyState.OPEN}, after={"state": state}, reason=text)
    return mine


def _locked(discrepancy: Discrepancy) -> Discrepancy:
    return lock_first(Discrepancy.objects.select_related("run"), discrepancy.pk)


def _locked_open(discrepancy: Discrepancy) -> Discrepancy:
    mine = _locked(discrepancy)
    if mine.state != DiscrepancyState.OPEN:
        raise AlreadyDoneError(f"This difference is closed already: {mine.get_state_display().lower()}.")
    return mine


def _reason(reason: str) -> str:
    return checked_reason(reason, kept="it stays with the difference")


def _record(actor: User, action: str, mine: Discrepancy, **facts: Any) -> None:
    audit.record(actor=actor, action=action, subject=mine, **facts)
