"""Moves a project to another team: what that means first, then the move."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from approvals.models import AccessRequest
from budgets.models import Lease, ScopeKind
from budgets.selectors import budget_rows, open_budgets_above, open_budgets_below, scope_place
from budgets.services.moves import move_project
from budgets.types import BudgetRow
from core import clock
from core.errors import AlreadyDoneError, InvalidInputError, NotFoundError
from core.forms import ReasonField
from core.money import format_usd
from keys.directory import key_labels
from keys.models import ApiKey, Grant
from teams.models import Project, Role, Team, User
from teams.selectors import RolesHeld, roles_of
from teams.services.changes import require_director
from teams.types import PersonRequest

WHO = 5  # names of keys that a sentence holds


class MoveForm(forms.Form):
    """Where a project goes, and why; `confirm` is the team for which was read what that means."""

    team = forms.ChoiceField(label="Team", error_messages={"required": "Choose a team"})
    reason = ReasonField(label="Why", help_text="Kept in the audit.", missing="Enter why the project moves")
    confirm = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, teams: Sequence[Team], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(team.public_id, f"{team.name}, {team.department}") for team in teams]
        self.fields["team"].choices = [("", "Choose a team"), *choices]  # type: ignore[attr-defined]  # a ChoiceField


@require_http_methods(["GET", "HEAD", "POST"])
def move(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask where a project goes, say what that means, and move it."""
    project = _find(request.user, public_id)
    require_director(request.user, project.team.department_id)
    if project.archived_at is not None:
        raise AlreadyDoneError(f"Project {project} was closed on {project.archived_at:%d %B %Y}.")
    here = reverse("project", args=[project.public_id])
    teams = {team.public_id: team for team in _targets(request.user, project)}
    form = MoveForm(request.POST or None, teams=list(teams.values()))
    if form.is_valid():
        team = teams[form.cleaned_data["team"]]
        if form.cleaned_data["confirm"] != team.public_id:
            return _confirmation(request, project, team, back=here)
        try:
            move_project(actor=request.user, project=project, team=team, reason=form.cleaned_data["reason"])
        except (InvalidInputError, AlreadyDoneError) as error:
            form.add_error("team", error.detail)
        else:
            messages.success(request, f"{project} belongs to {team} team from now on.")
            return redirect(here)
    page = {
        "title": f"Move {project} to another team",
        "text": f"It belongs to {project.team} team now. What it means is shown before anything is done.",
        "submit_text": "See what it means",
        "cancel_url": here,
        "url": request.path,
    }
    return render(
        request, "teams/form.html", {"form": form, "page": page}, status=422 if form.is_bound else 200
    )


def may_move(roles: RolesHeld, project: Project) -> bool:
    """Whether somebody with these roles may move a project."""
    return project.archived_at is None and (
        project.team.department_id in roles.directs or Role.ADMIN in roles.organisation_wide
    )


def consequences(user: User, project: Project, team: Team) -> list[str]:
    """Return what a move means for budgets, keys, grants, leases, requests and the past."""
    before, after = (
        list(budget_rows(open_budgets_above(scope_place(ScopeKind.TEAM, each.pk))))
        for each in (project.team, team)
    )
    place = scope_place(ScopeKind.PROJECT, project.pk)
    own = open_budgets_below(place) | open_budgets_above(place).filter(scope_kind=ScopeKind.PROJECT)
    stays = {row.id for row in before} & {row.id for row in after}
    return [
        *_bound(after, stays, "From the next call on it counts on the {}."),
        *_bound(before, stays, "It no longer counts on the {}."),
        *_own(user, budget_rows(own)),
        *_keys(project),
        *_waiting(project),
        f"The lead of {team} team answers for it, its members see it; {project.team} team no longer does.",
        f"What was used until now stays with {project.team} team in every report.",
    ]


def _bound(rows: Sequence[BudgetRow], stays: set[int], sentence: str) -> list[str]:
    return [sentence.format(_budget(row, row.name)) for row in rows if row.id not in stays]


def _own(user: User, rows: Sequence[BudgetRow]) -> list[str]:
    labels = key_labels(user, [row.scope_id for row in rows if row.scope_kind is ScopeKind.KEY])
    names = (
        (row, labels.get(row.scope_id, "a key") if row.scope_kind is ScopeKind.KEY else row.name)
        for row in rows
    )
    return [f"The {_budget(row, name)} goes with it." for row, name in names]


def _budget(row: BudgetRow, name: str) -> str:
    limit = "without a limit" if row.limit_usd is None else f"of {format_usd(row.limit_usd)}"
    return f"{row.window_label.lower()} budget {limit} for {name}"


def _keys(project: Project) -> list[str]:
    now = clock.now()
    keys = ApiKey.objects.filter(project=project, revoked_at__isnull=True, expires_at__gt=now)
    names = [f"{key.name} of {key.owner}" for key in keys.select_related("owner").order_by("name", "pk")]
    others = len(names) - WHO
    told = ", ".join(names[:WHO]) + (f" and {others} more" if others > 0 else "")
    grants = Grant.objects.filter(key__in=keys, revoked_at__isnull=True, expires_at__gt=now).count()
    leases = Lease.objects.filter(project=project, closed_at__isnull=True).count()
    return [
        *([f"Its keys go on calling: {told}."] if names else []),
        *([f"What raises them above Tier 1 stays until it ends: {grants} in force."] if grants else []),
        *([f"Gateways give back the money that they hold for it: {leases} leases."] if leases else []),
    ]


def _waiting(project: Project) -> list[str]:
    waiting = AccessRequest.objects.pending().filter(project=project).count()
    return [f"Requests that wait start again with the new lead: {waiting}."] if waiting else []


def _confirmation(request: PersonRequest, project: Project, team: Team, *, back: str) -> HttpResponse:
    form = MoveForm(initial={**request.POST.dict(), "confirm": team.public_id}, teams=[team])
    for name in ("team", "reason"):
        form.fields[name].widget = forms.HiddenInput()
    confirm = {
        "title": f"Move {project} from {project.team} team to {team} team?",
        "consequences": consequences(request.user, project, team),
        "url": request.path,
        "submit_text": "Move the project",
        "cancel_url": back,
    }
    return render(request, "confirm.html", {"form": form, "confirm": confirm})


def _targets(user: User, project: Project) -> QuerySet[Team]:
    """Return the teams that the person may move it to."""
    teams = Team.objects.filter(archived_at__isnull=True, department__archived_at__isnull=True)
    roles = roles_of(user)
    if Role.ADMIN not in roles.organisation_wide:
        teams = teams.filter(department_id__in=roles.directs)
    return teams.exclude(pk=project.team_id).select_related("department").order_by("name", "pk")


def _find(user: User, public_id: str) -> Project:
    found = Project.objects.visible_to(user).filter(public_id=public_id)
    project = found.select_related("team__department").first()
    if project is None:
        raise NotFoundError("There is no such project, or it is not one of your teams'.")
    return project
