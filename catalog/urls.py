"""Addresses of the pages of the catalogue."""

from django.urls import URLPattern, path

from catalog import views
from catalog.ports import Approvers, GrantsOf


def routes(*, grants_of: GrantsOf, approvers: Approvers) -> list[URLPattern]:
    """Return the pages; what they show of keys and approvals is handed in."""
    return [path("", views.models, {"grants_of": grants_of, "approvers": approvers}, name="models")]
