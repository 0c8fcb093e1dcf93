from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# The later file has today's text of two functions of the earlier one.
AGAIN = "\n".join(
    functions_again(Path(__file__).with_name(name))
    for name in ("0006_leases.sql", "0009_leased_calls_never_settled.sql")
)
FORMER = "DROP FUNCTION IF EXISTS usage_reclaim_lease(interval);"


class Migration(migrations.Migration):
    dependencies = [("usage", "0030_gateways_alone"), ("budgets", "0016_lease_in_doubt")]
    operations = [
        migrations.RunSQL(FORMER, migrations.RunSQL.noop),
        migrations.RunSQL(AGAIN, migrations.RunSQL.noop),
    ]
