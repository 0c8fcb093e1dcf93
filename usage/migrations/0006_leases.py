from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP FUNCTION usage_reclaim_lease(interval);
DROP FUNCTION usage_draw(jsonb);
DROP FUNCTION usage_shrink_lease(budgets_lease, numeric);
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0005_settle"), ("budgets", "0006_lease_attribution")]
    operations = [sql_beside(__file__, undo=UNDO)]
