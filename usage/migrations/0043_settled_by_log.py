from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("usage", "0042_context_of_calls")]
    operations = [
        migrations.AddField(
            model_name="gatewaycall",
            name="settled_by_log",
            field=models.BooleanField(db_default=False, default=False),
        )
    ]
