"""Addresses of the pages of the catalogue."""

from django.urls import URLPattern, path

from catalog import views
from catalog.ports import Approvers, ProjectsOf


def routes(*, projects_of: ProjectsOf, approvers: Approvers) -> list[URLPattern]:
    """Return the pages; what they show of keys and approvals is handed in."""
    return [
        path("", views.models, {"projects_of": projects_of, "approvers": approvers}, name="models"),
        path("unpriced/", views.list_unpriced, name="unpriced"),
        path("unpriced/<str:public_id>/price/", views.enter_prices, name="enter_prices"),
        path("unpriced/<str:public_id>/free/", views.declare_free, name="declare_free"),
    ]
