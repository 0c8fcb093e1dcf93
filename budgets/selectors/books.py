"""Reads the ledger: which keys spend on a budget, whether balances equal their entries and holds."""

from django.db import connection

from budgets import ledger
from budgets.models import Budget, ScopeKind
from core.books import Broken, broken

KEYS_SPENDING = """
    WITH here AS (
      SELECT b.id, w.window_start FROM budgets_budget b,
        budgets_window(b.window, b.window_anchor, b.time_zone, clock_timestamp()) w WHERE b.id = %(budget)s
    )
    SELECT e.key_id FROM budgets_entry e, here
    WHERE e.budget_ids @> ARRAY[here.id] AND e.effective_at >= here.window_start AND e.key_id IS NOT NULL
      AND (%(kind)s <> 'project' OR e.project_id = %(scope)s) AND (%(kind)s <> 'team' OR e.team_id =
      %(scope)s) AND (%(kind)s <> 'department' OR e.department_id = %(scope)s)
    UNION
    SELECT r.key_id FROM budgets_reservation r, here WHERE r.state = 'open' AND r.budget_ids @> ARRAY[here.id]
    ORDER BY 1
"""


def keys_spending_on(budget: Budget) -> list[int]:
    """Return the ids of the keys that spent or hold money in the budget's current window. One query."""
    if budget.scope_kind == ScopeKind.KEY:
        return [budget.scope_id]
    with connection.cursor() as cursor:
        cursor.execute(
            KEYS_SPENDING, {"budget": budget.pk, "kind": budget.scope_kind, "scope": budget.scope_id}
        )
        return [key for (key,) in cursor.fetchall()]


def unbalanced_balances() -> list[Broken]:
    """Return every balance that is not exactly the sum of its entries and open holds."""
    return broken(ledger.BALANCES)
