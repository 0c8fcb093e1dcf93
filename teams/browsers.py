"""Where people are signed in: which sessions live, in which browsers."""

import hashlib

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db.models import QuerySet

from core import clock
from core.ids import LENGTH
from teams.models import User

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


def live_sessions(user: User) -> QuerySet[UserSession]:
    """Return the sign-ins of a person whose session lives. One query."""
    living = Session.objects.filter(expire_date__gt=clock.now()).values("session_key")
    found: QuerySet[UserSession] = UserSession.objects.filter(user=user, session_key__in=living)
    return found


def browser_of(user_agent: str) -> str:
    """Name a browser as people do: `Firefox on Windows`."""
    browser = next((name for mark, name in BROWSERS if mark in user_agent), "A program")
    system = next((name for mark, name in SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if system else browser


def session_id(session: UserSession) -> str:
    """Return how the API calls a sign-in; the key of the session cannot be told from it."""
    return f"ses_{hashlib.sha256(session.session_key.encode()).hexdigest()[:LENGTH]}"
