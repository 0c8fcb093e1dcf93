"""Where a person is signed in, and the way to end that from here."""

from dataclasses import dataclass
from datetime import datetime

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from core.errors import NotFoundError
from teams import services
from teams.browsers import browser_of, live_sessions
from teams.forms import WhyForm
from teams.types import PersonRequest
from teams.views.acting import METHODS, confirm_page, done


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """One browser in which the person is signed in; `end_url` is empty for this very one.

    `seen` is when it was last used, exact to the minute. The address is that of the sign-in.
    """

    browser: str
    address: str
    since: datetime
    seen: datetime
    end_url: str


@require_safe
def list_sessions(request: PersonRequest) -> HttpResponse:
    """List the browsers in which the person is signed in."""
    rows = [
        SignIn(
            browser=browser_of(session.user_agent),
            address=session.ip,
            since=session.created_at,
            seen=session.last_seen_at,
            end_url=""
            if session.session_key == request.session.session_key
            else reverse("sessions:end", args=[session.pk]),
        )
        for session in live_sessions(request.user).order_by("-created_at")
    ]
    return render(request, "teams/sessions.html", {"sign_ins": rows})


@require_http_methods(METHODS)
def end_session(request: PersonRequest, pk: int) -> HttpResponse:
    """Name what it means to be signed out in another browser; on POST sign the person out there."""
    session = UserSession.objects.filter(user=request.user, pk=pk).first()
    if session is None or session.session_key == request.session.session_key:
        raise NotFoundError("There is no such sign-in of yours, or it has ended.")
    where = f"{browser_of(session.user_agent)} at {session.ip}"
    form = WhyForm(request.POST or None)
    if done(
        form,
        lambda entered: services.end_sessions(
            actor=request.user, user=request.user, sessions=[session], **entered
        ),
    ):
        messages.success(request, f"You are signed out of {where}.")
        return redirect("sessions:list")
    lines = [
        "The next page that is opened there asks to sign in. What was entered there and not sent is lost.",
        "Keys and API tokens go on: revoke them if somebody else has them.",
        "Whoever knows the password signs in again: change it if this was not you.",
    ]
    return confirm_page(
        request,
        form,
        title=f"Sign out of {where}?",
        lines=lines,
        submit="Sign out there",
        back=reverse("sessions:list"),
    )
