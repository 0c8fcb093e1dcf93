"""Gives a department, a team or a project another name, and a project another owner."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from portal.places.finding import administered_department, directed_project, directed_team, overseen_project
from portal.places.forms import OwnerForm
from teams import services
from teams.forms import RenameForm
from teams.models import Department, Project, Team, User
from teams.selectors import owners_of
from teams.types import PersonRequest
from teams.views.acting import METHODS, done, form_page


@require_http_methods(METHODS)
def rename_department(request: PersonRequest, public_id: str) -> HttpResponse:
    """Give a department another name."""
    department = administered_department(request.user, public_id, "rename departments")
    return _rename(
        request,
        department,
        f"{department} department",
        lambda entered: services.rename_department(actor=request.user, department=department, **entered),
        back=reverse("teams:list"),
    )


@require_http_methods(METHODS)
def rename_team(request: PersonRequest, public_id: str) -> HttpResponse:
    """Give a team another name."""
    team = directed_team(request.user, public_id)
    return _rename(
        request,
        team,
        f"{team} team",
        lambda entered: services.rename_team(actor=request.user, team=team, **entered),
        back=reverse("team", args=[public_id]),
    )


@require_http_methods(METHODS)
def rename_project(request: PersonRequest, public_id: str) -> HttpResponse:
    """Give a project another name."""
    project = directed_project(request.user, public_id)
    return _rename(
        request,
        project,
        f"project {project}",
        lambda entered: services.rename_project(actor=request.user, project=project, **entered),
        back=reverse("project", args=[public_id]),
    )


@require_http_methods(METHODS)
def hand_over_project(request: PersonRequest, public_id: str) -> HttpResponse:
    """Let somebody else of its team own a project."""
    project = overseen_project(request.user, public_id)
    people = [person for person in owners_of(project.team) if person.person_id != project.owner_id]
    form, back = OwnerForm(request.POST or None, people=people), reverse("project", args=[public_id])

    def hand_over(entered: dict[str, Any]) -> Project:
        owner = User.objects.get(public_id=entered["owner"])
        reason = entered["reason"]
        return services.hand_over_project(actor=request.user, project=project, owner=owner, reason=reason)

    if made := done(form, hand_over):
        messages.success(request, f"{made.owner} owns project {made} from now on.")
        return redirect(back)
    text = f"{project.owner} owns it now. Somebody of {project.team} team takes it over."
    title = f"Hand over project {project}"
    return form_page(request, form, title=title, text=text, submit="Hand it over", cancel=back)


def _rename(
    request: PersonRequest,
    place: Department | Team | Project,
    what: str,
    act: Callable[[dict[str, Any]], Any],
    *,
    back: str,
) -> HttpResponse:
    form = RenameForm(request.POST or None, initial={"name": place.name})
    if done(form, act):
        messages.success(request, "The name is changed. Reports of the past keep the name of their time.")
        return redirect(back)
    text = f"The code stays {place.code}, so programs go on as before."
    return form_page(request, form, title=f"Rename {what}", text=text, submit="Save the name", cancel=back)
