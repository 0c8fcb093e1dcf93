from pathlib import Path

from django.db import migrations

from core.sql import functions_again

AGAIN = functions_again(Path(__file__).with_name("0009_standings.sql"))
# A call holds as long as its route may take: the times come by place, and no longer one for all.
FORMER = "DROP FUNCTION IF EXISTS gateway_authorize(jsonb, interval);"


class Migration(migrations.Migration):
    dependencies = [("gateway", "0012_asked_before")]
    operations = [
        migrations.RunSQL(FORMER, migrations.RunSQL.noop),
        migrations.RunSQL(AGAIN, migrations.RunSQL.noop),
    ]
