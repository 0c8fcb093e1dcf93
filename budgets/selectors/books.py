"""Reads the ledger: which keys spend on a budget, whether balances equal their entries and holds."""

from collections.abc import Iterable
from decimal import Decimal

from django.db import connection
from django.db.models import DecimalField, Q, Sum
from django.db.models.functions import Coalesce

from budgets import ledger
from budgets.models import Budget, Entry, EntryKind, ScopeKind
from budgets.types import BudgetRow
from core.books import Broken, broken
from core.money import ZERO

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


def carried_into(rows: Iterable[BudgetRow]) -> dict[int, Decimal]:
    """Return what the window before left each budget's window: more room is positive, a debt negative.

    What corrected it since is counted. A budget whose window nobody has called in yet is missing. One query.
    """
    wanted = Q(pk__in=[])
    for row in rows:
        wanted |= Q(budget_ids=[row.id], window_starts=[row.window_starts_at])
    found = Entry.objects.filter(wanted, kind=EntryKind.CARRY).annotate(
        corrected_usd=Coalesce(Sum("corrections__amount_usd"), ZERO, output_field=DecimalField())
    )
    return {entry.budget_ids[0]: -(entry.amount_usd + entry.corrected_usd) for entry in found}


def unbalanced_balances() -> list[Broken]:
    """Return every balance that is not exactly the sum of its entries and open holds."""
    return broken(ledger.BALANCES)
