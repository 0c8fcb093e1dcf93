from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP FUNCTION usage_retire_month(date, text);
DROP FUNCTION usage_recount(date, date, text);
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0012_import")]
    operations = [sql_beside(__file__, undo=UNDO)]
