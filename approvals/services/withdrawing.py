"""Takes a request back."""

from django.db import transaction

from approvals.models import AccessRequest, RequestKind, RequestStatus
from approvals.services.common import locked, record, require_open
from core import clock
from core.errors import InvalidInputError, NotAllowedError
from teams.models import User


@transaction.atomic
def withdraw(*, actor: User, request: AccessRequest) -> AccessRequest:
    """Withdraw a pending request; only its requester may, and the second time changes nothing.

    Raises AlreadyDecidedError when somebody decided first, GoneError when it expired, and InvalidInputError
    for the review of a broken glass.
    """
    mine = locked(request)
    require_requester(actor, mine)
    if mine.status == RequestStatus.WITHDRAWN:
        return mine
    require_open(mine)
    require_withdrawable(mine)
    mine.status, mine.decided_at = RequestStatus.WITHDRAWN, clock.now()
    mine.save(update_fields=["status", "decided_at"])
    record(actor, "request.withdrawn", mine, before={"status": "pending"}, after={"status": mine.status})
    return mine


def require_requester(actor: User, request: AccessRequest) -> None:
    """Let only the person who asked change or withdraw. Raises NotAllowedError."""
    if actor.pk != request.requester_id or not actor.is_active:
        raise NotAllowedError(f"Only {request.requester}, who made this request, may change or withdraw it.")


def require_withdrawable(request: AccessRequest) -> None:
    """Refuse to take back the review of what was done: the access was had. Raises InvalidInputError."""
    if request.kind == RequestKind.BREAK_GLASS:
        raise InvalidInputError(
            "The glass is broken: this review stays until somebody has decided it. If you need the access no"
            " more, end it on the page of its key."
        )
