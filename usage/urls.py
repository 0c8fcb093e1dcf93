"""Addresses of the pages of blocked calls and of reconciliation."""

from django.urls import URLPattern, path

from usage import views
from usage.ports import SourceNames


def routes(*, names_of_sources: SourceNames) -> tuple[list[URLPattern], str]:
    """Return the pages with their name space; what gateways are called is handed in."""
    given = {"names_of_sources": names_of_sources}
    patterns = [
        path("", views.list_days, given, name="list"),
        path("periods/", views.list_periods, name="periods"),
        path("periods/<str:month>/", views.show_period, name="period"),
        path("periods/<str:month>/soft-close/", views.close_softly, name="soft_close"),
        path("periods/<str:month>/close/", views.close_for_good, name="close"),
        path("periods/<str:month>/reopen/", views.reopen, name="reopen"),
        path("differences/<str:public_id>/", views.show_difference, given, name="difference"),
        path("differences/<str:public_id>/resolve/", views.resolve_difference, given, name="resolve"),
        path("differences/<str:public_id>/assign/", views.assign_difference, name="assign"),
        path("<str:source>/<str:day>/", views.show_day, given, name="detail"),
    ]
    return patterns, "reconciliation"


def blocked_routes() -> tuple[list[URLPattern], str]:
    """Return the page of blocked calls with its name space."""
    return [path("", views.list_blocked, name="list")], "blocked"
