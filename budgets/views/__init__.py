"""The pages of budgets."""

from budgets.views.limits import change_budget, plan_limit, top_up_budget, withdraw_plan
from budgets.views.reading import list_budgets, show_budget
from budgets.views.rules import change_rate, change_rules, close_budget, open_budget

__all__ = [
    "change_budget",
    "change_rate",
    "change_rules",
    "close_budget",
    "list_budgets",
    "open_budget",
    "plan_limit",
    "show_budget",
    "top_up_budget",
    "withdraw_plan",
]
