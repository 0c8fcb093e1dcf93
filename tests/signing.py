"""Signs people in without their passwords, as if they had just used them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY
from allauth.account.internal.flows.login import _AUTHENTICATION_METHODS_USER_SESSION_KEY
from allauth.account.internal.userkit import user_id_to_str
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.conf import settings
from django.contrib.auth import login
from django.http import HttpRequest
from django.test import Client

from core import clock
from portal.sessions import SessionName, SessionStore, token_of
from teams.models import User

JUST_NOW = timedelta()
LONG_AGO = timedelta(minutes=6)
CODE_SECONDS, ENTERED_WITHIN_SECONDS = 30, 5


def session_of(client: Client) -> SessionStore:
    """Return the session that the cookie of a client opens, or a new one."""
    cookie = client.cookies.get(settings.SESSION_COOKIE_NAME)
    return SessionStore(SessionName(cookie.value) if cookie else None)


def open_session(client: Client, user: User) -> None:
    """Give the client a session of this person; nothing in it says when he signed in."""
    request = HttpRequest()
    request.session = session_of(client)
    login(request, user, settings.AUTHENTICATION_BACKENDS[0])
    request.session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = token_of(request.session)


def sign_in(client: Client, user: User, *, ago: timedelta = JUST_NOW, method: str = "password") -> None:
    """Give the client a session of this person, whose sign-in is as long ago as that."""
    open_session(client, user)
    session = session_of(client)
    at = (clock.now() - ago).timestamp()
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [{"method": method, "at": at}]
    session[_AUTHENTICATION_METHODS_USER_SESSION_KEY] = user_id_to_str(user)
    session.save()


def code_for(secret: str, now: Callable[[], float] = time.time) -> str:
    """Return what an authenticator app shows now; of two, the next one, where this one ends before long."""
    left = CODE_SECONDS - now() % CODE_SECONDS
    if left < ENTERED_WITHIN_SECONDS:
        time.sleep(left)
    return str(format_hotp_value(hotp_value(secret, int(now()) // CODE_SECONDS)))
