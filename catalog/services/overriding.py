"""Prices that a person enters or ends: contracts and corrections of the list, now, later or since earlier."""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal

import structlog
from django.db import connection, transaction

from catalog.contexts import contexts_of
from catalog.errors import StaleProposalError
from catalog.importer import Slot
from catalog.models import Context, LlmModel, Price, PriceProposal, PriceSource, ProposalKind, ProposalState
from catalog.pricing import PriceRow
from catalog.proposals import (
    Move,
    Override,
    before_the_next,
    moves_between,
    same_place,
    slot_as_json,
    with_override,
)
from catalog.selectors import price_rows
from catalog.services.entering import MOST_USD, SCALE
from catalog.services.importing import database_now, lock_prices
from catalog.services.telling import tell_of_proposal
from core import audit, clock
from core.errors import InvalidInputError
from core.reasons import checked_reason
from teams.models import User
from teams.selectors import require_admin

log = structlog.get_logger(__name__)

BY_HAND = (PriceSource.CONTRACT, PriceSource.MANUAL)
Check = Callable[[PriceProposal, Sequence[Move]], None]


@transaction.atomic
def override_price(*, actor: User | None, model: LlmModel, override: Override, reason: str) -> PriceProposal:
    """Enter a price by hand, and return what became of it: in force, or waiting for a second person.

    What a call is charged may move by at most 20 % at once; beyond that another administrator approves.
    `valid_from` may be to come, or past: calls that were made keep their charge until they are priced again.
    The program itself (`actor` None) only proposes. Raises RoleNeededError, and InvalidInputError naming what
    is impossible: a price, a class that the provider does not sell, a time in which another one holds.
    """
    if actor is not None:
        require_admin(actor, "enter prices")
    text = checked_reason(reason)
    _check(model, override)
    lock_prices()
    at = database_now()
    rows = price_rows([model.pk]).get(model.pk, [])
    override = before_the_next(rows, override, at)
    _require_room(rows, override, at)
    moves = _moves(model, rows, override, at)
    proposal = _keep(
        kind=ProposalKind.OVERRIDE,
        title=f"{PriceSource(override.source).label} price of {model}",
        difference={"model": model.public_id, "override": override.as_json()},
        moves=moves,
        actor=actor,
        reason=text,
    )
    if not proposal.needs_second:
        _enter(model, override, at, proposal)
    return proposal


@transaction.atomic
def end_price(*, actor: User, price: Price, ends_at: datetime | None, reason: str) -> PriceProposal:
    """End a price that somebody entered, now or at `ends_at`; one that is planned is withdrawn.

    Returns what became of it, as override_price does. Raises RoleNeededError, and InvalidInputError for a
    price of the list, one that has ended, and a time in the past.
    """
    require_admin(actor, "end prices")
    text = checked_reason(reason)
    lock_prices()
    at = database_now()
    mine = Price.objects.select_related("model").get(pk=price.pk)
    ends = _ending(mine, ends_at, at)
    rows = price_rows([mine.model_id])[mine.model_id]
    proposal = _keep(
        kind=ProposalKind.ENDING,
        title=f"End of the {mine.get_source_display().lower()} price of {mine.model}",
        difference={
            "model": mine.model.public_id,
            "price": mine.public_id,
            "ends_at": None if ends_at is None else ends_at.isoformat(),
        },
        moves=_moves_of_ending(mine, rows, ends),
        actor=actor,
        reason=text,
    )
    if not proposal.needs_second:
        _finish(mine, ends)
    return proposal


def apply_proposal(*, actor: User, proposal: PriceProposal, check: Check) -> None:
    """Put a price that was approved in force, or end it, under the lock of lock_prices.

    `check` refuses when it would do something else than what was seen. Raises StaleProposalError also when
    another price has taken its place.
    """
    at = database_now()
    kept = proposal.difference
    model = LlmModel.objects.get(public_id=kept["model"])
    rows = price_rows([model.pk]).get(model.pk, [])
    try:
        if proposal.kind == ProposalKind.OVERRIDE:
            override = before_the_next(rows, Override.from_json(kept["override"]), at)
            _require_room(rows, override, at)
            check(proposal, _moves(model, rows, override, at))
            _enter(model, override, at, proposal)
        else:
            price = Price.objects.get(public_id=kept["price"])
            ends = _ending(price, datetime.fromisoformat(kept["ends_at"]) if kept["ends_at"] else None, at)
            check(proposal, _moves_of_ending(price, rows, ends))
            _finish(price, ends)
    except InvalidInputError as error:
        raise StaleProposalError(f"{error.detail} Reject this, and make the change again.") from error


