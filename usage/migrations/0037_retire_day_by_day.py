from pathlib import Path

from django.db import migrations, models

from core.sql import functions_again, sql_beside

FUNCTIONS = Path(__file__).with_name("0015_retire.sql")
UNDO = f"DROP FUNCTION usage_recount_day(date, date, text);\n{functions_again(FUNCTIONS)}"


class Migration(migrations.Migration):
    dependencies = [("usage", "0036_watch_logs")]
    operations = [
        migrations.CreateModel(
            name="RecountedDay",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "month", "day", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("month", models.DateField()),
                ("day", models.DateField()),
                ("zone", models.TextField()),
                ("rows", models.BigIntegerField()),
            ],
            options={"db_table": "usage_recounted_day"},
        ),
        sql_beside(__file__, undo=UNDO),
    ]
