from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP FUNCTION budgets_window(text, int, text, timestamptz);
DROP FUNCTION budgets_instant(timestamp, text);
"""


class Migration(migrations.Migration):
    dependencies = [("budgets", "0007_lean_indexes")]
    operations = [sql_beside(__file__, undo=UNDO)]
