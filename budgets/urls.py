"""Addresses of the pages of budgets."""

from django.urls import URLPattern, path

from budgets import views
from budgets.ports import Forecasts, KeyDirectory, KeyLabels, Neighbours


def routes(
    *, keys: KeyDirectory, key_labels: KeyLabels, forecasts: Forecasts
) -> tuple[list[URLPattern], str]:
    """Return the pages with their name space; what they show of keys and of the future is handed in."""
    given = {"neighbours": Neighbours(keys=keys, key_labels=key_labels, forecasts=forecasts)}
    patterns = [
        path("", views.list_budgets, given, name="list"),
        path("<str:public_id>/", views.show_budget, given, name="detail"),
        path("<str:public_id>/change/", views.change_budget, given, name="change"),
    ]
    return patterns, "budgets"
