"""Addresses of the pages of people and of their sign-ins."""

from django.urls import URLPattern, path

from teams import views


def session_routes() -> tuple[list[URLPattern], str]:
    """Return the pages of a person's own sign-ins with their name space."""
    patterns = [
        path("", views.list_sessions, name="list"),
        path("<int:pk>/end/", views.end_session, name="end"),
    ]
    return patterns, "sessions"
