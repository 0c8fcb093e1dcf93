"""The organisation, its people and their sign-ins in the API."""

from teams.api.organisation import DepartmentViewSet, ProjectViewSet, TeamViewSet
from teams.api.people import PersonViewSet, RoleViewSet
from teams.api.sessions import SessionViewSet

__all__ = [
    "DepartmentViewSet",
    "PersonViewSet",
    "ProjectViewSet",
    "RoleViewSet",
    "SessionViewSet",
    "TeamViewSet",
]
