"""The organisation as far as one may see it: departments, teams, projects, people; and one's own sign-ins."""

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
from core.rest.serializers import NothingIn
from core.rest.views import ListViewSet, NounViewSet
from teams import selectors, services
from teams.browsers import live_sessions, session_id
from teams.models import Department, Project, Team, User
from teams.serializers import (
    DepartmentOut,
    PersonOut,
    PersonQuery,
    ProjectOut,
    ProjectQuery,
    SessionOut,
    TeamOut,
    TeamQuery,
)


class DepartmentViewSet(NounViewSet):
    """Departments that the person directs; those with a role for the whole organisation see all."""

    noun = "department"
    lookup_value_regex = id_pattern("dep")
    out = DepartmentOut

    def get_queryset(self) -> QuerySet[Department]:
        """Return the departments in scope."""
        return Department.objects.visible_to(self.actor)


class TeamViewSet(NounViewSet):
    """Teams that the person works in or oversees."""

    noun = "team"
    lookup_value_regex = id_pattern("tem")
    out = TeamOut
    list_query = TeamQuery

    def get_queryset(self) -> QuerySet[Team]:
        """Return the teams in scope."""
        return Team.objects.visible_to(self.actor).select_related("department")

    def chosen(self, rows: QuerySet[Team]) -> QuerySet[Team]:
        """Narrow the list down to a department."""
        return self.narrowed(rows, department="department__public_id")


class ProjectViewSet(NounViewSet):
    """Projects of the teams that the person works in or oversees."""

    noun = "project"
    lookup_value_regex = id_pattern("prj")
    out = ProjectOut
    list_query = ProjectQuery

    def get_queryset(self) -> QuerySet[Project]:
        """Return the projects in scope."""
        return Project.objects.visible_to(self.actor).select_related("team", "owner")

    def chosen(self, rows: QuerySet[Project]) -> QuerySet[Project]:
        """Narrow the list down to a team."""
        return self.narrowed(rows, team="team__public_id")


class PersonViewSet(NounViewSet):
    """People who work in or lead the teams that the person may see, and the person himself."""

    noun = "person"
    lookup_value_regex = id_pattern("usr")
    out = PersonOut
    list_query = PersonQuery

    def get_queryset(self) -> QuerySet[User]:
        """Return the people in scope."""
        return selectors.people_visible_to(self.actor)

    def chosen(self, rows: QuerySet[User]) -> QuerySet[User]:
        """Narrow the list down to those who work in a team."""
        if "team" not in self.query:
            return rows
        team = Team.objects.visible_to(self.actor).filter(public_id=self.query["team"])
        return rows.filter(selectors.working_in(team))


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

    @operation(gives=SessionOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def end(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Sign out there. This very sign-in ends by signing out."""
        self.body(NothingIn)
        session = self.found(id)
        if session.session_key == self.request.session.session_key:
            raise AlreadyDoneError("This is the sign-in that you call with. Sign out to end it.")
        shown = self.answer(session)
        services.end_sessions(actor=self.actor, user=self.actor, sessions=[session])
        return shown
