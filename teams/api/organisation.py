"""The organisation in the API: departments, teams, projects and who works in them."""

from collections.abc import Sequence
from typing import ClassVar

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.views import NounViewSet, referred
from teams import selectors, services
from teams.models import Department, Membership, Project, Team, User
from teams.ports import TeamEnding
from teams.serializers import (
    ArchiveIn,
    DepartmentCreateIn,
    DepartmentOut,
    MemberAddIn,
    MemberEndIn,
    MemberOut,
    MembersOut,
    ProjectCreateIn,
    ProjectHandOverIn,
    ProjectOut,
    ProjectQuery,
    RenameIn,
    TeamCreateIn,
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

    @operation(takes=DepartmentCreateIn, gives=DepartmentOut, status=201)
    def create(self, request: Request) -> Response:
        """Open a department, with nothing in it yet. Only administrators may."""
        wanted = self.body(DepartmentCreateIn)
        return self.created(services.create_department(actor=self.actor, **wanted))

    @operation(takes=RenameIn, gives=DepartmentOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def rename(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Give a department another name; its code stays. Only administrators may."""
        wanted = self.body(RenameIn)
        services.rename_department(actor=self.actor, department=self.found(id), **wanted)
        return self.answer(self.found(id))

    @operation(takes=ArchiveIn, gives=DepartmentOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def archive(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Close a department in which all is closed; nothing opens it again. Only administrators may."""
        reason = self.body(ArchiveIn)["reason"]
        services.archive_department(actor=self.actor, department=self.found(id), reason=reason)
        return self.answer(self.found(id))


class TeamViewSet(NounViewSet):
    """Teams that the person works in or oversees."""

    noun = "team"
    lookup_value_regex = id_pattern("tem")
    out = TeamOut
    list_query = TeamQuery
    endings: ClassVar[Sequence[TeamEnding]]

    def get_queryset(self) -> QuerySet[Team]:
        """Return the teams in scope."""
        return Team.objects.visible_to(self.actor).select_related("department")

    def chosen(self, rows: QuerySet[Team]) -> QuerySet[Team]:
        """Narrow the list down to a department."""
        return self.narrowed(rows, department="department__public_id")

    @operation(takes=TeamCreateIn, gives=TeamOut, status=201)
    def create(self, request: Request) -> Response:
        """Open a team in a department, with nobody in it yet. Only administrators may."""
        selectors.require_admin(self.actor, "open teams")
        wanted = self.body(TeamCreateIn)
        known = wanted.pop("department")
        departments = Department.objects.visible_to(self.actor)
        home = referred(departments, field="department", noun="department", public_id=known)
        return self.created(services.create_team(actor=self.actor, department=home, **wanted))

    @operation(takes=RenameIn, gives=TeamOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def rename(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Give a team another name; its code stays. Its director and administrators may."""
        wanted = self.body(RenameIn)
        services.rename_team(actor=self.actor, team=self.found(id), **wanted)
        return self.answer(self.found(id))

    @operation(takes=ArchiveIn, gives=TeamOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def archive(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Close a team with its projects: their keys are refused at once, and nothing opens it again."""
        reason = self.body(ArchiveIn)["reason"]
        services.archive_team(actor=self.actor, team=self.found(id), reason=reason)
        return self.answer(self.found(id))

    @operation(gives=MembersOut, reads=True, refuses=(404,))
    @action(detail=True, methods=["get"])
    def members(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """List who works in a team now, by name. Who leads it without working in it is among the roles."""
        members = selectors.members_of(self.found(id))
        return Response(MembersOut({"results": members}).data)

    @operation(takes=MemberAddIn, gives=MemberOut, status=201, refuses=(404,))
    @members.mapping.post
    def add_member(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let somebody work in a team: ask for keys, and see its spend. Its lead, director and
        administrators may.
        """
        address, team = self.body(MemberAddIn)["person"], self.found(id)
        selectors.require_oversight(self.actor, team)
        people = User.objects.filter(is_active=True)
        person = referred(people, field="person", noun="person", email=address.strip().lower())
        membership = services.add_member(actor=self.actor, team=team, user=person)
        return self._member(membership, status=201)

    @operation(takes=MemberEndIn, gives=MemberOut, refuses=(404,))
    @action(detail=True, methods=["post"], url_path="members/end", url_name="end-member")
    def end_member(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """End somebody's time in a team now, and revoke the keys that he has for its projects.

        Refused while he leads the team or owns an open project of it.
        """
        wanted, team = self.body(MemberEndIn), self.found(id)
        people = selectors.people_visible_to(self.actor)
        person = referred(people, field="person", noun="person", public_id=wanted["person"])
        ended = services.end_membership(
            actor=self.actor, team=team, user=person, reason=wanted["reason"], endings=self.endings
        )
        return self._member(ended)

    def _member(self, membership: Membership, *, status: int = 200) -> Response:
        return Response(MemberOut(membership).data, status=status)


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

    @operation(takes=ProjectCreateIn, gives=ProjectOut, status=201)
    def create(self, request: Request) -> Response:
        """Open a project that somebody of its team owns. The team's lead, director and administrators may."""
        wanted = self.body(ProjectCreateIn)
        known, owner = wanted.pop("team"), self._owner(wanted.pop("owner"))
        team = referred(Team.objects.visible_to(self.actor), field="team", noun="team", public_id=known)
        return self.created(services.create_project(actor=self.actor, team=team, owner=owner, **wanted))

    @operation(takes=RenameIn, gives=ProjectOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def rename(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Give a project another name; its code stays. Its director and administrators may."""
        wanted = self.body(RenameIn)
        services.rename_project(actor=self.actor, project=self.found(id), **wanted)
        return self.answer(self.found(id))

    @operation(takes=ProjectHandOverIn, gives=ProjectOut, refuses=(404,))
    @action(detail=True, methods=["post"], url_path="hand-over")
    def hand_over(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let somebody else of its team own a project. The team's lead, director and administrators may."""
        wanted, project = self.body(ProjectHandOverIn), self.found(id)
        owner, reason = self._owner(wanted["owner"]), wanted["reason"]
        services.hand_over_project(actor=self.actor, project=project, owner=owner, reason=reason)
        return self.answer(self.found(id))

    @operation(takes=ArchiveIn, gives=ProjectOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def archive(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Close a project: its keys are refused at once, and nothing opens it again."""
        reason = self.body(ArchiveIn)["reason"]
        services.archive_project(actor=self.actor, project=self.found(id), reason=reason)
        return self.answer(self.found(id))

    def _owner(self, public_id: str) -> User:
        people = selectors.people_visible_to(self.actor)
        return referred(people, field="owner", noun="person", public_id=public_id)
