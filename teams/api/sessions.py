"""One's own sign-ins in the API."""

from collections.abc import Sequence
from typing import Any

from allauth.usersessions.models import UserSession
from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.errors import AlreadyDoneError
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.views import ListViewSet
from teams import services
from teams.browsers import live_sessions, session_id
from teams.serializers import SessionEndIn, SessionOut


class SessionViewSet(ListViewSet):
    """The browsers in which one is signed in oneself."""

    noun = "sign-in"
    lookup_value_regex = id_pattern("ses")
    out = SessionOut

    def get_queryset(self) -> QuerySet[UserSession]:
        """Return the sign-ins whose session lives."""
        return live_sessions(self.actor)

    def by_id(self, rows: QuerySet[Any], public_id: str) -> QuerySet[Any]:
        """Narrow sign-ins down to one; a person has few."""
        return rows.filter(pk__in=[session.pk for session in rows if session_id(session) == public_id])

    def id_of(self, row: UserSession) -> str:
        """Return the id of a sign-in."""
        return session_id(row)

    def about(self, rows: Sequence[UserSession]) -> dict[str, Any]:
        """Return which of them this call came from."""
        return {"session_key": self.request.session.session_key}

    @operation(takes=SessionEndIn, gives=SessionOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def end(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Sign out there. This very sign-in ends by signing out."""
        reason = self.body(SessionEndIn)["reason"]
        session = self.found(id)
        if session.session_key == self.request.session.session_key:
            raise AlreadyDoneError("This is the sign-in that you call with. Sign out to end it.")
        shown = self.answer(session)
        services.end_sessions(actor=self.actor, user=self.actor, reason=reason, sessions=[session])
        return shown
