"""Makes keys. A new key has no secret until its owner reveals it."""

from datetime import datetime, timedelta

from django.db import transaction

from core import clock
from core.errors import InvalidInputError
from keys.models import ApiKey
from keys.services.common import clean_name, record
from teams.errors import NotInTeamError
from teams.models import Project, Role, User
from teams.selectors import approvers_for, names_of, works_in
from teams.services.members import locked_person

DEFAULT_DAYS = 180
MAX_DAYS = 365


@transaction.atomic
def issue_key(*, actor: User, project: Project, name: str, expires_at: datetime | None = None) -> ApiKey:
    """Issue a Tier 1 key to the actor himself, awaiting reveal; whoever works in the project's team may.

    While a key of his with this name waits to be revealed, that one is returned: a second click makes none.
    It ends after 180 days unless `expires_at` says otherwise, at most 365. Raises NotInTeamError, and
    InvalidInputError for a closed project, an empty name or an end that is past or too far.
    """
    # One key of a person at a time, and none while he leaves: whether he is here is asked behind the lock.
    actor = locked_person(actor)
    if not works_in(actor, project.team):
        lead = names_of(approvers_for(Role.LEAD, project))
        raise NotInTeamError(
            f"You do not work in team {project.team}, so you cannot have a key of {project}."
            f" Ask {lead} to add you."
        )
    return _unrevealed(actor, project, name) or _issue(
        actor=actor, owner=actor, project=project, name=name, expires_at=expires_at
    )


@transaction.atomic
def issue_approved_key(*, actor: User, owner: User, project: Project, name: str, days: int) -> ApiKey:
    """Issue a key to `owner` on behalf of an approved request that `actor` decided; the grant comes next.

    It lives at least as long as the `days` that were granted, so that it can carry the whole grant.
    """
    expires_at = clock.now() + timedelta(days=min(max(days, DEFAULT_DAYS), MAX_DAYS))
    return _issue(actor=actor, owner=owner, project=project, name=name, expires_at=expires_at)


def _unrevealed(owner: User, project: Project, name: str) -> ApiKey | None:
    """Return the owner's Tier 1 key with this name that he can still reveal, if there is one."""
    waiting = ApiKey.objects.filter(
        owner=owner, project=project, name=name.strip(), revealed_at__isnull=True, revoked_at__isnull=True
    )
    return waiting.filter(expires_at__gt=clock.now(), grants__isnull=True).order_by("pk").first()


def _issue(*, actor: User, owner: User, project: Project, name: str, expires_at: datetime | None) -> ApiKey:
    now = clock.now()
    ends_at = expires_at or now + timedelta(days=DEFAULT_DAYS)
    if project.archived_at or project.team.archived_at:
        raise InvalidInputError(f"{project} is closed. Choose an open project.", field="project")
    label = clean_name(name)
    if not now < ends_at <= now + timedelta(days=MAX_DAYS):
        raise InvalidInputError(f"Choose an end within the next {MAX_DAYS} days.", field="expires_at")
    key = ApiKey.objects.create(name=label, project=project, owner=owner, created_at=now, expires_at=ends_at)
    after = {"name": label, "project": project.code, "owner": owner, "expires_at": ends_at}
    record(actor, "key.issued", key, key, after=after)
    return key
