"""Archives departments, teams and projects, and ends memberships: what that means first, then the act."""

from collections.abc import Callable, Sequence

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from core.errors import NotFoundError
from portal.leaving import TEAM_ENDINGS
from portal.places import consequences
from portal.places.finding import administered_department, directed_project, directed_team, overseen_team
from teams import services
from teams.forms import WhyForm
from teams.models import Membership
from teams.services.changes import require_open
from teams.services.members import answers_for
from teams.types import PersonRequest
from teams.views.acting import METHODS, confirm_page, done


@require_http_methods(METHODS)
def archive_department(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name what is in the way of archiving a department, and what stays; on POST archive it."""
    department = administered_department(request.user, public_id, "archive departments")
    require_open(department, f"Department {department}")
    return _archive(
        request,
        lambda why: services.archive_department(actor=request.user, department=department, reason=why),
        lines=lambda: consequences.of_archiving_department(request.user, department),
        kind="department",
        name=f"{department} department",
        told=f"{department} department is archived.",
        back=reverse("teams:list"),
    )


@require_http_methods(METHODS)
def archive_project(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name what ends with a project; on POST archive it."""
    project = directed_project(request.user, public_id)
    return _archive(
        request,
        lambda why: services.archive_project(actor=request.user, project=project, reason=why),
        lines=lambda: consequences.of_archiving_project(request.user, project),
        kind="project",
        name=f"project {project}",
        told=f"Project {project} is archived: calls for it are refused.",
        back=reverse("project", args=[public_id]),
    )


@require_http_methods(METHODS)
def archive_team(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name what ends with a team; on POST archive it with all its projects."""
    team = directed_team(request.user, public_id)
    return _archive(
        request,
        lambda why: services.archive_team(actor=request.user, team=team, reason=why),
        lines=lambda: consequences.of_archiving_team(request.user, team),
        kind="team",
        name=f"{team} team",
        told=f"{team} team is archived with its projects: calls for them are refused.",
        back=reverse("team", args=[public_id]),
    )


@require_http_methods(METHODS)
def end_membership(request: PersonRequest, public_id: str, person_id: str) -> HttpResponse:
    """Name what ends and what stays when somebody leaves a team; on POST end it."""
    team = overseen_team(request.user, public_id)
    held = Membership.objects.live().filter(team=team, user__public_id=person_id)
    membership = held.select_related("user").first()
    if membership is None:
        raise NotFoundError(f"There is no such member of {team} team now.")
    person = membership.user
    form, back = WhyForm(request.POST or None), reverse("team", args=[public_id])
    if done(
        form,
        lambda entered: services.end_membership(
            actor=request.user, team=team, user=person, endings=TEAM_ENDINGS, **entered
        ),
    ):
        messages.success(request, f"{person} is no longer a member of {team} team.")
        return redirect(back)
    return confirm_page(
        request,
        form,
        title=f"Take {person} out of {team} team?",
        lines=consequences.of_leaving_team(team, person),
        submit="End the membership",
        back=back,
        obstacles=answers_for(team, person),
    )


def _archive(
    request: PersonRequest,
    act: Callable[[str], object],
    *,
    lines: Callable[[], Sequence[str]],
    kind: str,
    name: str,
    told: str,
    back: str,
) -> HttpResponse:
    form = WhyForm(request.POST or None)
    if done(form, lambda entered: act(entered["reason"])):
        messages.success(request, told)
        return redirect(back)
    title, submit = f"Archive {name}?", f"Archive the {kind}"
    return confirm_page(request, form, title=title, lines=lines(), submit=submit, back=back)
