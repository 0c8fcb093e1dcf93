"""Lets another person answer for a service account."""

from django.db import transaction

from core import audit, clock
from core.locks import lock_first
from keys.models import ApiToken, ServiceAccount
from keys.services.accounts import require_person
from keys.services.tokens import end_token
from teams.models import User
from teams.selectors import require_admin


@transaction.atomic
def hand_over_service(*, actor: User, account: ServiceAccount, responsible: User) -> ServiceAccount:
    """Let another person answer for a service: whoever answers for it now may, and administrators.

    Its tokens end: the person before knows their secrets. The same person again changes nothing. Raises
    RoleNeededError, and InvalidInputError for a person who has left or a service.
    """
    rows = ServiceAccount.objects.select_related("user", "responsible")
    mine = lock_first(rows, account.pk)
    if actor.pk != mine.responsible_id or not actor.is_active:
        require_admin(actor, "say who answers for this service")
    if responsible.pk == mine.responsible_id:
        return mine
    require_person(responsible)
    before, mine.responsible = mine.responsible, responsible
    mine.save(update_fields=["responsible"])
    live = ApiToken.objects.filter(owner=mine.user, revoked_at__isnull=True, expires_at__gt=clock.now())
    for token in live.select_for_update(no_key=True).order_by("pk"):
        end_token(actor=actor, token=token, reason=f"{responsible} answers for {mine} now, not {before}.")
    audit.record(
        actor=actor,
        action="service_account.handed_over",
        subject=mine.user,
        before={"responsible": before},
        after={"responsible": responsible},
    )
    return mine
