"""Decides a request for more budget: one human, who did not ask, and who could set the limit himself, or
whoever that one lent his role to.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction

from approvals.models import BudgetRequest, RequestStatus, Verdict
from approvals.owners import require_owner
from approvals.services.common import require_seen
from approvals.services.increases.common import (
    asked_facts,
    end,
    locked_increase,
    outcome_text,
    record_increase,
    require_open,
    write_expiry,
)
from approvals.services.increases.raising import raise_limit
from approvals.services.mails import mail_about_budget
from core import clock
from core.errors import InvalidInputError
from core.money import format_usd, quantise
from core.reasons import checked_comment
from teams.models import User

MAX_TEXT_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class IncreaseOutcome:
    """The request as it stands; `replayed` when the same verdict had been given before."""

    request: BudgetRequest
    replayed: bool = False


@transaction.atomic
def decide_increase(
    *,
    actor: User,
    request: BudgetRequest,
    verdict: Verdict,
    seen_revision: int,
    comment: str = "",
    limit_usd: Decimal | None = None,
    until: datetime | None = None,
) -> IncreaseOutcome:
    """Approve or deny the revision that the actor read; an approval sets the limit as he, at once.

    He may give a lower limit than was asked for, or one that ends earlier, never more. The same verdict of
    the same actor again changes nothing. Raises AlreadyDecidedError (409), ChangedSinceReadError (412),
    NotEligibleError (403), GoneError (410), InvalidInputError (422), and what setting the limit raises,
    HeadroomError with the numbers above all: then nothing is decided.
    """
    mine = locked_increase(request)
    if _is_replay(mine, actor, verdict, seen_revision):
        return IncreaseOutcome(request=mine, replayed=True)
    require_open(mine)
    require_seen(mine, seen_revision)
    mandate = require_owner(actor, mine)
    text = checked_comment(comment, denies=verdict == Verdict.DENY)
    mine.decided_by, mine.comment = actor, text
    mine.on_behalf_of = mandate.giver if mandate else None
    if verdict == Verdict.APPROVE:
        given_usd, ends = _checked_offer(mine, limit_usd, until)
        mine.limit = raise_limit(
            actor=actor,
            budget=mine.budget,
            limit_usd=given_usd,
            until=ends,
            reason=_reason(mine),
            mandate=mandate,
        )
    end(mine, RequestStatus.APPROVED if verdict == Verdict.APPROVE else RequestStatus.DENIED)
    _record_and_tell(mine, actor)
    return IncreaseOutcome(request=mine)


def _record_and_tell(request: BudgetRequest, actor: User) -> None:
    given = {"amount_usd": request.limit.amount_usd} if request.limit else {}
    text = outcome_text(request)
    record_increase(
        actor,
        f"budget_increase.{request.status}",
        request,
        after={**asked_facts(request), "status": request.status, **given},
        reason=request.comment,
        on_behalf_of=request.on_behalf_of,
    )
    mail_about_budget(
        request,
        request.requester,
        event=request.status,
        subject=f"{request} was {RequestStatus(request.status).label.lower()}",
        body=text if request.comment else f"{text}.",
    )


def _checked_offer(
    request: BudgetRequest, limit_usd: Decimal | None, until: datetime | None
) -> tuple[Decimal, datetime | None]:
    """Return the limit that is given and its end: what was asked for, or less."""
    given_usd = request.limit_usd if limit_usd is None else limit_usd
    if not given_usd.is_finite() or given_usd > request.limit_usd:
        raise InvalidInputError(
            f"Enter a limit up to {format_usd(request.limit_usd)}, which was asked for."
            " For more, the request has to be changed.",
            field="limit_usd",
        )
    if until is None:
        return quantise(given_usd), request.until
    if request.until is None or not clock.now() < until <= request.until:
        raise InvalidInputError(
            "Enter an end that is still to come, and no later than the one that was asked for."
            if request.until
            else "It was asked for for good. For a limit that ends, the request has to be changed.",
            field="until",
        )
    return quantise(given_usd), until


def expire_increases(*, most: int) -> int:
    """Write down the requests whose time has passed and tell their requesters; return how many."""
    due = BudgetRequest.objects.filter(status=RequestStatus.PENDING, decide_by__lte=clock.now())
    return sum(_expire(pk) for pk in due.order_by("pk").values_list("pk", flat=True)[:most])


def _reason(request: BudgetRequest) -> str:
    """Return what the history of the budget says of the limit that is set."""
    decided = f", decided for {request.on_behalf_of}" if request.on_behalf_of else ""
    return f"Asked for by {request.requester}{decided}: {request.reason}"[:MAX_TEXT_CHARACTERS]


def _is_replay(request: BudgetRequest, actor: User, verdict: Verdict, seen_revision: int) -> bool:
    status = RequestStatus.APPROVED if verdict == Verdict.APPROVE else RequestStatus.DENIED
    same = (request.status, request.decided_by_id) == (status, actor.pk)
    return same and request.revision == seen_revision


@transaction.atomic
def _expire(pk: int) -> int:
    still = BudgetRequest.objects.filter(pk=pk, status=RequestStatus.PENDING)
    if still.select_for_update(no_key=True, skip_locked=True).order_by("pk").first() is None:
        return 0
    write_expiry(BudgetRequest.objects.placed().get(pk=pk))
    return 1
