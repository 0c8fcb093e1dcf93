from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP FUNCTION gateway_release(bigint, text, text, text, text);
DROP FUNCTION gateway_settle(bigint, text, text, jsonb, text);
DROP FUNCTION gateway_authorize(bigint, text, text, text, bytea, bytea[], text, text, text, text, bigint, bigint, int, text, interval);
DROP FUNCTION gateway_round_up(numeric);
DROP FUNCTION gateway_binding(bigint, bigint, timestamptz, numeric, numeric, numeric, timestamptz);
DROP FUNCTION gateway_path(bigint, bigint, bigint, bigint, int, bigint, timestamptz);
DROP FUNCTION gateway_may_call(bigint, int, bigint, timestamptz);
DROP FUNCTION gateway_identify(bytea[], text, text, text, timestamptz);
DROP FUNCTION gateway_count_blocked(bigint, bigint, bigint, bigint, text);
DROP FUNCTION gateway_allowed(budgets_reservation);
DROP FUNCTION gateway_use_nonce(bigint, text);
DROP INDEX gateway_used_nonce_by_time;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("gateway", "0001_initial"),
        ("usage", "0003_settle"),
        ("keys", "0001_initial"),
    ]
    operations = [sql_beside(__file__, undo=UNDO)]
