"""Audit: who did what, when and why, for everybody what concerns him."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_safe

from core import addresses
from core.errors import NotFoundError
from core.models import AuditEvent
from core.shapes import Column
from core.sorting import Head, Table
from core.spreadsheets import csv_stream
from portal.audit.lines import CSV_HEAD, Line, exported, in_words
from portal.audit.selectors import Filters, events_visible_to, filtered, reads_all, sealed_until
from portal.audit.verification import AuditVerified, sealed_and_verified
from portal.context import roles_here
from teams.models import Team
from teams.selectors import RolesHeld
from teams.types import PersonRequest
from usage.selectors.periods import organisation_today

KEPT = ("actor", "action", "object", "team", "from", "to", "sort")
TABLE = Table(
    usual="-at",
    heads=(
        Head(label="Action"),
        Head(label="About"),
        Head(label="Who"),
        Head(label="Changes"),
        Head(label="When", sort="at", falls=True),
    ),
)
PAGE_ROWS = 30
NO_SUCH_EVENT = "There is no such event, or it is not about something of yours."


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """What the page shows."""

    scope: str
    filters: Filters
    wrong_dates: bool
    teams: tuple[Team, ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    sealed_at: datetime | None
    verified: AuditVerified | None
    is_first: bool
    all_url: str
    csv_url: str
    first_url: str
    next_url: str


@require_safe
def list_events(request: PersonRequest) -> HttpResponseBase:
    """List the events that concern the person, the newest first or by `?sort=`; as CSV with `?format=csv`."""
    roles = roles_here(request)
    visible = events_visible_to(request.user, roles)
    wanted = _filters(request)
    events = filtered(visible, wanted)
    if request.GET.get("format") == "csv":
        teams = {team.pk: team.name for team in _teams(request)}
        newest_first = TABLE.order(request).falls
        rows = exported(events, teams=teams, in_full=reads_all(roles), newest_first=newest_first)
        return csv_stream(request, f"audit-{organisation_today()}", CSV_HEAD, rows)
    return render(request, "portal/audit.html", {"audit": _page(request, visible, events, wanted, roles)})


@require_safe
def show_event(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show one event in full: what was before, what is after, why, and where it came from."""
    roles = roles_here(request)
    event = events_visible_to(request.user, roles).filter(public_id=public_id).first()
    if event is None:
        raise NotFoundError(NO_SUCH_EVENT)
    sealed, sealed_at = sealed_until()
    [shown] = _lines([event], _teams(request), roles, sealed_until=sealed)
    return render(request, "portal/audit_event.html", {"event": shown, "sealed_at": sealed_at})


def routes() -> tuple[list[URLPattern], str]:
    """Return the pages of the audit with their name space."""
    patterns = [
        path("", list_events, name="list"),
        path("<str:public_id>/", show_event, name="detail"),
    ]
    return patterns, "audit"


def _page(
    request: PersonRequest,
    visible: QuerySet[AuditEvent],
    events: QuerySet[AuditEvent],
    wanted: Filters,
    roles: RolesHeld,
) -> AuditPage:
    before, order = request.GET.get("before", ""), TABLE.order(request)
    if before:
        further = "pk__lt" if order.falls else "pk__gt"
        events = events.filter(**{further: visible.filter(public_id=before).values("pk")[:1]})
    found = list(events.order_by(*order.sql({"at": "pk"}))[: PAGE_ROWS + 1])
    shown, has_older = found[:PAGE_ROWS], len(found) > PAGE_ROWS
    teams = _teams(request)
    sealed, sealed_at, verified = sealed_and_verified()
    lines = _lines(shown, teams, roles, sealed_until=sealed)
    return AuditPage(
        scope=_scope(roles),
        filters=wanted,
        wrong_dates=any(request.GET.get(name) and not _day(request, name) for name in ("from", "to")),
        teams=tuple(teams),
        columns=TABLE.columns(request, KEPT),
        lines=tuple(lines),
        sealed_at=sealed_at,
        verified=verified,
        is_first=not before,
        all_url=request.path,
        csv_url=addresses.link(request, KEPT, format="csv"),
        first_url=addresses.link(request, KEPT) if before else "",
        next_url=addresses.link(request, KEPT, before=shown[-1].public_id) if has_older else "",
    )


def _filters(request: HttpRequest) -> Filters:
    text = {name: request.GET.get(name, "").strip()[:100] for name in ("actor", "action", "object", "team")}
    return Filters(
        actor=text["actor"],
        action=text["action"],
        subject=text["object"],
        team=text["team"],
        since=_day(request, "from"),
        until=_day(request, "to"),
    )


def _day(request: HttpRequest, name: str) -> date | None:
    """Return a day of the address; what is none filters nothing, and the page says so."""
    try:
        return parse_date(request.GET.get(name, ""))
    except ValueError:
        return None


def _scope(roles: RolesHeld) -> str:
    if reads_all(roles):
        return "Everything that anybody did"
    if roles.leads or roles.directs:
        return "What you did, what is yours, and what concerns your teams"
    return "What you did, and what is yours"


def _teams(request: PersonRequest) -> Sequence[Team]:
    return list(Team.objects.visible_to(request.user))


def _lines(
    events: Sequence[AuditEvent], teams: Iterable[Team], roles: RolesHeld, *, sealed_until: int
) -> list[Line]:
    names = {team.pk: team.name for team in teams}
    return in_words(events, teams=names, sealed_until=sealed_until, in_full=reads_all(roles))
