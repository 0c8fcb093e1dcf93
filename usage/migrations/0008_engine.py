from pathlib import Path

from django.db import migrations

# A database that was made with an earlier text of these functions gets today's; their signatures and the type are the same.
SETTLE = Path(__file__).with_name("0005_settle.sql").read_text(encoding="utf-8")
FUNCTIONS = SETTLE[SETTLE.index("-- Writes entries, events") :].replace(
    "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
)


class Migration(migrations.Migration):
    dependencies = [("usage", "0007_blocked_attribution")]
    operations = [migrations.RunSQL(FUNCTIONS, migrations.RunSQL.noop)]
