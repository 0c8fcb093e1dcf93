from pathlib import Path

from django.db import migrations

from core.sql import functions_again

BESIDE = Path(__file__)
AGAIN = "\n".join(
    functions_again(BESIDE.with_name(name))
    for name in ("0005_settle.sql", "0014_import.sql", "0018_corrections.sql", "0021_put_right.sql")
)
UNDO = "DROP FUNCTION usage_carry(jsonb, text, text);"


class Migration(migrations.Migration):
    dependencies = [("usage", "0023_gateway_of_a_log"), ("budgets", "0013_entry_of_a_prior_period")]
    operations = [migrations.RunSQL(AGAIN, UNDO)]
