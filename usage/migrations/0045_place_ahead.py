from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# A page is placed before it waits for the one before it, and judged against the books afterwards (docs/adr/0014).
AGAIN = functions_again(Path(__file__).with_name("0014_import.sql"))


class Migration(migrations.Migration):
    dependencies = [("usage", "0044_served_context")]
    operations = [
        migrations.RunSQL(AGAIN, migrations.RunSQL.noop),
        migrations.RunSQL("DROP FUNCTION IF EXISTS usage_import_judge(text)", migrations.RunSQL.noop),
    ]
