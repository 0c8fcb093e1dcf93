from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP FUNCTION catalog_units_usd(jsonb, jsonb);
DROP FUNCTION catalog_place(bigint, timestamptz, bigint);
DROP FUNCTION catalog_card(bigint, text, timestamptz, bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("catalog", "0004_open_units")]
    operations = [sql_beside(__file__, undo=UNDO)]
