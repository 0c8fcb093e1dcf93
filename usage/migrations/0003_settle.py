from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP FUNCTION usage_expire(interval, int, text);
DROP FUNCTION usage_release(text, text, text);
DROP FUNCTION usage_settle(text, jsonb, text);
DROP FUNCTION usage_lock(bigint[]);
DROP FUNCTION usage_settle_one(text, jsonb, text);
DROP FUNCTION usage_cost(budgets_reservation, bigint, bigint, bigint, bigint, bigint, bigint, text, boolean);
DROP FUNCTION usage_take_back_unsettled(budgets_reservation, text);
DROP FUNCTION usage_post(budgets_reservation, text, numeric, numeric, bigint, bigint[], jsonb, numeric, text, bigint);
DROP FUNCTION usage_write(budgets_reservation, text, bigint, int, numeric, bigint, bigint, bigint, bigint, bigint, text, boolean, boolean, boolean, text, text);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0002_partitions"),
        ("budgets", "0002_ledger"),
        ("catalog", "0002_pricing"),
    ]
    operations = [sql_beside(__file__, undo=UNDO)]
