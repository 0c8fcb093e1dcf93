"""Addresses under `/teams/` and `/projects/`."""

from django.urls import URLPattern, URLResolver, include, path

from portal.places import ending, growing, moving, renaming
from portal.places.project import show_project
from portal.places.team import show_team
from portal.places.teams import list_teams

organisation = (
    [
        path("", list_teams, name="list"),
        path("add/", growing.add_team, name="add_team"),
        path("departments/add/", growing.add_department, name="add_department"),
        path("departments/<str:public_id>/rename/", renaming.rename_department, name="rename_department"),
        path("departments/<str:public_id>/archive/", ending.archive_department, name="archive_department"),
        path("<str:public_id>/rename/", renaming.rename_team, name="rename_team"),
        path("<str:public_id>/archive/", ending.archive_team, name="archive_team"),
        path("<str:public_id>/projects/add/", growing.add_project, name="add_project"),
        path("<str:public_id>/members/add/", growing.add_member, name="add_member"),
        path("<str:public_id>/members/<str:person_id>/end/", ending.end_membership, name="end_membership"),
    ],
    "teams",
)
routes: list[URLPattern | URLResolver] = [
    path("teams/", include(organisation)),
    path("teams/<str:public_id>/", show_team, name="team"),
    path("teams/<str:public_id>/move/", moving.move_team, name="move_team"),
    path("projects/<str:public_id>/", show_project, name="project"),
    path("projects/<str:public_id>/move/", moving.move_project, name="move_project"),
    path("projects/<str:public_id>/rename/", renaming.rename_project, name="rename_project"),
    path("projects/<str:public_id>/hand-over/", renaming.hand_over_project, name="hand_over_project"),
    path("projects/<str:public_id>/archive/", ending.archive_project, name="archive_project"),
]
