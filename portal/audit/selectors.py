"""Who may read which audit events, and the events that filters leave."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from approvals.models import AccessRequest, BudgetRequest, Delegation
from core.models import AuditEvent, AuditSeal
from keys.models import ApiKey, ApiToken, Grant
from portal.audit.names import SHORT, briefly_named
from teams.models import Role, RoleAssignment, Team, User
from teams.selectors import RolesHeld

READS_ALL = {Role.AUDITOR, Role.ADMIN}
SYSTEM = "purser"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What the reader asks for; empty is everything. Days are the organisation's, both included."""

    actor: str = ""
    action: str = ""
    subject: str = ""
    team: str = ""
    since: date | None = None
    until: date | None = None

    @property
    def are_set(self) -> bool:
        """Whether anything is left out."""
        return self != Filters()


def reads_all(roles: RolesHeld) -> bool:
    """Whether a role shows every event to the person."""
    return bool(READS_ALL & roles.organisation_wide)


def events_visible_to(user: User, roles: RolesHeld) -> QuerySet[AuditEvent]:
    """Return the events that a person may read: auditors and administrators all, a lead those of his team, a
    director those of his department, everybody what he did and what is his.
    """
    if reads_all(roles):
        return AuditEvent.objects.all()
    return AuditEvent.objects.filter(
        Q(actor_id=user.pk)
        | Q(on_behalf_of_id=user.pk)
        | Q(team_id__in=roles.leads)
        | Q(department_id__in=roles.directs)
        | _own(user)
    )


def filtered(events: QuerySet[AuditEvent], wanted: Filters) -> QuerySet[AuditEvent]:
    """Return those events that the filters leave, the newest first."""
    if wanted.actor:
        events = events.filter(_by_actor(wanted.actor))
    if wanted.action:
        events = events.filter(action__startswith=wanted.action)
    if wanted.subject:
        events = events.filter(_about(wanted.subject))
    if wanted.team:
        events = events.filter(team_id__in=Team.objects.filter(public_id=wanted.team).values("pk"))
    if wanted.since:
        events = events.filter(at__gte=_midnight(wanted.since))
    if wanted.until and wanted.until < date.max:
        events = events.filter(at__lt=_midnight(wanted.until + timedelta(days=1)))
    return events.order_by("-pk")


def sealed_until() -> tuple[int, datetime | None]:
    """Return the last event that is sealed and when it was. One query."""
    last = AuditSeal.objects.order_by("-number").values_list("last_event_id", "sealed_at").first()
    return last or (0, None)


def _own(user: User) -> Q:
    """Match events about the person himself, his keys, their grants, his tokens, his requests, his roles, and
    what he lends or is lent.
    """
    mine: tuple[tuple[str, QuerySet[Any]], ...] = (
        ("keys.apikey", ApiKey.objects.filter(owner=user)),
        ("keys.grant", Grant.objects.filter(key__owner=user)),
        ("keys.apitoken", ApiToken.objects.filter(owner=user)),
        ("approvals.accessrequest", AccessRequest.objects.filter(Q(requester=user) | Q(beneficiary=user))),
        ("approvals.budgetrequest", BudgetRequest.objects.filter(requester=user)),
        ("approvals.delegation", Delegation.objects.filter(Q(giver=user) | Q(taker=user))),
        ("teams.roleassignment", RoleAssignment.objects.filter(user=user)),
    )
    own = Q(object_type="teams.user", object_id=user.public_id)
    for kind, rows in mine:
        own |= Q(object_type=kind, object_id__in=rows.order_by().values("public_id"))
    return own


def _about(text: str) -> Q:
    """Match what it was about: its id, or its name of then; of old events that say little, today's name."""
    named = Q(object_id=text) | Q(object_label__icontains=text)
    called = (Q(object_id__in=rows.values("public_id")) for rows in briefly_named(text))
    return named | Q(object_label__regex=f"^({SHORT.pattern})$") & reduce(or_, called)


def _by_actor(text: str) -> Q:
    """Match who did it, or for whom: by today's name or address, by that of then, or Purser itself."""
    if text.casefold() == SYSTEM:
        return Q(actor_id=None)
    people = User.objects.filter(Q(name__icontains=text) | Q(email__icontains=text)).order_by().values("pk")
    return Q(actor_id__in=people) | Q(on_behalf_of_id__in=people) | Q(actor_label__icontains=text)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=timezone.get_default_timezone())
