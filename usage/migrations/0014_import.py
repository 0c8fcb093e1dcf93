from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP FUNCTION IF EXISTS usage_import_minutes(timestamptz);
DROP FUNCTION usage_import_roll_up(timestamptz);
DROP FUNCTION usage_import_post(text, timestamptz);
DROP FUNCTION usage_import_months();
DROP FUNCTION usage_import(text, text, text, timestamptz);
DROP FUNCTION usage_import_budgets();
DROP AGGREGATE usage_joined(bigint[]);
DROP AGGREGATE usage_sum_of_units(jsonb);
DROP FUNCTION usage_add_units(jsonb, jsonb);
DROP FUNCTION usage_import_judge(text);
DROP FUNCTION usage_import_begin();
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0013_bulk")]
    operations = [sql_beside(__file__, undo=UNDO)]
