"""Addresses of the pages of budgets."""

from django.urls import URLPattern, path

from budgets import views
from budgets.ports import AskForMore, Forecasts, KeyDirectory, KeyLabels, Neighbours


def routes(
    *,
    keys: KeyDirectory,
    key_labels: KeyLabels,
    forecasts: Forecasts,
    ask_for_more: AskForMore | None = None,
) -> tuple[list[URLPattern], str]:
    """Return the pages with their name space; what they show of keys and of the future is handed in."""
    neighbours = Neighbours(keys=keys, key_labels=key_labels, forecasts=forecasts, ask_for_more=ask_for_more)
    given = {"neighbours": neighbours}
    patterns = [
        path("", views.list_budgets, given, name="list"),
        path("open/", views.open_budget, given, name="open"),
        path("<str:public_id>/", views.show_budget, given, name="detail"),
        path("<str:public_id>/change/", views.change_budget, given, name="change"),
        path("<str:public_id>/plan/", views.plan_limit, given, name="plan"),
        path("<str:public_id>/plan/withdraw/", views.withdraw_plan, given, name="withdraw"),
        path("<str:public_id>/top-up/", views.top_up_budget, given, name="top_up"),
        path("<str:public_id>/rules/", views.change_rules, given, name="rules"),
        path("<str:public_id>/close/", views.close_budget, given, name="close"),
        path("<str:public_id>/rate/", views.change_rate, given, name="rate"),
    ]
    return patterns, "budgets"
