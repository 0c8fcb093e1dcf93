from pathlib import Path

from django.db import migrations

# A database that was made with an earlier text of these functions gets today's.
HERE = Path(__file__).parent
FORMER = """
DROP FUNCTION IF EXISTS gateway_settle(jsonb, jsonb, text);
DROP FUNCTION IF EXISTS gateway_authorize(jsonb, interval);
DROP FUNCTION IF EXISTS gateway_fit(gateway_call[], timestamptz);
DROP FUNCTION IF EXISTS gateway_paths(bigint[], bigint[], bigint[], bigint[], int[], bigint[], timestamptz);
DROP FUNCTION IF EXISTS gateway_path(bigint, bigint, bigint, bigint, int, bigint, timestamptz);
DROP FUNCTION IF EXISTS gateway_lock_balances(bigint[], timestamptz[], timestamptz);
DROP FUNCTION IF EXISTS gateway_limit(bigint, timestamptz);
DROP FUNCTION IF EXISTS gateway_deciders(int);
DROP FUNCTION IF EXISTS gateway_leads(bigint);
DROP FUNCTION IF EXISTS gateway_callers(jsonb, timestamptz);
DROP FUNCTION IF EXISTS gateway_unit_bounds(jsonb, jsonb, jsonb);
DROP FUNCTION IF EXISTS gateway_round_up(numeric);
DROP FUNCTION IF EXISTS gateway_binding(bigint, bigint, timestamptz, numeric, numeric, numeric, timestamptz);
DROP FUNCTION IF EXISTS gateway_repeated(budgets_reservation);
DROP FUNCTION IF EXISTS gateway_allowed(budgets_reservation, text, text, text);
DROP FUNCTION IF EXISTS gateway_allowed(text, timestamptz, numeric, bigint, int, text, text, text, jsonb);
DROP FUNCTION IF EXISTS gateway_use_nonces(jsonb);
DROP FUNCTION IF EXISTS gateway_return_lease(jsonb, text, numeric);
DROP FUNCTION IF EXISTS gateway_poll_leases(jsonb, text);
DROP FUNCTION IF EXISTS gateway_recalled(text, text);
DROP FUNCTION IF EXISTS gateway_lease(jsonb, text, text, numeric, numeric, interval, interval);
DROP TYPE IF EXISTS gateway_refusal;
DROP TYPE IF EXISTS gateway_call;
"""


def again(name: str) -> migrations.RunSQL:
    return migrations.RunSQL((HERE / name).read_text(encoding="utf-8"), migrations.RunSQL.noop)


class Migration(migrations.Migration):
    dependencies = [("gateway", "0004_leases"), ("usage", "0008_engine"), ("keys", "0003_rotation")]
    operations = [
        migrations.RunSQL(FORMER, migrations.RunSQL.noop),
        again("0003_batches.sql"),
        again("0004_leases.sql"),
    ]
