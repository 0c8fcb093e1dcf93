"""The second person's word on a change of prices: put it in force, or reject it with a reason."""

from collections import Counter
from collections.abc import Sequence

import structlog
from django.db import transaction

from catalog.errors import StaleProposalError
from catalog.models import LlmModel, PriceProposal, PriceSource, ProposalKind, ProposalState
from catalog.price_diff import slot_changes
from catalog.proposals import Move, moves_of, moves_of_list, published_from_json
from catalog.selectors import price_rows
from catalog.services import overriding
from catalog.services.importing import ModelChange, apply_change, database_now, lock_prices
from core import audit, clock
from core.errors import AlreadyDoneError, NotAllowedError
from core.reasons import checked_reason
from teams.models import User
from teams.selectors import require_admin

log = structlog.get_logger(__name__)


@transaction.atomic
def approve_prices(*, actor: User, proposal: PriceProposal) -> PriceProposal:
    """Put proposed prices in force; another administrator than the one who proposed them does.

    Raises RoleNeededError, NotAllowedError for the proposer, AlreadyDoneError when it has ended, and
    StaleProposalError when by now it would do something else than what was seen.
    """
    require_admin(actor, "approve prices")
    lock_prices()
    mine = _locked(proposal)
    if actor.pk == mine.proposed_by_id:
        raise NotAllowedError("You proposed it, so another administrator approves it.")
    match mine.kind:
        case ProposalKind.IMPORT:
            _apply_import(actor, mine)
        case _:
            overriding.apply_proposal(actor=actor, proposal=mine, check=_require_same)
    _end(mine, ProposalState.APPLIED, actor)
    audit.record(
        actor=actor,
        action="prices.approved",
        subject=mine,
        before={"state": ProposalState.WAITING},
        after={"state": mine.state},
        reason=mine.reason,
    )
    log.info("catalog.prices_approved", proposal=mine.public_id)
    return mine


@transaction.atomic
def reject_prices(*, actor: User, proposal: PriceProposal, reason: str) -> PriceProposal:
    """Reject a proposal, or take it back: whoever proposed it, or another administrator. Nothing changes.

    Raises RoleNeededError, InvalidInputError without a reason, AlreadyDoneError when it has ended.
    """
    require_admin(actor, "reject prices")
    answer = checked_reason(reason)
    mine = _locked(proposal)
    mine.answer = answer
    _end(mine, ProposalState.REJECTED, actor)
    audit.record(
        actor=actor,
        action="prices.rejected",
        subject=mine,
        before={"state": ProposalState.WAITING},
        after={"state": mine.state},
        reason=answer,
    )
    return mine


def _locked(proposal: PriceProposal) -> PriceProposal:
    rows = PriceProposal.objects.select_for_update(no_key=True).order_by("pk")
    mine = rows.get(pk=proposal.pk)
    if mine.state != ProposalState.WAITING:
        raise AlreadyDoneError(f"It is {mine.get_state_display().lower()} already. Nothing was changed.")
    return mine


def _end(mine: PriceProposal, state: ProposalState, actor: User) -> None:
    mine.state, mine.ended_by, mine.ended_at = state, actor, clock.now()
    mine.save(update_fields=["state", "ended_by", "ended_at", "answer"])


def _apply_import(actor: User, mine: PriceProposal) -> None:
    at = database_now()
    kept = mine.difference["models"]
    models = list(LlmModel.objects.filter(public_id__in=kept).order_by("pk"))
    rows = price_rows([model.pk for model in models], sources=[PriceSource.GENAI_PRICES])
    changes = [
        ModelChange(
            model=model,
            slots=tuple(
                slot_changes(rows.get(model.pk, []), published_from_json(kept[model.public_id]), at=at)
            ),
        )
        for model in models
    ]
    _require_same(mine, [move for each in changes for move in moves_of_list(each.model.name, each.slots)])
    for change in changes:
        apply_change(change, actor=actor, proposal=mine)


def _require_same(mine: PriceProposal, moves: Sequence[Move]) -> None:
    """Refuse what would do something else than what was seen."""
    seen = moves_of(mine.difference)
    if Counter(move.what for move in moves) != Counter(move.what for move in seen):
        raise StaleProposalError(
            "Prices changed since this was proposed, so it would do something else now. Reject it, and make"
            " the change again."
        )
