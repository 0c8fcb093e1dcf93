"""Addresses of the pages of the catalogue."""

from django.urls import URLPattern, path

from catalog import views
from catalog.ports import Approvers, OwnUseOf, PlannedEffects, ProjectsOf


def routes(
    *, projects_of: ProjectsOf, approvers: Approvers, own_use: OwnUseOf, effects: PlannedEffects
) -> list[URLPattern]:
    """Return the pages of models; what they show of keys, approvals and usage is handed in."""
    handed_in = {
        "projects_of": projects_of,
        "approvers": approvers,
        "own_use": own_use,
        "effects": effects,
    }
    return [
        path("", views.models, handed_in, name="models"),
        path("unpriced/", views.list_unpriced, name="unpriced"),
        path("unpriced/<str:public_id>/price/", views.enter_prices, name="enter_prices"),
        path("unpriced/<str:public_id>/free/", views.declare_free, name="declare_free"),
    ]


def price_routes(*, effects: PlannedEffects, more: list[URLPattern]) -> tuple[list[URLPattern], str]:
    """Return the pages of prices under the name `prices`; `more` are those of usage that belong there."""
    pages = [
        path("", views.list_prices, {"effects": effects}, name="list"),
        path("import/", views.import_list, name="import"),
        path("models/<str:public_id>/", views.show_prices, name="model"),
        path("models/<str:public_id>/override/", views.override, name="override"),
        path("proposals/<str:public_id>/", views.show_proposal, name="proposal"),
        path("<str:public_id>/end/", views.end, name="end"),
    ]
    return [*more, *pages], "prices"
