"""The pages of budgets."""

from budgets.views.pages import change_budget, list_budgets, show_budget

__all__ = ["change_budget", "list_budgets", "show_budget"]
