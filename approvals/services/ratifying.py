"""What a break-glass review does that ratifies nothing: the grant ends, whatever ended the review."""

from approvals.models import AccessRequest, RequestKind, RequestStatus
from core import clock
from keys.models import Grant
from keys.services import revoke_grant


def end_unratified(request: AccessRequest) -> None:
    """End the grant of a break-glass review that is over without an approval, if it is still active."""
    if request.kind != RequestKind.BREAK_GLASS or request.status == RequestStatus.APPROVED:
        return
    given = Grant.objects.select_related("key").filter(
        source_request=request.public_id, revoked_at__isnull=True, expires_at__gt=clock.now()
    )
    for grant in given:
        reason = f"Its break-glass review is over: {RequestStatus(request.status).label.lower()}."
        revoke_grant(actor=None, grant=grant, reason=reason)
