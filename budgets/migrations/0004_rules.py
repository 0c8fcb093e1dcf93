from django.db import migrations

from core.sql import sql_beside

UNDO = """
ALTER TABLE budgets_lease DROP CONSTRAINT lease_path_is_whole;
ALTER TABLE budgets_lease RESET (fillfactor, autovacuum_vacuum_scale_factor);
ALTER TABLE budgets_ratelimit RESET (fillfactor, autovacuum_vacuum_scale_factor);
DROP TRIGGER is_never_deleted ON budgets_budget;
DROP TRIGGER is_never_deleted ON catalog_tier;
DROP TRIGGER is_never_deleted ON catalog_llmmodel;
DROP TRIGGER is_never_deleted ON teams_user;
DROP TRIGGER is_never_deleted ON teams_project;
DROP TRIGGER is_never_deleted ON teams_team;
DROP TRIGGER is_never_deleted ON teams_department;
DROP FUNCTION core_never_deleted();
DROP TRIGGER rate_is_sound ON budgets_ratelimit;
DROP FUNCTION budgets_rate_is_sound();
DROP TRIGGER budget_is_sound ON budgets_budget;
DROP FUNCTION budgets_budget_is_sound();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("budgets", "0003_rates_leases_rules"),
        ("catalog", "0004_open_units"),
    ]
    operations = [sql_beside(__file__, undo=UNDO)]
