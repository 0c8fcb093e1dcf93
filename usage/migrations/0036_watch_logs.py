from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# What a log tells of keys is watched by the breaker too. The keys it told of so far get the past that they had,
# or each of them would be a new key now (docs/adr/0024).
PAST = """
SET LOCAL statement_timeout = 0;
INSERT INTO usage_key_hour AS h (key_id, hour, cost_usd)
  SELECT a.key_id, date_trunc('hour', c.at, 'UTC'), sum(c.cost_usd)
  FROM usage_call c JOIN usage_attribution a ON a.id = c.attribution_id
  WHERE c.reservation_id IS NULL AND c.at >= now() - interval '28 days'
    AND c.at < date_trunc('hour', now() - interval '6 hours', 'UTC')
  GROUP BY 1, 2
  ON CONFLICT (key_id, hour) DO UPDATE SET cost_usd = h.cost_usd + excluded.cost_usd
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0035_lock_while_booking")]
    operations = [
        migrations.RunSQL(
            functions_again(Path(__file__).with_name("0014_import.sql")), migrations.RunSQL.noop
        ),
        migrations.RunSQL(PAST, migrations.RunSQL.noop),
    ]
