"""Addresses of the pages of people and of their sign-ins."""

from django.urls import URLPattern, path, re_path

from teams import views
from teams.ports import Leaving


def routes(*, leaving: Leaving) -> tuple[list[URLPattern], str]:
    """Return the pages of people with their name space; what a leaver holds elsewhere is handed in."""
    patterns = [
        path("", views.list_people, name="list"),
        path("add/", views.add_person, name="add"),
        path("roles/<slug:public_id>/end/", views.end_role, name="end_role"),
        path("<slug:public_id>/", views.show_person, name="detail"),
        path("<slug:public_id>/rename/", views.rename_person, name="rename"),
        path("<slug:public_id>/role/", views.give_role, name="give_role"),
        path("<slug:public_id>/leave/", views.let_leave, {"leaving": leaving}, name="leave"),
        path("<slug:public_id>/factors/", views.reset_factors, name="reset_factors"),
        path("<slug:public_id>/return/", views.let_return, name="return"),
    ]
    return patterns, "people"


def scim_routes(*, leaving: Leaving) -> list[URLPattern]:
    """Return the endpoints of SCIM; what a leaver holds elsewhere is handed in."""
    given = {"leaving": leaving}
    return [
        path("Users", views.scim.users, given, name="scim_users"),
        path("Users/<str:public_id>", views.scim.user, given, name="scim_user"),
        path("Groups", views.scim.groups, name="scim_groups"),
        path("Groups/<str:public_id>", views.scim.group, name="scim_group"),
        path("ServiceProviderConfig", views.scim.service_provider_config, name="scim_config"),
        path("ResourceTypes", views.scim.resource_types, name="scim_resource_types"),
        path("Schemas", views.scim.schemas, name="scim_schemas"),
        re_path("", views.scim.unknown, name="scim_unknown"),
    ]


def session_routes() -> tuple[list[URLPattern], str]:
    """Return the pages of a person's own sign-ins with their name space."""
    patterns = [
        path("", views.list_sessions, name="list"),
        path("<int:pk>/end/", views.end_session, name="end"),
    ]
    return patterns, "sessions"
