"""Sessions of which a copy of the database opens none: only the browser holds what opens one.

The cookie is a random token of 165 bits. The database, and all code but the middleware below, know a session
by the SHA-256 of it, cut to the 160 bits that the column takes. What is in a session is sealed: on the way to
a new password or a new second factor it holds what would let somebody else take that way.
"""

import hashlib
from datetime import datetime
from typing import Any, Self, cast

from django.conf import settings
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, SessionBase
from django.contrib.sessions.middleware import SessionMiddleware
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import get_random_string

from core import clock
from teams.sealing import seal, unseal

TOKEN_CHARACTERS = 32  # of 36: 165 bits
DIGEST_CHARACTERS = 40  # of hexadecimal: 160 bits


class SessionName(str):
    """What a session is called in the database, with the token of the browser that it was made from."""

    __slots__ = ("token",)
    token: str

    def __new__(cls, token: str) -> Self:
        """Name the session that a token opens."""
        name = super().__new__(cls, hashlib.sha256(token.encode()).hexdigest()[:DIGEST_CHARACTERS])
        name.token = token
        return name


class SessionStore(db.SessionStore):
    """Django's, with names in the place of tokens; only one that was made from a token can be sent out. It
    ends by everybody's clock.
    """

    def _get_new_session_key(self) -> SessionName:
        return SessionName(get_random_string(TOKEN_CHARACTERS, VALID_KEY_CHARS))

    def get_expiry_date(self, **given: Any) -> datetime:
        """Return when the session ends."""
        ends: datetime = super().get_expiry_date(**{"modification": clock.now(), **given})
        return ends

    def _get_session_from_db(self) -> Session | None:
        found = Session.objects.filter(session_key=self.session_key, expire_date__gt=clock.now()).first()
        if found is None:
            self._session_key = None
        return found

    def encode(self, session_dict: dict[str, Any]) -> str:
        """Return what is kept of a session."""
        return seal(super().encode(session_dict))

    def decode(self, session_data: bytes | str) -> dict[str, Any]:
        """Return what was kept; nothing when its pepper is gone."""
        try:
            return super().decode(unseal(str(session_data)))
        except ValueError:
            return {}


def token_of(session: SessionBase) -> str:
    """Return what the browser holds; who found a session by its name alone cannot give it to anybody."""
    return cast("SessionName", session.session_key).token


class TokenMiddleware(SessionMiddleware):
    """Django's, reading the token of the cookie and writing it there."""

    def process_request(self, request: HttpRequest) -> None:
        """Find the session of the browser."""
        token = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        request.session = SessionStore(SessionName(token) if token else None)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save the session, and give its token to the browser where its cookie is set."""
        response = super().process_response(request, response)
        cookie = response.cookies.get(settings.SESSION_COOKIE_NAME)
        if cookie is not None and cookie.value:
            token = token_of(request.session)
            cookie.set(settings.SESSION_COOKIE_NAME, token, token)
        return response
