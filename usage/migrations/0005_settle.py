from django.db import migrations

from core.sql import sql_beside

FORMER = """
DROP FUNCTION IF EXISTS usage_expire(interval, int, text);
DROP FUNCTION IF EXISTS usage_release(text, text, text);
DROP FUNCTION IF EXISTS usage_settle(text, jsonb, text);
DROP FUNCTION IF EXISTS usage_lock(bigint[]);
DROP FUNCTION IF EXISTS usage_settle_one(text, jsonb, text);
DROP FUNCTION IF EXISTS usage_cost(budgets_reservation, bigint, bigint, bigint, bigint, bigint, bigint, text, boolean);
DROP FUNCTION IF EXISTS usage_take_back_unsettled(budgets_reservation, text);
DROP FUNCTION IF EXISTS usage_post(budgets_reservation, text, numeric, numeric, bigint, bigint[], jsonb, numeric, text, bigint);
DROP FUNCTION IF EXISTS usage_write(budgets_reservation, text, bigint, int, numeric, bigint, bigint, bigint, bigint, bigint, text, boolean, boolean, boolean, text, text);
"""
UNDO = """
DROP FUNCTION usage_expire(interval, int, text);
DROP FUNCTION usage_carry_booked(usage_posting[], text);
DROP FUNCTION usage_settled_before(jsonb, bigint);
DROP FUNCTION usage_settle(jsonb, text);
DROP FUNCTION IF EXISTS usage_lock(bigint[]);
DROP FUNCTION usage_book(usage_posting[], text);
DROP TYPE usage_answer;
DROP TYPE usage_posting;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0004_units"),
        ("budgets", "0004_rules"),
        ("catalog", "0005_cards"),
    ]
    operations = [
        migrations.RunSQL(FORMER, migrations.RunSQL.noop),
        sql_beside(__file__, undo=UNDO),
    ]
