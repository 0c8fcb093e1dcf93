"""The leaver rule joined together: what each app ends, and what an administrator reads before."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from django.db.models import F, Q

from approvals.models import Delegation
from approvals.selectors import waiting_for
from approvals.services import close_requests_in_team, close_requests_of
from core import clock
from keys.models import ApiKey, ApiToken, Grant, ServiceAccount
from keys.services import revoke_keys_in_team, revoke_keys_of
from teams.models import Project, RoleAssignment, Team, User
from teams.ports import Consequence, Leaving
from teams.ports import ConsequenceKind as Kind


def end_requests(*, actor: User | None, person: User, reason: str) -> Mapping[str, int]:
    """Close what the person waits for, and end what he lends and was lent."""
    return close_requests_of(person, reason=reason)


def end_keys(*, actor: User | None, person: User, reason: str) -> Mapping[str, int]:
    """Revoke his keys, with what was granted to them, and the API tokens that he knows."""
    return {"keys": len(revoke_keys_of(actor=actor, person=person, reason=reason))}


def end_requests_in_team(*, actor: User | None, person: User, team: Team, reason: str) -> Mapping[str, int]:
    """Close what he waits for in a team."""
    return close_requests_in_team(person, team=team, reason=reason)


def end_keys_in_team(*, actor: User | None, person: User, team: Team, reason: str) -> Mapping[str, int]:
    """Revoke his keys for projects of a team, with what was granted to them."""
    return {"keys": len(revoke_keys_in_team(actor=actor, person=person, team=team, reason=reason))}


def consequences(person: User) -> Sequence[Consequence]:
    """Return what ends, and what stays behind without him. Nine queries."""
    now = clock.now()
    found = [*_keys(person, now), *_requests(person), *_tokens(person, now), *_delegations(person, now)]
    found += [*_roles(person), *_left_behind(person)]
    last = "All sessions end, and nobody can sign in with the account. What was done stays in the records."
    return [*found, Consequence(kind=Kind.SESSIONS, text=last)]


def _keys(person: User, now: datetime) -> Iterator[Consequence]:
    keys = ApiKey.objects.filter(owner=person, revoked_at__isnull=True, expires_at__gt=now)
    for key in keys.select_related("project").order_by("name", "pk"):
        which = f"{key.name} of project {key.project} ({key.masked})"
        text = f"The key {which} is revoked: calls are refused at once."
        yield Consequence(kind=Kind.KEY, text=text, public_id=key.public_id)
    grants = Grant.objects.filter(key__in=keys, revoked_at__isnull=True, expires_at__gt=now).count()
    if grants:
        yield Consequence(kind=Kind.GRANTS, text=f"Access to higher tiers ends: {grants} in force.")


def _requests(person: User) -> Iterator[Consequence]:
    waiting = sum(rows.count() for rows in waiting_for(person))
    if waiting:
        text = f"Requests that wait for a decision are closed: {waiting}."
        yield Consequence(kind=Kind.REQUESTS, text=text)


def _tokens(person: User, now: datetime) -> Iterator[Consequence]:
    tokens = ApiToken.objects.visible_to(person).filter(revoked_at__isnull=True, expires_at__gt=now)
    for token in tokens.select_related("owner").order_by("name", "pk"):
        text = f"The API token {token.name} ({token.masked}) of {token.owner} is revoked."
        yield Consequence(kind=Kind.API_TOKEN, text=text, public_id=token.public_id)


def _delegations(person: User, now: datetime) -> Iterator[Consequence]:
    lent = Delegation.objects.filter(Q(giver=person) | Q(taker=person), valid_until__gt=now)
    count = lent.exclude(valid_until=F("valid_from")).count()
    if count:
        text = f"Delegations from and to this person end: {count}."
        yield Consequence(kind=Kind.DELEGATIONS, text=text)


def _roles(person: User) -> Iterator[Consequence]:
    for role in RoleAssignment.objects.live().filter(user=person).select_related("team", "department"):
        where = role.team or role.department
        text = f"{role.get_role_display()}{f' of {where}' if where else ''}: the role ends."
        yield Consequence(kind=Kind.ROLE, text=text, public_id=role.public_id)


def _left_behind(person: User) -> Iterator[Consequence]:
    for project in Project.objects.open().filter(owner=person):
        text = f"Project {project} stays and still names this person as its owner: name another one."
        yield Consequence(kind=Kind.PROJECT, text=text, public_id=project.public_id)
    for account in ServiceAccount.objects.filter(responsible=person).select_related("user"):
        text = f"The service {account.user} stays, and nobody answers for it: open another one."
        yield Consequence(kind=Kind.SERVICE_ACCOUNT, text=text, public_id=account.user.public_id)


LEAVING = Leaving(endings=(end_requests, end_keys), consequences=consequences)
TEAM_ENDINGS = (end_requests_in_team, end_keys_in_team)
