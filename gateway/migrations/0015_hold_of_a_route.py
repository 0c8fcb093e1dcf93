from pathlib import Path

from django.db import migrations

from core.sql import functions_again

HERE = Path(__file__)
AGAIN = "\n".join(
    functions_again(HERE.with_name(name))
    for name in ("0003_batches.sql", "0006_lease_wishes.sql", "0009_standings.sql")
)
# A call holds as long as its route may take: the times come by place, and no longer one for all.
FORMER = "DROP FUNCTION IF EXISTS gateway_authorize(jsonb, interval);"


class Migration(migrations.Migration):
    dependencies = [("gateway", "0014_nginx")]
    operations = [
        migrations.RunSQL(FORMER, migrations.RunSQL.noop),
        migrations.RunSQL(AGAIN, migrations.RunSQL.noop),
    ]
