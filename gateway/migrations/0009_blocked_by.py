from pathlib import Path

from django.db import migrations

from core.sql import functions_again, sql_beside

# Counting refusals names what refused: a database that was made with an earlier text gets today's.
BATCHES = functions_again(Path(__file__).with_name("0003_batches.sql"))


class Migration(migrations.Migration):
    dependencies = [("gateway", "0008_sources"), ("usage", "0022_blocked_by")]
    operations = [
        sql_beside(__file__, undo="DROP FUNCTION gateway_refused_by(json)"),
        migrations.RunSQL(BATCHES, migrations.RunSQL.noop),
    ]
