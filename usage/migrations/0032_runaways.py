from pathlib import Path

from django.db import migrations, models

from core.sql import functions_again, sql_beside

# Backwards usage_book would go on to count minutes that have no table any more: restore a backup instead.
AGAIN = functions_again(Path(__file__).with_name("0005_settle.sql"))
UNDO = """
DROP FUNCTION usage_join_minutes(timestamptz);
DROP FUNCTION usage_stop_runaways(bigint[], timestamptz);
DROP FUNCTION usage_pace_of_key(bigint, timestamptz);
DROP TYPE usage_key_pace;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0031_leases_in_doubt"),
        ("keys", "0005_suspensions"),
    ]

    operations = [
        migrations.CreateModel(
            name="KeyHour",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "key_id", "hour", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("key_id", models.BigIntegerField()),
                ("hour", models.DateTimeField()),
                ("cost_usd", models.DecimalField(decimal_places=12, max_digits=28)),
            ],
            options={
                "db_table": "usage_key_hour",
            },
        ),
        migrations.CreateModel(
            name="KeyMinute",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "key_id", "minute", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("key_id", models.BigIntegerField()),
                ("minute", models.DateTimeField()),
                ("cost_usd", models.DecimalField(decimal_places=12, max_digits=28)),
            ],
            options={
                "db_table": "usage_key_minute",
            },
        ),
        sql_beside(__file__, undo=UNDO),
        migrations.RunSQL(AGAIN),
    ]
