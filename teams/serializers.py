"""How people and their organisation look in the API."""

from allauth.usersessions.models import UserSession
from rest_framework import serializers

from core.rest.fields import Moment, PublicId, Text
from core.rest.serializers import CodedOut, In, NamedOut, Out, PageQuery
from teams.browsers import browser_of, session_id

MAX_REASON_CHARACTERS = 2_000


class DepartmentOut(CodedOut):
    """A department."""

    archived_at = Moment(allow_null=True)


class TeamOut(CodedOut):
    """A team and the department that it belongs to."""

    department = CodedOut()
    archived_at = Moment(allow_null=True)


class ProjectOut(CodedOut):
    """A project; `code` is the project id that callers send."""

    team = CodedOut()
    owner = NamedOut()
    cost_centre = serializers.CharField()
    created_at = Moment()
    archived_at = Moment(allow_null=True)


class ProjectMoveIn(In):
    """Where a project belongs from now on, and why."""

    team = PublicId("tem")
    reason = Text(max_length=MAX_REASON_CHARACTERS)


class PersonOut(Out):
    """A person: enough to know who it is."""

    id = serializers.CharField(source="public_id")
    name = serializers.CharField()
    email = serializers.CharField()
    active = serializers.BooleanField(source="is_active")


class TeamQuery(PageQuery):
    """Which teams to list."""

    department = PublicId("dep", required=False)


class ProjectQuery(PageQuery):
    """Which projects to list."""

    team = PublicId("tem", required=False)


class PersonQuery(PageQuery):
    """Which people to list."""

    team = PublicId("tem", required=False, help_text="Those who work in this team now.")


class SessionOut(Out):
    """One browser in which one is signed in."""

    id = serializers.SerializerMethodField()
    browser = serializers.SerializerMethodField()
    ip_address = serializers.CharField(source="ip")
    signed_in_at = Moment(source="created_at")
    is_this_one = serializers.SerializerMethodField()

    def get_id(self, session: UserSession) -> str:
        """Return its id."""
        return session_id(session)

    def get_browser(self, session: UserSession) -> str:
        """Return its name."""
        return browser_of(session.user_agent)

    def get_is_this_one(self, session: UserSession) -> bool:
        """Say whether this very call came from there."""
        here: str | None = self.context["session_key"]
        return here == str(session.session_key)
