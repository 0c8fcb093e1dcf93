from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP FUNCTION budgets_open_window(bigint, timestamptz);
DROP FUNCTION budgets_path(bigint, bigint, bigint, bigint, int, bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("budgets", "0004_rules")]
    operations = [sql_beside(__file__, undo=UNDO)]
