"""Addresses of the pages of keys."""

from django.urls import URLPattern, path

from keys import views
from keys.ports import UseOfKeys


def routes(*, use_of: UseOfKeys) -> tuple[list[URLPattern], str]:
    """Return the pages with their name space; `use_of` reads what keys consumed."""
    patterns = [
        path("", views.list_keys, {"use_of": use_of}, name="list"),
        path("new/", views.create_key, name="create"),
        path("<slug:public_id>/reveal/", views.reveal_key, name="reveal"),
        path("<slug:public_id>/revoke/", views.revoke_key, {"use_of": use_of}, name="revoke"),
    ]
    return patterns, "keys"
