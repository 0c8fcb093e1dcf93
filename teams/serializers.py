"""How people and their organisation look in the API."""

from allauth.usersessions.models import UserSession
from rest_framework import serializers

from core.rest.fields import Moment, PublicId, Text
from core.rest.serializers import CodedOut, In, NamedOut, Out, PageQuery
from teams.browsers import browser_of, session_id
from teams.models import Role, RoleSource
from teams.ports import ConsequenceKind

MAX_PERSON_CHARACTERS, MAX_ADDRESS_CHARACTERS = 150, 254
MAX_REASON_CHARACTERS = 2_000
MAX_CODE_CHARACTERS, MAX_NAME_CHARACTERS, MAX_COST_CENTRE_CHARACTERS = 63, 120, 40
CODE_HELP = "2 to 63 small letters, digits and hyphens, no hyphen first. It is never changed or used again."


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


class DepartmentCreateIn(In):
    """A new department."""

    code = Text(max_length=MAX_CODE_CHARACTERS, help_text=CODE_HELP)
    name = Text(max_length=MAX_NAME_CHARACTERS)


class TeamCreateIn(In):
    """A new team, and the department that it belongs to."""

    department = PublicId("dep")
    code = Text(max_length=MAX_CODE_CHARACTERS, help_text=CODE_HELP)
    name = Text(max_length=MAX_NAME_CHARACTERS)


class ProjectCreateIn(In):
    """A new project, the team that it belongs to, and who of that team answers for it."""

    team = PublicId("tem")
    code = Text(max_length=MAX_CODE_CHARACTERS, help_text=CODE_HELP)
    name = Text(max_length=MAX_NAME_CHARACTERS)
    owner = PublicId("usr", help_text="Somebody who works in the team or leads it.")
    cost_centre = Text(max_length=MAX_COST_CENTRE_CHARACTERS)


class RenameIn(In):
    """What a department, team or project is called from now on, and why."""

    name = Text(max_length=MAX_NAME_CHARACTERS)
    reason = Text(max_length=MAX_REASON_CHARACTERS)


class ArchiveIn(In):
    """Why a department, team or project is closed; kept in the audit."""

    reason = Text(max_length=MAX_REASON_CHARACTERS)


class ProjectHandOverIn(In):
    """Who answers for a project from now on, and why."""

    owner = PublicId("usr", help_text="Somebody who works in its team or leads it.")
    reason = Text(max_length=MAX_REASON_CHARACTERS)


class MemberOut(Out):
    """Somebody's time in a team, [valid_from, valid_until)."""

    person = NamedOut(source="user")
    valid_from = Moment()
    valid_until = Moment(allow_null=True)


class MembersOut(Out):
    """Who works in a team now."""

    results = MemberOut(many=True)


class MemberAddIn(In):
    """Who works in a team from now on."""

    person = Text(
        max_length=MAX_ADDRESS_CHARACTERS, help_text="The e-mail address with which this person signs in."
    )


class MemberEndIn(In):
    """Whose time in a team ends, and why."""

    person = PublicId("usr")
    reason = Text(max_length=MAX_REASON_CHARACTERS)


class ProjectMoveIn(In):
    """Where a project belongs from now on, and why."""

    team = PublicId("tem")
    reason = Text(max_length=MAX_REASON_CHARACTERS)


class TeamMoveIn(In):
    """Where a team belongs from now on, and why."""

    department = PublicId("dep")
    reason = Text(max_length=MAX_REASON_CHARACTERS)


class PersonOut(Out):
    """A person: enough to know who it is."""

    id = serializers.CharField(source="public_id")
    name = serializers.CharField()
    email = serializers.CharField()
    active = serializers.BooleanField(source="is_active")


class PersonCreateIn(In):
    """Somebody new. The password is set by the link of "Forgot your password?"."""

    name = Text(max_length=MAX_PERSON_CHARACTERS)
    email = Text(max_length=MAX_ADDRESS_CHARACTERS, help_text="The address to sign in with.")


class PersonRenameIn(In):
    """What a person is called from now on, and why."""

    name = Text(max_length=MAX_PERSON_CHARACTERS)
    reason = Text(max_length=MAX_REASON_CHARACTERS)


class PersonWhyIn(In):
    """Why something about a person is done; kept in the audit."""

    reason = Text(max_length=MAX_REASON_CHARACTERS)


class ConsequenceOut(Out):
    """What ends or stays behind when a person leaves, the gravest first."""

    kind = serializers.ChoiceField(ConsequenceKind.choices)
    id = serializers.CharField(
        source="public_id", allow_null=True, help_text="Of the object, where it is about one."
    )
    text = serializers.CharField(help_text="What happens, for people.")


class LeavingOut(Out):
    """What a person's leaving would end; nothing of it has happened yet."""

    person = NamedOut()
    consequences = ConsequenceOut(many=True)


class RoleOut(Out):
    """A role that a person holds or held, in [valid_from, valid_until), for its team or department."""

    id = serializers.CharField(source="public_id")
    person = NamedOut(source="user")
    role = serializers.ChoiceField(Role.choices)
    team = CodedOut(allow_null=True)
    department = CodedOut(allow_null=True)
    valid_from = Moment()
    valid_until = Moment(allow_null=True)
    given_by = NamedOut(source="granted_by", allow_null=True)
    source = serializers.ChoiceField(RoleSource.choices)  # type: ignore[assignment]  # a declared field, which the metaclass takes away


class RoleCreateIn(In):
    """Who is given which role, where, and until when."""

    person = PublicId("usr")
    role = serializers.ChoiceField(Role.choices)
    team = PublicId("tem", required=False, help_text="Of a lead.")
    department = PublicId("dep", required=False, help_text="Of a director.")
    valid_until = Moment(required=False, help_text="Until it is ended, unless said.")


class RoleEndIn(In):
    """Why a role ends; kept in the audit."""

    reason = Text(max_length=MAX_REASON_CHARACTERS)


class TeamQuery(PageQuery):
    """Which teams to list."""

    department = PublicId("dep", required=False)


class ProjectQuery(PageQuery):
    """Which projects to list."""

    team = PublicId("tem", required=False)


class PersonQuery(PageQuery):
    """Which people to list."""

    team = PublicId("tem", required=False, help_text="Those who work in this team now.")


class RoleQuery(PageQuery):
    """Which roles to list."""

    person = PublicId("usr", required=False)
    role = serializers.ChoiceField(Role.choices, required=False)
    team = PublicId("tem", required=False)
    department = PublicId("dep", required=False)
    in_force = serializers.ChoiceField([("yes", "Yes")], required=False)


class SessionEndIn(In):
    """Why one signs out there; kept in the audit."""

    reason = Text(max_length=MAX_REASON_CHARACTERS)


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
