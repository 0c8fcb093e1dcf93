"""Addresses of the pages of blocked calls, of reconciliation and of reports."""

from django.urls import URLPattern, path

from usage import views
from usage.ports import SourceNames


def routes(*, names_of_sources: SourceNames) -> tuple[list[URLPattern], str]:
    """Return the pages with their name space; what gateways are called is handed in."""
    given = {"names_of_sources": names_of_sources}
    patterns = [
        path("", views.list_days, given, name="list"),
        path("<str:source>/<str:day>/", views.show_day, given, name="detail"),
    ]
    return patterns, "reconciliation"


def blocked_routes() -> tuple[list[URLPattern], str]:
    """Return the page of blocked calls with its name space."""
    return [path("", views.list_blocked, name="list")], "blocked"


def report_routes() -> tuple[list[URLPattern], str]:
    """Return the pages of reports with their name space."""
    patterns = [
        path("", views.list_teams, name="list"),
        path("focus/<str:month>/", views.export_focus, name="focus"),
        path("<str:public_id>/<str:month>/", views.show_statement, name="statement"),
    ]
    return patterns, "reports"
