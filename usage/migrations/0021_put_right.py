from django.db import migrations

from core.sql import sql_beside

UNDO = """
    DROP FUNCTION usage_put_right(jsonb, text, bigint, text, text);
    DROP FUNCTION usage_path(timestamptz, bigint, bigint, bigint, bigint, bigint, int);
    DROP FUNCTION usage_closed_month(timestamptz, text);
    DROP INDEX usage_gateway_call_by_time;
    DROP INDEX usage_event_by_time;
    DROP TRIGGER period_figure_is_not_truncated ON usage_period_figure;
    DROP TRIGGER period_figure_is_append_only ON usage_period_figure;
    DROP TRIGGER ledger_correction_is_not_truncated ON usage_ledger_correction;
    DROP TRIGGER ledger_correction_is_append_only ON usage_ledger_correction;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0020_reconciliation"),
        ("budgets", "0010_lease_wish"),
        ("core", "0005_idempotency"),
    ]
    operations = [sql_beside(__file__, undo=UNDO)]
