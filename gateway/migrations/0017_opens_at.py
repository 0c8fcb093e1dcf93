from pathlib import Path

from django.db import migrations

from core.sql import functions_again, sql_beside

# A budget that refuses says when it has room again: a limit may be planned before its window ends.
HERE = Path(__file__)
AGAIN = "\n".join(
    functions_again(HERE.with_name(name)) for name in ("0003_batches.sql", "0006_lease_wishes.sql")
)
UNDO = "DROP FUNCTION gateway_opens_at(bigint, numeric, timestamptz, timestamptz)"


class Migration(migrations.Migration):
    dependencies = [("gateway", "0016_taken_at_once")]
    operations = [sql_beside(__file__, undo=UNDO), migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
