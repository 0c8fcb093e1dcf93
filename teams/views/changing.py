"""What an administrator changes about people: names, roles, that they come, leave and come back."""

from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from core.errors import NotFoundError
from teams import services
from teams.forms import PersonForm, RenameForm, RoleForm, WhyForm
from teams.models import Department, Role, RoleAssignment, Team, User
from teams.ports import Leaving
from teams.selectors import people_visible_to, require_admin, what_ends
from teams.types import PersonRequest
from teams.views.acting import METHODS, confirm_page, done, form_page
from teams.views.people import find_person
from teams.views.shapes import role_in_words


@require_http_methods(METHODS)
def add_person(request: PersonRequest) -> HttpResponse:
    """Let somebody new sign in."""
    require_admin(request.user, "add people")
    form = PersonForm(request.POST or None)
    made = done(form, lambda entered: services.create_person(actor=request.user, **entered))
    if made is not None:
        messages.success(request, f"{made.name} can sign in once a password is set by the link in the mail.")
        return redirect("people:detail", made.public_id)
    text = "The person sees nothing until a team takes them in or a role is given."
    return form_page(
        request, form, title="Add a person", text=text, submit="Add the person", cancel=reverse("people:list")
    )


@require_http_methods(METHODS)
def rename_person(request: PersonRequest, public_id: str) -> HttpResponse:
    """Give a person another name."""
    person = find_person(request.user, public_id)
    require_admin(request.user, "rename people")
    form = RenameForm(request.POST or None, initial={"name": person.name})
    if done(form, lambda entered: services.rename_person(actor=request.user, user=person, **entered)):
        messages.success(request, "The name is changed. Records keep the name of their time.")
        return redirect("people:detail", public_id)
    text = "Audit and decisions of the past keep the name of that time."
    title = f"Rename {person.name}"
    return form_page(request, form, title=title, text=text, submit="Save the name", cancel=_page_of(person))


@require_http_methods(METHODS)
def give_role(request: PersonRequest, public_id: str) -> HttpResponse:
    """Give a person a role from now on; `?role=`, `?team=` and `?department=` fill the form in."""
    person = find_person(request.user, public_id)
    require_admin(request.user, "give roles")
    teams = {team.public_id: team for team in Team.objects.filter(archived_at__isnull=True)}
    departments = {one.public_id: one for one in Department.objects.filter(archived_at__isnull=True)}
    form = RoleForm(
        request.POST or None,
        initial=request.GET.dict(),
        teams=teams.values(),
        departments=departments.values(),
    )

    def give(entered: dict[str, Any]) -> RoleAssignment:
        return services.assign_role(
            actor=request.user,
            user=person,
            role=Role(entered["role"]),
            team=teams.get(entered["team"]),
            department=departments.get(entered["department"]),
            valid_until=_end_of(entered["valid_until"]),
        )

    if held := done(form, give):
        messages.success(request, f"{person.name} is {role_in_words(held)} from now on.")
        return redirect("people:detail", public_id)
    text = "It is in force at once, in decisions and in what the person sees."
    title = f"Give {person.name} a role"
    return form_page(request, form, title=title, text=text, submit="Give the role", cancel=_page_of(person))


@require_http_methods(METHODS)
def end_role(request: PersonRequest, public_id: str) -> HttpResponse:
    """End a role of a person now."""
    roles = RoleAssignment.objects.live().filter(user__in=people_visible_to(request.user).values("pk"))
    held = roles.filter(public_id=public_id).select_related("user", "team", "department").first()
    if held is None:
        raise NotFoundError("There is no such role, or it has ended.")
    require_admin(request.user, "end roles")
    form = WhyForm(request.POST or None)
    if done(form, lambda entered: services.end_role(actor=request.user, assignment=held, **entered)):
        messages.success(request, f"{held.user.name} is no longer {role_in_words(held)}.")
        return redirect("people:detail", held.user.public_id)
    lines = ["Nothing can be decided in this role any more, from this moment.", "What was decided stays."]
    if held.team or held.department:
        name = held.user.name
        lines.append(f"What {name} asked for there and waits is closed, unless {name} stays by another role.")
    return confirm_page(
        request,
        form,
        title=f"End the role {role_in_words(held)} of {held.user.name}?",
        lines=lines,
        submit="End the role",
        back=_page_of(held.user),
    )


@require_http_methods(METHODS)
def let_leave(request: PersonRequest, public_id: str, *, leaving: Leaving) -> HttpResponse:
    """Name what ends when a person leaves; on POST end it all at once."""
    person = find_person(request.user, public_id)
    ends = what_ends(request.user, person, leaving)
    form = WhyForm(request.POST or None)

    def leave(entered: dict[str, Any]) -> User:
        return services.deactivate_person(actor=request.user, user=person, endings=leaving.endings, **entered)

    if done(form, leave):
        messages.success(
            request, f"{person.name} has left: keys are revoked and nobody signs in with the account."
        )
        return redirect("people:detail", public_id)
    return confirm_page(
        request,
        form,
        title=f"Mark {person.name} as left?",
        lines=[each.text for each in ends],
        submit="Mark as left",
        back=_page_of(person),
    )


@require_http_methods(METHODS)
def let_return(request: PersonRequest, public_id: str) -> HttpResponse:
    """Let a person who left sign in again."""
    person = find_person(request.user, public_id)
    require_admin(request.user, "let people come back")
    form = WhyForm(request.POST or None)
    if done(form, lambda entered: services.reactivate_person(actor=request.user, user=person, **entered)):
        messages.success(request, f"{person.name} can sign in again.")
        return redirect("people:detail", public_id)
    text = "Nothing of before comes back: no team, no role, no key."
    title = f"Reinstate {person.name}"
    return form_page(request, form, title=title, text=text, submit="Reinstate", cancel=_page_of(person))


@require_http_methods(METHODS)
def reset_factors(request: PersonRequest, public_id: str) -> HttpResponse:
    """Take away the second factors of somebody who lost them."""
    person = find_person(request.user, public_id)
    require_admin(request.user, "reset second factors")
    form = WhyForm(request.POST or None)
    if done(form, lambda entered: services.reset_factors(actor=request.user, user=person, **entered)):
        messages.success(request, f"{person.name} has no second factor now, and is signed out everywhere.")
        return redirect("people:detail", public_id)
    lines = [
        "The authenticator app, passkeys and recovery codes no longer sign in.",
        "The person is signed out everywhere, and told by e-mail.",
        "With a role, the next sign-in asks for another second factor.",
        "Be sure who it is that asks: this is how accounts are stolen.",
    ]
    return confirm_page(
        request,
        form,
        title=f"Reset the second factor of {person.name}?",
        lines=lines,
        submit="Reset the second factor",
        back=_page_of(person),
    )


def _end_of(day: Any) -> datetime | None:
    """Return the moment after a last day, in the organisation's time zone."""
    if day is None:
        return None
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=ZoneInfo(settings.TIME_ZONE))


def _page_of(person: User) -> str:
    return reverse("people:detail", args=[person.public_id])
