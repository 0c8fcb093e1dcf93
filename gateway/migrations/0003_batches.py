from django.db import migrations

from core.sql import sql_beside

FORMER = """
DROP FUNCTION IF EXISTS gateway_release(bigint, text, text, text, text);
DROP FUNCTION IF EXISTS gateway_settle(bigint, text, text, jsonb, text);
DROP FUNCTION IF EXISTS gateway_authorize(bigint, text, text, text, bytea, bytea[], text, text, text, text, bigint, bigint, int, text, interval);
DROP FUNCTION IF EXISTS gateway_round_up(numeric);
DROP FUNCTION IF EXISTS gateway_binding(bigint, bigint, timestamptz, numeric, numeric, numeric, timestamptz);
DROP FUNCTION IF EXISTS gateway_path(bigint, bigint, bigint, bigint, int, bigint, timestamptz);
DROP FUNCTION IF EXISTS gateway_may_call(bigint, int, bigint, timestamptz);
DROP FUNCTION IF EXISTS gateway_identify(bytea[], text, text, text, timestamptz);
DROP FUNCTION IF EXISTS gateway_count_blocked(bigint, bigint, bigint, bigint, text);
DROP FUNCTION IF EXISTS gateway_allowed(budgets_reservation);
DROP FUNCTION IF EXISTS gateway_use_nonce(bigint, text);
"""
UNDO = """
DROP FUNCTION gateway_settle(jsonb, jsonb, text);
DROP FUNCTION gateway_fit(gateway_call[], timestamptz);
DROP TYPE gateway_refusal;
DROP TYPE gateway_call;
DROP FUNCTION gateway_path(bigint, bigint, bigint, bigint, int, bigint, timestamptz);
DROP FUNCTION gateway_lock_balances(bigint[], timestamptz[], timestamptz);
DROP FUNCTION gateway_limit(bigint, timestamptz);
DROP FUNCTION gateway_deciders(int);
DROP FUNCTION gateway_leads(bigint);
DROP FUNCTION gateway_callers(jsonb, timestamptz);
DROP FUNCTION gateway_unit_bounds(jsonb, jsonb, jsonb);
DROP FUNCTION gateway_round_up(numeric);
DROP FUNCTION gateway_binding(bigint, bigint, timestamptz, numeric, numeric, numeric, timestamptz);
DROP FUNCTION gateway_repeated(budgets_reservation);
DROP FUNCTION gateway_allowed(text, timestamptz, numeric, bigint, int, text, text, text, jsonb);
DROP FUNCTION gateway_use_nonces(jsonb);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("gateway", "0002_decisions"),
        ("usage", "0005_settle"),
        ("budgets", "0005_open_window"),
        ("catalog", "0005_cards"),
        ("keys", "0002_guards"),
    ]
    operations = [
        # Keys get the columns that are read here later; 0005 makes the functions again when they are there.
        migrations.RunSQL("SET LOCAL check_function_bodies = off", migrations.RunSQL.noop),
        migrations.RunSQL(FORMER, migrations.RunSQL.noop),
        sql_beside(__file__, undo=UNDO),
    ]
