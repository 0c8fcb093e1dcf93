from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# Whatever books locks roll-ups by minute, hour and day, and balances at the end, because holds wait for them
# (docs/adr/0030).
AGAIN = [
    functions_again(Path(__file__).with_name(name))
    for name in ("0005_settle.sql", "0014_import.sql", "0018_corrections.sql", "0021_put_right.sql")
]


class Migration(migrations.Migration):
    dependencies = [("usage", "0040_ingest")]
    operations = [migrations.RunSQL(text, migrations.RunSQL.noop) for text in AGAIN]
