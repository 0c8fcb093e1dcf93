from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# Rate limits and balances are locked by the statement that changes them (docs/adr/0027).
AGAIN = functions_again(Path(__file__).with_name("0005_settle.sql"))


class Migration(migrations.Migration):
    dependencies = [("usage", "0034_names_by_bytes")]
    operations = [
        migrations.RunSQL(AGAIN, migrations.RunSQL.noop),
        migrations.RunSQL("DROP FUNCTION IF EXISTS usage_lock(bigint[])", migrations.RunSQL.noop),
    ]
