from django.db import migrations, models

from core.sql import sql_beside

UNDO = """
DROP FUNCTION usage_correct(text, bigint, text, jsonb, text);
DROP FUNCTION usage_charge_of(usage_event);
DROP TYPE usage_correction;
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0017_sources"), ("budgets", "0010_lease_wish")]
    operations = [
        # A correction is called as what it corrects, and by its run.
        migrations.AlterField(
            model_name="usageevent", name="external_id", field=models.CharField(max_length=160)
        ),
        migrations.AlterField(
            model_name="usageevent",
            name="calls",
            field=models.SmallIntegerField(
                default=1,
                help_text="-1 takes back a call that was charged without being settled, 0 corrects a call's figures.",
            ),
        ),
        sql_beside(__file__, undo=UNDO),
    ]
