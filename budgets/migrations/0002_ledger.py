from django.db import migrations

from core.sql import sql_beside

UNDO = """
ALTER TABLE budgets_reservation DROP CONSTRAINT reservation_hash_is_whole;
ALTER TABLE budgets_entry DROP CONSTRAINT entry_path_is_whole;
ALTER TABLE budgets_reservation DROP CONSTRAINT reservation_path_is_whole;
DROP INDEX budget_by_scope;
ALTER TABLE budgets_balance RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_analyze_scale_factor);
ALTER TABLE budgets_reservation RESET (fillfactor, autovacuum_vacuum_scale_factor);
DROP FUNCTION budgets_scope_of(text, bigint);
DROP TRIGGER entry_is_append_only ON budgets_entry;
DROP TRIGGER entry_is_not_truncated ON budgets_entry;
DROP TRIGGER limit_is_append_only ON budgets_budgetlimit;
DROP TRIGGER limit_is_not_truncated ON budgets_budgetlimit;
DROP FUNCTION budgets_limit_at(bigint, timestamptz);
"""


class Migration(migrations.Migration):
    dependencies = [("budgets", "0001_initial"), ("core", "0002_append_only")]
    operations = [sql_beside(__file__, undo=UNDO)]
