"""How the organisation is divided: departments with their teams and projects, as the reader may see them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import Count, Prefetch, Q
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from core import clock
from portal.context import administers, roles_here
from teams.models import Department, Project, Role, RoleAssignment, Team
from teams.selectors import RolesHeld
from teams.types import PersonRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectLink:
    """A project and where its page is."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamLine:
    """A team; its lead is empty where nobody leads it, an address where the reader may not do that."""

    name: str
    url: str
    lead: str
    members: int
    projects: tuple[ProjectLink, ...]
    add_project_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DepartmentBlock:
    """A department with its open teams."""

    public_id: str
    name: str
    code: str
    teams: tuple[TeamLine, ...]
    rename_url: str
    archive_url: str
    add_team_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """A department, team or project that was archived, or is in a team that was; a department has no page."""

    name: str
    place: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamsPage:
    """What the page shows."""

    departments: tuple[DepartmentBlock, ...]
    archived: tuple[Archived, ...]
    add_department_url: str
    add_team_url: str


@require_safe
def list_teams(request: PersonRequest) -> HttpResponse:
    """Show the departments, teams and projects that the person may see, and what may be added to them."""
    roles = roles_here(request)
    found, teams = _departments(request), _teams(request)
    departments = [each for each in found if each.archived_at is None]
    is_admin = administers(roles)
    blocks = tuple(
        _block(department, [team for team in teams if team.department_id == department.pk], roles)
        for department in departments
    )
    page = TeamsPage(
        departments=blocks,
        archived=tuple(_archived(found, teams)),
        add_department_url=reverse("teams:add_department") if is_admin else "",
        add_team_url=reverse("teams:add_team") if is_admin and blocks else "",
    )
    return render(request, "portal/teams.html", {"page": page})


def _departments(request: PersonRequest) -> Sequence[Department]:
    """Return the departments that the person directs or has a team in, by name. One query."""
    seen = Q(pk__in=Department.objects.visible_to(request.user).values("pk"))
    inside = Q(pk__in=Team.objects.visible_to(request.user).values("department"))
    return list(Department.objects.filter(seen | inside).order_by("name", "pk"))


def _teams(request: PersonRequest) -> Sequence[Team]:
    """Return the teams with their projects, leads and number of members, by name. Three queries."""
    now = clock.now()
    ended = Q(memberships__valid_until__isnull=False, memberships__valid_until__lte=now)
    here = Q(memberships__valid_from__lte=now, memberships__user__is_active=True) & ~ended
    leads = RoleAssignment.objects.live(now).filter(role=Role.LEAD, user__is_active=True)
    teams = Team.objects.visible_to(request.user).select_related("department").order_by("name", "pk")
    return list(
        teams.annotate(members=Count("memberships__user", filter=here, distinct=True)).prefetch_related(
            Prefetch("projects", Project.objects.order_by("name", "pk")),
            Prefetch(
                "role_assignments", leads.select_related("user").order_by("user__name"), to_attr="leads"
            ),
        )
    )


def _block(department: Department, teams: Iterable[Team], roles: RolesHeld) -> DepartmentBlock:
    is_admin = administers(roles)
    asked = urlencode({"department": department.public_id})
    return DepartmentBlock(
        public_id=department.public_id,
        name=department.name,
        code=department.code,
        teams=tuple(_line(team, roles) for team in teams if team.archived_at is None),
        rename_url=_address("rename_department", department) if is_admin else "",
        archive_url=_address("archive_department", department) if is_admin else "",
        add_team_url=f"{reverse('teams:add_team')}?{asked}" if is_admin else "",
    )


def _line(team: Team, roles: RolesHeld) -> TeamLine:
    return TeamLine(
        name=team.name,
        url=reverse("team", args=[team.public_id]),
        lead=", ".join(str(held.user) for held in vars(team)["leads"]),
        members=vars(team)["members"],
        projects=tuple(
            ProjectLink(name=project.name, url=reverse("project", args=[project.public_id]))
            for project in team.projects.all()
            if project.archived_at is None
        ),
        add_project_url=reverse("teams:add_project", args=[team.public_id]) if roles.oversees(team) else "",
    )


def _address(act: str, department: Department) -> str:
    return reverse(f"teams:{act}", args=[department.public_id])


def _archived(departments: Iterable[Department], teams: Iterable[Team]) -> Iterable[Archived]:
    """Return what was archived, departments first and each team before its projects."""
    for department in departments:
        if department.archived_at is not None:
            yield Archived(name=f"{department} department", place="", url="")
    for team in teams:
        if team.archived_at is not None:
            url = reverse("team", args=[team.public_id])
            yield Archived(name=f"{team} team", place=f"{team.department} department", url=url)
        for project in team.projects.all():
            if project.archived_at is not None:
                url = reverse("project", args=[project.public_id])
                yield Archived(name=project.name, place=f"{team} team", url=url)
