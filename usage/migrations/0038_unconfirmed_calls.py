from django.db import migrations, models

MARK = """
UPDATE usage_discrepancy SET unconfirmed = true WHERE kind = 'missing_at_gateway' AND state <> 'corrected'
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0037_retire_day_by_day")]
    operations = [
        migrations.AddField(
            model_name="discrepancy",
            name="unconfirmed",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="A call that is booked and that no gateway's record has.",
            ),
        ),
        migrations.RunSQL(MARK, migrations.RunSQL.noop),
    ]
