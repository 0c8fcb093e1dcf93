from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP FUNCTION gateway_return_lease(jsonb, text, numeric);
DROP FUNCTION gateway_poll_leases(jsonb, text);
DROP FUNCTION gateway_recalled(text, text);
DROP FUNCTION gateway_lease(jsonb, text, text, numeric, numeric, interval, interval);
"""


class Migration(migrations.Migration):
    dependencies = [("gateway", "0003_batches"), ("usage", "0006_leases")]
    operations = [
        migrations.RunSQL("SET LOCAL check_function_bodies = off", migrations.RunSQL.noop),  # see 0003
        sql_beside(__file__, undo=UNDO),
    ]
