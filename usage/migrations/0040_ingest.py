from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# A page of a log changes every row of the day's roll-up that it names: with room for it on the page, no index
# of the row is written again (docs/adr/0014).
ROOM = """
ALTER TABLE usage_day SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE usage_hour SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
"""
FORMER = """
DROP FUNCTION IF EXISTS usage_import_months();
DROP FUNCTION IF EXISTS usage_import_budgets();
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0039_cancelled_calls")]
    operations = [
        migrations.RunSQL(
            functions_again(Path(__file__).with_name("0014_import.sql")), migrations.RunSQL.noop
        ),
        migrations.RunSQL(FORMER, migrations.RunSQL.noop),
        migrations.RunSQL(ROOM, migrations.RunSQL.noop),
    ]
