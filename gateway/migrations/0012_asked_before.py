from pathlib import Path

from django.db import migrations

from core.sql import functions_again

BESIDE = Path(__file__)
AGAIN = "\n".join(
    functions_again(BESIDE.with_name(name)) for name in ("0003_batches.sql", "0009_standings.sql")
)


class Migration(migrations.Migration):
    dependencies = [("gateway", "0011_calls_in_flight")]
    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
