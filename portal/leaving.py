"""The leaver rule joined together: what each app ends, and what an administrator reads before."""

from collections.abc import Mapping, Sequence

from django.db.models import F, Q

from approvals.models import AccessRequest, BudgetRequest, Delegation
from approvals.services import close_requests_of
from core import clock
from keys.models import ApiKey, ApiToken, Grant, ServiceAccount
from keys.services import revoke_keys_of
from teams.models import Project, RoleAssignment, User
from teams.ports import Leaving


def end_requests(*, actor: User | None, person: User, reason: str) -> Mapping[str, int]:
    """Close what the person waits for, and end what he lends and was lent."""
    return close_requests_of(person, reason=reason)


def end_keys(*, actor: User | None, person: User, reason: str) -> Mapping[str, int]:
    """Revoke his keys, with what was granted to them, and the API tokens that he knows."""
    return {"keys": len(revoke_keys_of(actor=actor, person=person, reason=reason))}


def consequences(person: User) -> Sequence[str]:
    """Return what ends, and what stays behind without him. Nine queries."""
    now = clock.now()
    keys = ApiKey.objects.filter(owner=person, revoked_at__isnull=True, expires_at__gt=now)
    grants = Grant.objects.filter(key__in=keys, revoked_at__isnull=True, expires_at__gt=now).count()
    waiting = (
        AccessRequest.objects.pending().filter(Q(requester=person) | Q(beneficiary=person)).count()
        + BudgetRequest.objects.pending().filter(requester=person).count()
    )
    lines = [
        f"The key {key.name} of project {key.project} ({key.masked}) is revoked: calls are refused at once."
        for key in keys.select_related("project").order_by("name", "pk")
    ]
    lines += [f"Access to higher tiers ends: {grants} in force."] if grants else []
    lines += [f"Requests that wait for a decision are closed: {waiting}."] if waiting else []
    tokens = ApiToken.objects.visible_to(person).filter(revoked_at__isnull=True, expires_at__gt=now)
    lines += [
        f"The API token {token.name} ({token.masked}) of {token.owner} is revoked."
        for token in tokens.select_related("owner").order_by("name", "pk")
    ]
    lent = Delegation.objects.filter(Q(giver=person) | Q(taker=person), valid_until__gt=now)
    count = lent.exclude(valid_until=F("valid_from")).count()
    lines += [f"Delegations from and to this person end: {count}."] if count else []
    for role in RoleAssignment.objects.live().filter(user=person).select_related("team", "department"):
        where = role.team or role.department
        lines.append(f"{role.get_role_display()}{f' of {where}' if where else ''}: the role ends.")
    for project in Project.objects.open().filter(owner=person):
        lines.append(f"Project {project} stays and still names this person as its owner: name another one.")
    for account in ServiceAccount.objects.filter(responsible=person).select_related("user"):
        lines.append(f"The service {account.user} stays, and nobody answers for it: open another one.")
    return [
        *lines,
        "All sessions end, and nobody can sign in with the account. What was done stays in the records.",
    ]


LEAVING = Leaving(endings=(end_requests, end_keys), consequences=consequences)
