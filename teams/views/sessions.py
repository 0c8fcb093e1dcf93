"""Where a person is signed in, and the way to end that from here."""

from dataclasses import dataclass
from datetime import datetime

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from core.errors import NotFoundError
from teams import services
from teams.browsers import browser_of, live_sessions
from teams.types import PersonRequest


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


@require_POST
def end_session(request: PersonRequest, pk: int) -> HttpResponse:
    """Sign the person out in another browser."""
    session = UserSession.objects.filter(user=request.user, pk=pk).first()
    if session is None or session.session_key == request.session.session_key:
        raise NotFoundError("There is no such sign-in of yours, or it has ended.")
    services.end_sessions(actor=request.user, user=request.user, sessions=[session])
    messages.success(request, f"You are signed out of {browser_of(session.user_agent)} at {session.ip}.")
    return redirect("sessions:list")
