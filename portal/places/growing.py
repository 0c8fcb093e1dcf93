"""Adds departments, teams, projects and members: how an installation begins, and how it grows."""

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from core.errors import AlreadyDoneError, InvalidInputError
from portal.places.finding import overseen_team
from portal.places.forms import MemberForm, PlaceForm, ProjectForm, TeamForm
from teams import services
from teams.models import Department, Membership, Project, Role, Team, User
from teams.selectors import TeamPerson, owners_of, people_visible_to, require_admin, roles_of
from teams.types import PersonRequest
from teams.views.acting import METHODS, done, form_page

MOST_OFFERED = 500


@require_http_methods(METHODS)
def add_department(request: PersonRequest) -> HttpResponse:
    """Add a department."""
    require_admin(request.user, "add departments")
    form = PlaceForm(request.POST or None)
    made = done(form, lambda entered: services.create_department(actor=request.user, **entered))
    if made is not None:
        messages.success(request, f"The department {made} is there. Add its first team next.")
        return redirect("teams:list")
    text = "Departments have teams. A director answers for a department."
    return form_page(
        request,
        form,
        title="Add a department",
        text=text,
        submit="Add the department",
        cancel=reverse("teams:list"),
    )


@require_http_methods(METHODS)
def add_team(request: PersonRequest) -> HttpResponse:
    """Add a team to the department in `?department=`, or to another one; without any, lead to that first."""
    require_admin(request.user, "add teams")
    departments = {one.public_id: one for one in Department.objects.filter(archived_at__isnull=True)}
    if not departments:
        messages.info(request, "Add a department first: a team belongs to one.")
        return redirect("teams:add_department")
    only = next(iter(departments)) if len(departments) == 1 else ""
    form = TeamForm(
        request.POST or None,
        initial={"department": request.GET.get("department", only)},
        departments=departments.values(),
    )

    def add(entered: dict[str, Any]) -> Team:
        home = departments[entered.pop("department")]
        return services.create_team(actor=request.user, department=home, **entered)

    made = done(form, add)
    if made is not None:
        messages.success(request, f"{made} team is there.")
        return redirect("team", made.public_id)
    text = "People of a team ask for access for its projects, and its lead approves."
    return form_page(
        request, form, title="Add a team", text=text, submit="Add the team", cancel=reverse("teams:list")
    )


@require_http_methods(METHODS)
def add_project(request: PersonRequest, public_id: str) -> HttpResponse:
    """Add a project to a team; one without people has nobody to own it, and is led to its first member."""
    team = overseen_team(request.user, public_id)
    people = owners_of(team)
    if not people:
        messages.info(request, "Add a member first: somebody has to own the project.")
        return redirect("teams:add_member", team.public_id)
    form = ProjectForm(request.POST or None, initial={"owner": _first_lead(people)}, people=people)

    def add(entered: dict[str, Any]) -> Project:
        owner = User.objects.get(public_id=entered.pop("owner"))
        return services.create_project(actor=request.user, team=team, owner=owner, **entered)

    made = done(form, add)
    if made is not None:
        messages.success(request, f"Project {made} is there. Programs name it {made.code}.")
        return redirect("project", made.public_id)
    text = "Money is spent on projects: each key belongs to one. Programs name it by its code."
    return form_page(
        request,
        form,
        title=f"Add a project of {team} team",
        text=text,
        submit="Add the project",
        cancel=reverse("team", args=[team.public_id]),
    )


@require_http_methods(METHODS)
def add_member(request: PersonRequest, public_id: str) -> HttpResponse:
    """Let somebody work in a team from now on."""
    team = overseen_team(request.user, public_id)
    form = MemberForm(request.POST or None, people=_outside(request.user, team))

    def add(entered: dict[str, Any]) -> Membership:
        person = _people().filter(email=entered["person"].lower()).first()
        if person is None:
            raise InvalidInputError(_unknown(request.user), field="person")
        try:
            return services.add_member(actor=request.user, team=team, user=person)
        except AlreadyDoneError as error:
            raise InvalidInputError(error.detail, field="person") from error

    made = done(form, add)
    if made is not None:
        messages.success(request, f"{made.user} works in {team} team from now on.")
        return redirect("team", team.public_id)
    text = "Members see the team's projects, and ask for access and keys for them."
    return form_page(
        request,
        form,
        title=f"Add a member to {team} team",
        text=text,
        submit="Add the member",
        cancel=reverse("team", args=[team.public_id]),
    )


def _people() -> QuerySet[User]:
    """Return who can work in a team: services are users, but nobody takes them in."""
    return User.objects.filter(is_active=True, service_account__isnull=True)


def _outside(user: User, team: Team) -> QuerySet[User]:
    """Return whom the user may know of and who is not in the team, by name; not more than a list holds."""
    inside = Membership.objects.live().filter(team=team).values("user")
    found = people_visible_to(user).filter(is_active=True, service_account__isnull=True)
    return found.exclude(pk__in=inside).order_by("name", "pk")[:MOST_OFFERED]


def _unknown(user: User) -> str:
    if Role.ADMIN in roles_of(user).organisation_wide:
        return "Nobody signs in with this address. Add the person under People first."
    return "Nobody signs in with this address. Ask an administrator to add the person."


def _first_lead(people: list[TeamPerson]) -> str:
    return next((person.public_id for person in people if person.role == Role.LEAD), people[0].public_id)
