"""Keeps or ends access that hardly anybody uses; both are written down."""

from django.db import transaction

from approvals.models import GrantReview
from approvals.reviews import use_in_words
from core import audit, clock
from core.errors import AlreadyDoneError, NotAllowedError
from core.locks import lock_first
from core.reasons import checked_remark
from keys.models import ApiKey, Grant, GrantState
from keys.services import revoke_grant
from teams.models import User
from teams.selectors import roles_of

MAX_REASON_CHARACTERS = 240


@transaction.atomic
def review_grant(*, actor: User, grant: Grant, keeps: bool, reason: str = "") -> GrantReview:
    """Keep an active grant for another 30 days before it is asked about again, or end it now.

    Where no reason is given, what is known of its use is the reason. The owner is told of an end with it.
    The lead, the director and administrators may, nobody for his own key. Raises
    NotAllowedError, InvalidInputError, and AlreadyDoneError when the grant has ended already.
    """
    # The key before its grant, as everywhere.
    ApiKey.objects.select_for_update(no_key=True).order_by("pk").get(pk=grant.key_id)
    rows = Grant.objects.select_related("key__project__team__department", "key__owner", "tier", "revoked_by")
    mine = lock_first(rows, grant.pk)
    team = mine.key.project.team
    if actor.pk == mine.key.owner_id or not actor.is_active or not roles_of(actor).oversees(team):
        raise NotAllowedError(f"Only the lead of {team}, its director or an administrator reviews this.")
    if mine.state is not GrantState.ACTIVE:
        raise AlreadyDoneError(f"{mine} has ended already. Nothing needs to be done.")
    did = "Kept" if keeps else "Ended"
    given = checked_remark(reason, most=MAX_REASON_CHARACTERS)
    text = given or f"{did} in the access review: {use_in_words(mine)}."
    review = GrantReview.objects.create(grant=mine, reviewer=actor, keeps=keeps, reason=text, at=clock.now())
    if not keeps:
        revoke_grant(actor=actor, grant=mine, reason=text)
    audit.record(
        actor=actor,
        action="grant.kept" if keeps else "grant.not_kept",
        subject=mine,
        after={"keeps": keeps},
        reason=text,
        team_id=team.pk,
        department_id=team.department_id,
    )
    return review
