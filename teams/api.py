"""The organisation, read: departments, teams, projects and people, as far as one may see them."""

from django.db.models import QuerySet

from core.rest.fields import id_pattern
from core.rest.views import NounViewSet
from teams import selectors
from teams.models import Department, Project, Team, User
from teams.serializers import (
    DepartmentOut,
    PersonOut,
    PersonQuery,
    ProjectOut,
    ProjectQuery,
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
