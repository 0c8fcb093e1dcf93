"""Search: projects, keys, people and requests within what the person may see."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import OuterRef, Q, Subquery
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from approvals.models import AccessRequest
from keys.models import ApiKey
from teams.models import Membership, Project, Team, User
from teams.selectors import people_visible_to
from teams.types import PersonRequest

MAX_CHARACTERS = 100
HITS_SHOWN = 10
LAST_CHARACTERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """Something that was found, and where it is."""

    url: str
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HitGroup:
    """What was found of one kind, ten at most."""

    title: str
    hits: tuple[Hit, ...]


@require_safe
def search(request: PersonRequest) -> HttpResponse:
    """Show what `?q=` finds in names, codes, e-mail addresses and public ids."""
    # PostgreSQL takes no NUL in a text.
    query = request.GET.get("q", "").replace("\0", "").strip()[:MAX_CHARACTERS]
    groups = _groups(request.user, query) if query else []
    empty_title = f"Nothing found for “{query}”" if query else "Enter what to look for"
    context = {"query": query, "groups": groups, "empty_title": empty_title}
    return render(request, "portal/search.html", {"search": context})


def _groups(user: User, query: str) -> list[HitGroup]:
    found = (
        ("Projects", _projects(user, query)),
        ("Keys", _keys(user, query)),
        ("People", _people(user, query)),
        ("Requests", _requests(user, query)),
    )
    groups = [HitGroup(title=title, hits=tuple(hits)) for title, hits in found]
    return [group for group in groups if group.hits]


def _projects(user: User, query: str) -> Iterable[Hit]:
    named = Q(name__icontains=query) | Q(code__icontains=query) | Q(public_id=query)
    found = Project.objects.visible_to(user).filter(named).select_related("team")
    return [
        Hit(url=_overview(project.public_id), title=project.name, text=f"{project.code}, team {project.team}")
        for project in found.order_by("name", "pk")[:HITS_SHOWN]
    ]


def _keys(user: User, query: str) -> Iterable[Hit]:
    named = Q(name__icontains=query) | Q(public_id=query) | _person("owner", query)
    if len(query) >= LAST_CHARACTERS:
        named |= Q(last4=query[-LAST_CHARACTERS:])
    found = ApiKey.objects.visible_to(user).filter(named).select_related("owner", "project")
    return [
        Hit(
            url=_keys_page(mine=key.owner_id == user.pk),
            title=key.name,
            text=f"{key.masked}, {key.owner}, {key.project}, {key.state.label.lower()}",
        )
        for key in found[:HITS_SHOWN]
    ]


def _people(user: User, query: str) -> Iterable[Hit]:
    """Find people; a hit leads to the spend of a team that both may know."""
    shared = Team.objects.visible_to(user)
    teams = Membership.objects.live().filter(user=OuterRef("pk"), team__in=shared).order_by("team__name")
    found = people_visible_to(user).filter(Q(name__icontains=query) | Q(email__icontains=query))
    named = found.annotate(
        team_id=Subquery(teams.values("team__public_id")[:1]),
        team_name=Subquery(teams.values("team__name")[:1]),
    )
    return [
        Hit(
            url=_overview(person.team_id) if person.team_id else reverse("overview"),
            title=person.name,
            text=f"{person.email}, team {person.team_name}" if person.team_name else person.email,
        )
        for person in named.order_by("name", "pk")[:HITS_SHOWN]
    ]


def _requests(user: User, query: str) -> Iterable[Hit]:
    named = Q(public_id=query) | Q(project__name__icontains=query) | Q(project__code__icontains=query)
    found = AccessRequest.objects.visible_to(user).filter(named | _person("requester", query))
    return [
        Hit(
            url=reverse("approvals:detail", args=[asked.public_id]),
            title=str(asked),
            text=f"{asked.requester}, {asked.state.label.lower()}",
        )
        for asked in found.select_related("tier", "project", "requester")[:HITS_SHOWN]
    ]


def _person(field: str, query: str) -> Q:
    return Q(**{f"{field}__name__icontains": query}) | Q(**{f"{field}__email__icontains": query})


def _overview(scope: str) -> str:
    return f"{reverse('overview')}?{urlencode({'scope': scope})}"


def _keys_page(*, mine: bool) -> str:
    return reverse("keys:list") if mine else f"{reverse('keys:list')}?tab=team"
