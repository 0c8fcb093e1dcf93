from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("usage", "0029_closed_sources")]
    operations = [
        migrations.AddField(
            "reconciliationrun", "alone", models.BooleanField(default=False, db_default=False)
        ),
        migrations.AlterField(
            "reconciliationrun",
            "state",
            models.CharField(
                choices=[
                    ("matched", "Matched"),
                    ("different", "Differences found"),
                    ("unreadable", "A source could not be read"),
                    ("alone", "No other side"),
                ],
                max_length=12,
            ),
        ),
    ]
