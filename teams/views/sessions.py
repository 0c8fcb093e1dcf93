"""Where a person is signed in, and the way to end that from here."""

from dataclasses import dataclass
from datetime import datetime

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.sessions.models import Session
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from core import clock
from core.errors import NotFoundError
from teams import services
from teams.types import PersonRequest

BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Firefox", "Firefox"),
    ("Chrom", "Chrome"),
    ("Safari", "Safari"),
)
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


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
        for session in _alive(request)
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


def browser_of(user_agent: str) -> str:
    """Name a browser as people do: `Firefox on Windows`."""
    browser = next((name for mark, name in BROWSERS if mark in user_agent), "A program")
    system = next((name for mark, name in SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if system else browser


def _alive(request: PersonRequest) -> list[UserSession]:
    """Return the sign-ins whose session lives, the newest first. Two queries."""
    known = list(UserSession.objects.filter(user=request.user).order_by("-created_at"))
    keys = [session.session_key for session in known]
    living = Session.objects.filter(session_key__in=keys, expire_date__gt=clock.now())
    alive = set(living.values_list("session_key", flat=True))
    return [session for session in known if session.session_key in alive]
