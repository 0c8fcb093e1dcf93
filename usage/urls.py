"""Addresses of the pages of blocked calls, of reconciliation, and of pricing the past again."""

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


def price_routes() -> list[URLPattern]:
    """Return the pages of pricing the past again; they stand among those of prices."""
    return [
        path("repricings/", views.list_repricings, name="repricings"),
        path("repricings/new/", views.new_repricing, name="new_repricing"),
        path("repricings/<str:public_id>/", views.show_repricing, name="repricing"),
    ]
