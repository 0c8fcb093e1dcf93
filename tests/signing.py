"""Signs people in without their passwords, as if they had just used them."""

from __future__ import annotations

from datetime import timedelta

from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY
from allauth.account.internal.flows.login import _AUTHENTICATION_METHODS_USER_SESSION_KEY
from allauth.account.internal.userkit import user_id_to_str
from django.test import Client

from core import clock
from teams.models import User

JUST_NOW = timedelta()
LONG_AGO = timedelta(minutes=6)


def sign_in(client: Client, user: User, *, ago: timedelta = JUST_NOW, method: str = "password") -> None:
    """Give the client a session of this person, whose sign-in is as long ago as that."""
    client.force_login(user)
    session = client.session
    at = (clock.now() - ago).timestamp()
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [{"method": method, "at": at}]
    session[_AUTHENTICATION_METHODS_USER_SESSION_KEY] = user_id_to_str(user)
    session.save()
