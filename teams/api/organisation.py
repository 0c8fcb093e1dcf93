"""The organisation in the API, as far as one may see it: departments, teams and projects."""

from django.db.models import QuerySet

from core.rest.fields import id_pattern
from core.rest.views import NounViewSet
from teams.models import Department, Project, Team
from teams.serializers import DepartmentOut, ProjectOut, ProjectQuery, TeamOut, TeamQuery


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
