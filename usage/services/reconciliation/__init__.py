"""Reconciliation: the ledger against gateways, call by call, and against providers, in volume and money; and
what is done about differences.
"""

from usage.services.reconciliation.calls import reconcile_day
from usage.services.reconciliation.due import reconcile_due_accounts, reconcile_recent_days
from usage.services.reconciliation.money import reconcile_costs, reconcile_invoice
from usage.services.reconciliation.resolving import accept, assign, confirm_price, correct, explain
from usage.services.reconciliation.volumes import reconcile_volumes

__all__ = [
    "accept",
    "assign",
    "confirm_price",
    "correct",
    "explain",
    "reconcile_costs",
    "reconcile_day",
    "reconcile_due_accounts",
    "reconcile_invoice",
    "reconcile_recent_days",
    "reconcile_volumes",
]
