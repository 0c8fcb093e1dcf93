"""Who may read which audit events, and the events that filters leave."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import CharField, Q, QuerySet, Value
from django.db.models.functions import Coalesce, NullIf
from django.utils import timezone

from approvals.models import AccessRequest, BudgetRequest
from core.models import AuditEvent, AuditSeal
from keys.models import ApiKey, Grant
from teams.models import Department, Project, Role, RoleAssignment, Team, User
from teams.selectors import RolesHeld

NAMED: dict[str, type[Any]] = {"dep": Department, "tem": Team, "prj": Project, "key": ApiKey}
KNOWN_TO_ALL = {"prj", "key"}  # of an event that one may read
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
        events = events.filter(Q(object_id=wanted.subject) | Q(object_label__icontains=wanted.subject))
    if wanted.team:
        events = events.filter(team_id__in=Team.objects.filter(public_id=wanted.team).values("pk"))
    if wanted.since:
        events = events.filter(at__gte=_midnight(wanted.since))
    if wanted.until and wanted.until < date.max:
        events = events.filter(at__lt=_midnight(wanted.until + timedelta(days=1)))
    return events.order_by("-pk")


def names_now(
    events: Sequence[AuditEvent], *, in_full: bool = False
) -> tuple[dict[int, str], dict[str, str]]:
    """Return what people are called now by id, and what has a name by public id. One query.

    The people are those who acted in these events, and those for whom they did. What has a name is what the
    events are about, and the people, projects and keys among their values; `in_full` the teams and
    departments too, which others may not see.
    """
    acting = {each for event in events for each in (event.actor_id, event.on_behalf_of_id) if each}
    about, values = {event.object_id for event in events}, _texts(events)
    of_person = Coalesce(NullIf("name", Value("")), "email", output_field=CharField())
    people = User.objects.filter(Q(pk__in=acting) | Q(public_id__in=_ids(about | values, "usr")))
    found = people.annotate(shown=of_person).order_by().values_list("pk", "public_id", "shown")
    others = (
        model.objects.filter(public_id__in=ids).order_by().values_list(Value(0), "public_id", "name")
        for prefix, model in NAMED.items()
        if (ids := _ids(about | values if in_full or prefix in KNOWN_TO_ALL else about, prefix))
    )
    rows = list(found.union(*others, all=True))
    return {pk: name for pk, _, name in rows if pk}, {known: name for _, known, name in rows}


def _texts(events: Sequence[AuditEvent]) -> set[str]:
    """Return the texts among what events kept of before and after."""
    kept = (values for event in events for values in (event.before, event.after))
    return {value for values in kept for value in values.values() if isinstance(value, str)}


def _ids(texts: Collection[str], prefix: str) -> set[str]:
    return {text for text in texts if re.fullmatch(rf"{prefix}_\w{{18}}", text)}


def sealed_until() -> tuple[int, datetime | None]:
    """Return the last event that is sealed and when it was. One query."""
    last = AuditSeal.objects.order_by("-number").values_list("last_event_id", "sealed_at").first()
    return last or (0, None)


def _own(user: User) -> Q:
    """Match events about the person himself, his keys, their grants, his requests and his roles."""
    mine: tuple[tuple[str, QuerySet[Any]], ...] = (
        ("keys.apikey", ApiKey.objects.filter(owner=user)),
        ("keys.grant", Grant.objects.filter(key__owner=user)),
        ("approvals.accessrequest", AccessRequest.objects.filter(Q(requester=user) | Q(beneficiary=user))),
        ("approvals.budgetrequest", BudgetRequest.objects.filter(requester=user)),
        ("teams.roleassignment", RoleAssignment.objects.filter(user=user)),
    )
    own = Q(object_type="teams.user", object_id=user.public_id)
    for kind, rows in mine:
        own |= Q(object_type=kind, object_id__in=rows.order_by().values("public_id"))
    return own


def _by_actor(text: str) -> Q:
    """Match who did it, or for whom: by today's name or address, by that of then, or Purser itself."""
    if text.casefold() == SYSTEM:
        return Q(actor_id=None)
    people = User.objects.filter(Q(name__icontains=text) | Q(email__icontains=text)).order_by().values("pk")
    return Q(actor_id__in=people) | Q(on_behalf_of_id__in=people) | Q(actor_label__icontains=text)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=timezone.get_default_timezone())
