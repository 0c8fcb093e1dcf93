"""What is read of budgets: rows for pages, places, limits over time, the ledger."""

from budgets.selectors.alerts import (
    newly_passed,
    not_forecast_to_pass,
    passed_before,
    visible_alerts,
)
from budgets.selectors.books import carried_into, keys_spending_on, unbalanced_balances
from budgets.selectors.history import limit_history, limit_in_force, limits_of
from budgets.selectors.labels import budget_words, label_of, place_name, rate_words
from budgets.selectors.neighbours import neighbourhood
from budgets.selectors.places import open_budgets_above, open_budgets_below, scope_place, seen_by
from budgets.selectors.rates import rate_here, visible_rate_limits
from budgets.selectors.rows import (
    binding_with,
    budget_detail,
    budget_rows,
    by_scope,
    find_budget,
    headroom,
    list_budgets,
    standings_of_scopes,
    tightest,
    tightest_of_their_calls,
    visible_budgets,
)

__all__ = [
    "binding_with",
    "budget_detail",
    "budget_rows",
    "budget_words",
    "by_scope",
    "carried_into",
    "find_budget",
    "headroom",
    "keys_spending_on",
    "label_of",
    "limit_history",
    "limit_in_force",
    "limits_of",
    "list_budgets",
    "neighbourhood",
    "newly_passed",
    "not_forecast_to_pass",
    "open_budgets_above",
    "open_budgets_below",
    "passed_before",
    "place_name",
    "rate_here",
    "rate_words",
    "scope_place",
    "seen_by",
    "standings_of_scopes",
    "tightest",
    "tightest_of_their_calls",
    "unbalanced_balances",
    "visible_alerts",
    "visible_budgets",
    "visible_rate_limits",
]
