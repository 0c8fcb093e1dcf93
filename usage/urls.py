"""Addresses of the pages of blocked calls, of reconciliation and of quarantine."""

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


def quarantine_routes(*, names_of_sources: SourceNames) -> tuple[list[URLPattern], str]:
    """Return the pages of quarantine with their name space; what gateways are called is handed in."""
    given = {"names_of_sources": names_of_sources}
    patterns = [
        path("", views.list_quarantine, given, name="list"),
        path("<str:public_id>/", views.show_quarantined, given, name="detail"),
        path("<str:public_id>/assign/", views.assign_row, given, name="assign"),
        path("<str:public_id>/dismiss/", views.dismiss_row, name="dismiss"),
    ]
    return patterns, "quarantine"