def _keep(
    *,
    kind: ProposalKind,
    title: str,
    difference: dict[str, object],
    moves: Sequence[Move],
    actor: User | None,
    reason: str,
) -> PriceProposal:
    """Write a change down: in force at once, or waiting for a second person."""
    waits = actor is None or any(move.needs_second for move in moves)
    proposal = PriceProposal.objects.create(
        kind=kind,
        title=title,
        difference={**difference, "moves": [move.as_json() for move in moves]},
        reason=reason,
        needs_second=waits,
        state=ProposalState.WAITING if waits else ProposalState.APPLIED,
        proposed_by=actor,
        ended_by=None if waits else actor,
        ended_at=None if waits else clock.now(),
    )
    audit.record(
        actor=actor,
        action="prices.proposed" if waits else "prices.overridden",
        subject=proposal,
        after={"models": [move.model for move in moves[:1]], "state": proposal.state},
        reason=reason,
    )
    if waits:
        tell_of_proposal(proposal)
    log.info("catalog.price_proposed", proposal=proposal.public_id, kind=kind, waits=waits)
    return proposal


def _moves(model: LlmModel, rows: Sequence[PriceRow], override: Override, at: datetime) -> list[Move]:
    after = with_override(rows, override, at)
    return moves_between(model.name, override.slot, rows, after, at=override.valid_from or at)


def _moves_of_ending(price: Price, rows: Sequence[PriceRow], ends: datetime) -> list[Move]:
    slot = Slot(unit=price.unit, context=price.context, tier_start=price.tier_start)
    after = [row for row in rows if row.id != price.pk]
    return moves_between(price.model.name, slot, rows, after, at=ends)


def _enter(model: LlmModel, override: Override, at: datetime, proposal: PriceProposal) -> Price:
    """Write the price first and end the former then: the database lets one end in the past only where another
    takes its place.
    """
    row = override.row(at)
    author = proposal.proposed_by
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS price_ranges_do_not_overlap DEFERRED")
        entered = Price.objects.create(
            model=model,
            usd_per_unit=row.usd_per_unit,
            valid_from=row.valid_from,
            valid_until=row.valid_until,
            source=row.source,
            source_version=author.public_id if author else "",
            author=author,
            reason=proposal.reason,
            proposal=proposal,
            **slot_as_json(override.slot),
        )
        former = Price.objects.filter(
            model=model, source=row.source, valid_from__lte=row.valid_from, **slot_as_json(override.slot)
        ).exclude(pk=entered.pk)
        former.exclude(valid_until__lte=row.valid_from).update(valid_until=row.valid_from)
        cursor.execute("SET CONSTRAINTS price_ranges_do_not_overlap IMMEDIATE")
    return entered


def _finish(price: Price, ends: datetime) -> None:
    Price.objects.filter(pk=price.pk).update(valid_until=ends)


def _ending(price: Price, ends_at: datetime | None, at: datetime) -> datetime:
    """Return when a price would end: not in the past, and a planned one at its own start."""
    if price.source not in BY_HAND:
        raise InvalidInputError("A price of the list ends when the list says so. Enter one that beats it.")
    if price.valid_until is not None and price.valid_until <= max(at, price.valid_from):
        raise InvalidInputError("This price has ended already.")
    ends = max(ends_at or at, price.valid_from)
    if ends < at:
        raise InvalidInputError("A price cannot end in the past. Choose a day to come.", field="ends_at")
    if price.valid_until is not None and ends >= price.valid_until:
        raise InvalidInputError("It ends before that day already.", field="ends_at")
    return ends


def _require_room(rows: Sequence[PriceRow], override: Override, at: datetime) -> None:
    """Refuse a price for a time in which another of its slot and source holds and cannot give way."""
    if override.supersedes:
        return
    new = override.row(at)
    for row in rows:
        if not same_place(row, new) or row.valid_until == row.valid_from:
            continue
        ends_later = row.valid_until is None or row.valid_until > new.valid_from
        starts_before_the_end = new.valid_until is None or row.valid_from < new.valid_until
        if row.valid_from >= new.valid_from and starts_before_the_end:
            raise InvalidInputError(
                f"Another one of this source holds from {row.valid_from:%-d %B %Y}. Let this one end before"
                " it, or end that one first.",
                field="valid_until",
            )
        if row.valid_from < new.valid_from < at and ends_later:
            raise InvalidInputError(
                f"Another one of this source holds since {row.valid_from:%-d %B %Y}, and a price cannot end"
                " in the past. Let this one start now, or enter it as a contract.",
                field="valid_from",
            )


def _check(model: LlmModel, override: Override) -> None:
    if override.source not in BY_HAND:
        raise InvalidInputError("Choose a contract or a manual price.", field="source")
    if Context(override.slot.context) not in contexts_of(model.provider):
        raise InvalidInputError(
            f"{model.get_provider_display()} does not sell the class {override.slot.context}.",
            field="context",
        )
    usd = override.usd_per_unit
    if not Decimal(0) <= usd <= MOST_USD:
        raise InvalidInputError(f"Enter a price from 0 to ${MOST_USD:,f} for one.", field="usd_per_unit")
    if usd != usd.quantize(SCALE):
        raise InvalidInputError("A price has at most fifteen decimals for one.", field="usd_per_unit")
    starts, ends = override.valid_from, override.valid_until
    if ends is not None and ends <= (starts or clock.now()):
        raise InvalidInputError("It must end after it starts.", field="valid_until")
