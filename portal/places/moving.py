"""Moves a project to another team or a team to another department: what it means first, then the move."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from budgets.services import moves
from core.errors import AlreadyDoneError, InvalidInputError, NotFoundError
from core.forms import ReasonField
from portal.places import consequences
from portal.places.finding import departments_for, directed_project, directed_team, teams_for
from teams.models import Department, Team
from teams.selectors import require_admin, roles_of
from teams.types import PersonRequest
from teams.views.acting import METHODS

AnyHome = TypeVar("AnyHome", Team, Department)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving(Generic[AnyHome]):
    """What moves, where it is, where else it may be, what that would mean and how it is done.

    `kind` is what such a place is called, and the name of its field: `team` or `department`.
    """

    what: str
    noun: str
    kind: str
    now: AnyHome
    homes: Mapping[str, AnyHome]
    back: str
    means: Callable[[AnyHome], list[str]]
    carry_out: Callable[[AnyHome, str], object]


class MoveForm(forms.Form):
    """Where something goes, and why; `confirm` is the place for which was read what that means."""

    reason = ReasonField(label="Why", help_text="Kept in the audit.", missing="Enter why it moves")
    confirm = forms.CharField(widget=forms.HiddenInput, required=False)
    field_order = ("team", "department", "reason", "confirm")

    def __init__(self, *args: Any, kind: str, homes: Mapping[str, Team | Department], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(public_id, _described(home)) for public_id, home in homes.items()]
        self.fields[kind] = forms.ChoiceField(
            label=kind.capitalize(),
            choices=[("", f"Choose a {kind}"), *choices],
            error_messages={"required": f"Choose a {kind}"},
        )
        self.order_fields(self.field_order)


@require_http_methods(METHODS)
def move_project(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask where a project goes, say what that means, and move it."""
    project = directed_project(request.user, public_id)
    found = teams_for(roles_of(request.user)).exclude(pk=project.team_id)
    homes = {team.public_id: team for team in found}
    if not homes:
        require_admin(request.user, "move a project to a team that you do not direct")
        raise NotFoundError("There is no other team that it could belong to. Add one first, under Teams.")
    moving = Moving(
        what=str(project),
        noun="project",
        kind="team",
        now=project.team,
        homes=homes,
        back=reverse("project", args=[project.public_id]),
        means=partial(consequences.of_project, request.user, project),
        carry_out=lambda team, reason: moves.move_project(
            actor=request.user, project=project, team=team, reason=reason
        ),
    )
    return _move(request, moving)


@require_http_methods(METHODS)
def move_team(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask where a team goes, say what that means, and move it."""
    team = directed_team(request.user, public_id)
    found = departments_for(roles_of(request.user)).exclude(pk=team.department_id)
    homes = {department.public_id: department for department in found}
    if not homes:
        require_admin(request.user, "move a team to a department that you do not direct")
        raise NotFoundError(
            "There is no other department that it could belong to. Add one first, under Teams."
        )
    moving = Moving(
        what=f"{team} team",
        noun="team",
        kind="department",
        now=team.department,
        homes=homes,
        back=reverse("team", args=[team.public_id]),
        means=partial(consequences.of_team, request.user, team),
        carry_out=lambda department, reason: moves.move_team(
            actor=request.user, team=team, department=department, reason=reason
        ),
    )
    return _move(request, moving)


def _move(request: PersonRequest, moving: Moving[AnyHome]) -> HttpResponse:
    form = MoveForm(request.POST or None, kind=moving.kind, homes=moving.homes)
    if form.is_valid():
        home = moving.homes[form.cleaned_data[moving.kind]]
        if form.cleaned_data["confirm"] != home.public_id:
            return _confirmation(request, moving, home)
        try:
            moving.carry_out(home, form.cleaned_data["reason"])
        except (InvalidInputError, AlreadyDoneError) as error:
            form.add_error(moving.kind, error.detail)
        else:
            text = f"{moving.what} belongs to {home} {moving.kind} from now on."
            messages.success(request, text)
            return redirect(moving.back)
    page = {
        "title": f"Move {moving.what} to another {moving.kind}",
        "text": f"It belongs to {moving.now} {moving.kind} now. What it means is shown before anything is"
        " done.",
        "submit_text": "See what it means",
        "cancel_url": moving.back,
        "url": request.path,
    }
    return render(
        request, "teams/form.html", {"form": form, "page": page}, status=422 if form.is_bound else 200
    )


def _confirmation(request: PersonRequest, moving: Moving[AnyHome], home: AnyHome) -> HttpResponse:
    form = MoveForm(
        initial={**request.POST.dict(), "confirm": home.public_id},
        kind=moving.kind,
        homes={home.public_id: home},
    )
    for name in (moving.kind, "reason"):
        form.fields[name].widget = forms.HiddenInput()
    confirm = {
        "title": f"Move {moving.what} from {moving.now} {moving.kind} to {home} {moving.kind}?",
        "consequences": moving.means(home),
        "url": request.path,
        "submit_text": f"Move the {moving.noun}",
        "cancel_url": moving.back,
    }
    return render(request, "confirm.html", {"form": form, "confirm": confirm})


def _described(home: Team | Department) -> str:
    return f"{home.name}, {home.department}" if isinstance(home, Team) else home.name
