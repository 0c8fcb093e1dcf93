from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# The later file has today's text of two functions of the earlier one.
AGAIN = "\n".join(
    functions_again(Path(__file__).with_name(name))
    for name in ("0006_leases.sql", "0009_leased_calls_never_settled.sql")
)
FORMER = "DROP FUNCTION IF EXISTS usage_reclaim_lease(interval);"
UNDO = """
DROP FUNCTION usage_reclaim_lease(interval);
CREATE FUNCTION usage_reclaim_lease(p_grace interval) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  l budgets_lease;
BEGIN
  SELECT * INTO l FROM budgets_lease WHERE closed_at IS NULL AND reclaim_at + p_grace <= clock_timestamp()
    ORDER BY reclaim_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM usage_shrink_lease(l, 0);
  RETURN true;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0030_gateways_alone"), ("budgets", "0016_lease_in_doubt")]
    operations = [
        migrations.RunSQL(FORMER, migrations.RunSQL.noop),
        migrations.RunSQL(AGAIN, UNDO),
    ]
