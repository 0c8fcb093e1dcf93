"""How far the figures may be behind."""

from django.db import connection

from usage.types import Freshness

# The last ledger entry stands for the last event: they are written together, and it is found by primary key.
SQL = """
    SELECT (SELECT recorded_at FROM budgets_entry WHERE kind IN ('settle', 'late', 'unsettled')
            ORDER BY id DESC LIMIT 1),
           (SELECT min(last_success_at) FROM usage_importcursor WHERE kind = 'journal' AND closed_at IS NULL),
           (SELECT count(*) FROM usage_importcursor
            WHERE kind = 'journal' AND closed_at IS NULL AND last_error <> ''),
           (SELECT max(last_run_at) FROM usage_reconciliationrun),
           (SELECT count(*) FROM usage_discrepancy d JOIN usage_reconciliationrun r ON r.id = d.run_id
            WHERE d.state = 'open' AND r.level = 1)
"""


def freshness() -> Freshness:
    """Return when usage was last booked, pulled and reconciled, and what does not match. One query."""
    with connection.cursor() as cursor:
        cursor.execute(SQL)
        usage_at, pulled_at, failing, reconciled_at, unmatched = cursor.fetchone()
    return Freshness(
        usage_at=usage_at,
        pulled_at=pulled_at,
        reconciled_at=reconciled_at,
        unmatched=unmatched,
        failing_sources=failing,
    )
