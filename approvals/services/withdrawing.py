"""Takes a request back."""

from django.db import transaction

from approvals.models import AccessRequest, RequestStatus
from approvals.services.common import locked, record, require_open
from approvals.services.ratifying import end_unratified
from core import clock
from core.errors import NotAllowedError
from teams.models import User


@transaction.atomic
def withdraw(*, actor: User, request: AccessRequest) -> AccessRequest:
    """Withdraw a pending request; only its requester may, and the second time changes nothing.

    Raises AlreadyDecidedError when somebody decided first, GoneError when it expired.
    """
    mine = locked(request)
    require_requester(actor, mine)
    if mine.status == RequestStatus.WITHDRAWN:
        return mine
    require_open(mine)
    mine.status, mine.decided_at = RequestStatus.WITHDRAWN, clock.now()
    mine.save(update_fields=["status", "decided_at"])
    record(actor, "request.withdrawn", mine, before={"status": "pending"}, after={"status": mine.status})
    end_unratified(mine)
    return mine


def require_requester(actor: User, request: AccessRequest) -> None:
    """Let only the person who asked change or withdraw. Raises NotAllowedError."""
    if actor.pk != request.requester_id or not actor.is_active:
        raise NotAllowedError(f"Only {request.requester}, who made this request, may change or withdraw it.")
